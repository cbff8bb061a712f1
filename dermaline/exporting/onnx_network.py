"""Networks that compute in onnxruntime, in fp32: on a CPU quicker than PyTorch, and the same but for the rounding."""

import torch
from torch import Tensor

from dermaline.base.errors import DermalineError
from dermaline.blocks import blocks
from dermaline.compute import setup_fabric
from dermaline.data.metadata import MISSING, WIDTH
from dermaline.exporting.onnx_model import METADATA, traced_network
from dermaline.exporting.running import session
from dermaline.inference.member import Member
from dermaline.models.network import Network

BATCH = 32  # always so many: tracing a network for any number takes twice as long


class OnnxNetwork:
    """A network in onnxruntime, to be called as `models.network.Network` is: float [B, 3, height, width] to logits.

    It is traced for each height and width when it is first shown them, which takes some seconds.
    """

    def __init__(self, network: Network) -> None:
        self.network, self.fusion, self.sessions = network, network.fusion, {}

    def __call__(self, images: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Logits [B, 7]; arguments as the network takes them."""
        given = {"shown": images}
        if self.fusion is not None:
            given[METADATA] = MISSING.expand(len(images), WIDTH) if metadata is None else metadata
        return torch.cat(
            [self._run({name: rows[part] for name, rows in given.items()}) for part in blocks(len(images), BATCH)]
        )

    def _run(self, given: dict[str, Tensor]) -> Tensor:
        """Of `BATCH` rows at most: the last is repeated until there are so many."""
        shape, rows = tuple(given["shown"].shape[2:]), torch.arange(BATCH).clamp(max=len(given["shown"]) - 1)
        if shape not in self.sessions:
            traced = traced_network(self.network, self.network, torch.zeros(BATCH, 3, *shape), "logits", dynamic=False)
            self.sessions[shape] = session(traced.SerializeToString())
        (logits,) = self.sessions[shape].run(None, {name: values[rows].numpy() for name, values in given.items()})
        return torch.from_numpy(logits[: rows[-1] + 1])


def in_onnxruntime(member: Member) -> Member:
    """The same model, whose network computes in onnxruntime, in fp32 whatever its recipe asks for.

    Raises:
        DermalineError: it is not on a CPU.
    """
    if (kind := member.fabric.device.type) != "cpu":
        raise DermalineError(f"--backend onnx: onnxruntime computes on the CPU here, not on {kind}; give --device cpu")
    return member._replace(network=OnnxNetwork(member.network), fabric=setup_fabric("cpu", "32-true"))
