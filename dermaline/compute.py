"""The device and its number format, through Lightning Fabric."""

import torch
from lightning_fabric import Fabric

from dermaline.errors import DermalineError

AVAILABLE = {"cpu": lambda: True, "cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}


def fabric(device: str, precision: str) -> Fabric:
    """A Fabric for one device.

    Args:
        device: `auto` (CUDA, then MPS, then CPU), `cpu`, `cuda` or `mps`.
        precision: `auto` (bf16 mixed where the hardware computes in bf16, else fp32), `bf16-mixed`, `32-true`.

    Raises:
        DermalineError: the device is not there.
    """
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if AVAILABLE[name]())
    if not AVAILABLE[device]():
        raise DermalineError(f"params.yaml: compute.device: no {device} here; use auto or cpu")
    if precision == "auto":
        precision = "bf16-mixed" if _computes_in_bf16(device) else "32-true"
    return Fabric(accelerator=device, devices=1, precision=precision)


def in_words(fabric: Fabric) -> str:
    """The device for a reader: a GPU's name, or the number of processor cores in use."""
    if fabric.device.type == "cuda":
        return torch.cuda.get_device_name(fabric.device)
    if fabric.device.type == "cpu":
        return f"CPU, {torch.get_num_threads()} threads"
    return fabric.device.type.upper()


def _computes_in_bf16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities()
    return device == "cpu" and bool(features.get("avx512_bf16") or features.get("amx_bf16"))
