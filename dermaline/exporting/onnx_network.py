"""Networks that compute in onnxruntime, in fp32: on a CPU quicker than PyTorch, and the same but for the rounding."""

import torch
from torch import Tensor

from dermaline.base.errors import DermalineError
from dermaline.compute import setup_fabric
from dermaline.data.metadata import MISSING, WIDTH
from dermaline.exporting.onnx_model import METADATA, traced_network
from dermaline.exporting.running import run, session
from dermaline.inference.member import Member
from dermaline.models.network import Network

AT_ONCE = 8  # images: quicker than more, which a CPU's caches do not hold


class OnnxNetwork:
    """A network in onnxruntime, to be called as `models.network.Network` is: float [B, 3, height, width] to logits.

    It is traced for each height and width when it is first shown them, which takes some seconds. Where PyTorch 2.11
    finds no GPU, the process may crash if it traces after the first thread that did has ended (pytorch#178950).
    """

    def __init__(self, network: Network) -> None:
        self.network, self.fusion, self.sessions = network, network.fusion, {}

    def __call__(self, images: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Logits [B, 7]; arguments as the network takes them."""
        given, shape = {"shown": images.numpy()}, tuple(images.shape[2:])
        if self.fusion is not None:
            given[METADATA] = (MISSING.expand(len(images), WIDTH) if metadata is None else metadata).numpy()
        if shape not in self.sessions:
            traced = traced_network(self.network, self.network, torch.zeros(2, 3, *shape), "logits")
            self.sessions[shape] = session(traced.SerializeToString())
        return torch.from_numpy(run(self.sessions[shape], given, AT_ONCE)["logits"])


def in_onnxruntime(member: Member) -> Member:
    """The same model, whose network computes in onnxruntime, in fp32 whatever its recipe asks for.

    Raises:
        DermalineError: it is not on a CPU.
    """
    if (kind := member.fabric.device.type) != "cpu":
        raise DermalineError(f"--backend onnx: onnxruntime computes on the CPU here, not on {kind}; give --device cpu")
    return member._replace(network=OnnxNetwork(member.network), fabric=setup_fabric("cpu", "32-true"))
