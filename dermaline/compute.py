"""The device and its number format, through Lightning Fabric."""

import ctypes
import os
import sys
from functools import cache

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment

from dermaline.base.errors import DermalineError
from dermaline.portable import pin

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h
HUGE_PAGE, MADV_HUGEPAGE = 2 << 20, 14  # bytes; of Linux's mman.h
AVAILABLE = {"cpu": lambda: True, "cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}


def setup_fabric(device: str, precision: str, devices: int = 1) -> Fabric:
    """A Fabric, with its processes started: one a device, or those that torchrun (and nothing else) has started.

    To be had before anything is computed: `precision` decides how.

    Args:
        device: `auto` (CUDA, then MPS, then CPU; for `portable` the CPU), `cpu`, `cuda` or `mps`.
        precision: `auto` (bf16 mixed where the hardware computes in bf16, else fp32), `bf16-mixed`, `32-true`;
            `portable` is `32-true`, and on a CPU `dermaline.portable`.
        devices: how many of this machine (on a CPU, processes); under torchrun its numbers hold instead.

    Raises:
        DermalineError: the device, or so many, are not there.
    """
    if device == "auto":
        order = ("cpu",) if precision == "portable" else ("cuda", "mps", "cpu")
        device = next(name for name in order if AVAILABLE[name]())
    if not AVAILABLE[device]():
        raise DermalineError(f"device {device}: there is none here; use auto or cpu")
    if precision == "auto":
        precision = "bf16-mixed" if _computes_in_bf16(device) else "32-true"
    portable = precision == "portable" and device == "cpu"
    if precision == "portable":
        precision = "32-true"
    if portable:
        pin()
    if device == "cpu":
        keep_memory()
    nodes = 1
    started: LightningEnvironment | TorchElasticEnvironment = LightningEnvironment()
    if TorchElasticEnvironment.detect():
        started = TorchElasticEnvironment()
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    elif device == "cuda" and devices > torch.cuda.device_count():
        there = torch.cuda.device_count()
        raise DermalineError(f"params.yaml: compute.devices: {devices} of {there} are there; lower it")
    strategy = "ddp" if devices * nodes > 1 else "auto"
    found = Fabric(
        accelerator=device,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision=precision,
        plugins=started,  # named, so that a job of SLURM, MPI or LSF around this process is not taken for its own tasks
    )
    found.launch()
    if portable:
        pin()  # Fabric has shared out the cores among several processes
    return found


def in_words(fabric: Fabric) -> str:
    """The device for a reader: a GPU's name, or the number of processor cores in use; and how many processes."""
    times = f"{fabric.world_size} x " if fabric.world_size > 1 else ""
    if fabric.device.type == "cuda":
        return times + torch.cuda.get_device_name(fabric.device)
    if fabric.device.type == "cpu":
        return f"{times}CPU, {torch.get_num_threads()} threads"
    return times + fabric.device.type.upper()


def _computes_in_bf16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities()
    return device == "cpu" and bool(features.get("avx512_bf16") or features.get("amx_bf16"))


@cache
def keep_memory() -> None:
    """Let glibc keep what is freed: by default it returns each large tensor, and asks for it again in the next step.

    Clearing those pages anew costs a fifth of a training step (`benchmarks/options.py`). Threads get no arenas of their
    own, which are returned all the same; for that it is to be called before there are threads. Elsewhere than with
    glibc nothing is changed.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)
        libc.mallopt(M_ARENA_MAX, 1)
        use_huge_pages(libc)


def use_huge_pages(libc: ctypes.CDLL) -> None:
    """Ask for pages of 2 MiB for what malloc hands out next, which a processor finds quicker than those of 4 KiB.

    A block of half the machine's memory is marked, and freed untouched: as nothing is returned, its addresses stay
    malloc's, and cost no memory until they are used. Most Linux systems give such pages where they are asked for
    (`madvise` in /sys/kernel/mm/transparent_hugepage/enabled); elsewhere, and where addresses are limited, nothing is
    changed.
    """
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if block := libc.malloc(size):
        first = -(-block // HUGE_PAGE) * HUGE_PAGE  # madvise wants the start of a page
        libc.madvise(first, block + size - first, MADV_HUGEPAGE)
        libc.free(block)
