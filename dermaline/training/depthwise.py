"""Depthwise convolutions on a CPU, without the gradients that crawl there.

oneDNN computes some gradients of a depthwise convolution without its fast kernels (`benchmarks/options.py`):
- in bf16, those of a stride over 1 and of a kernel over 3x3, which took over half of an EfficientNet's training step;
  in fp32 they take a quarter of that;
- in any format, those of the weights where a map is smaller than the kernel, as the last ones of small photographs are.
  They are quick where the map was padded beforehand.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.functional import conv2d, pad
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]


def quick_depthwise(device: torch.device) -> AbstractContextManager:
    """Around a forward pass that is trained by: its depthwise convolutions get their gradients in the quickest way.

    The maps are the same to the last bit, gradients of bf16 a little more exact. On another device nothing changes.
    """
    return _Quick() if device.type == "cpu" else nullcontext()


class _Quick(TorchFunctionMode):
    def __torch_function__(
        self, function: Callable, types: Iterable[type], given: tuple = (), named: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401
        if function is conv2d:
            return _conv2d(*given, **(named or {}))
        return function(*given, **(named or {}))


def _conv2d(
    images: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> torch.Tensor:
    stride, dilation, kernel = _pair(stride), _pair(dilation), weight.shape[2:]
    depthwise = groups == weight.shape[0] == images.shape[1] > 1
    if not depthwise or isinstance(padding, str) or max(dilation) > 1:
        return conv2d(images, weight, bias, stride, padding, dilation, groups)
    if any(side < length for side, length in zip(images.shape[2:], kernel, strict=True)):
        down, across = _pair(padding)
        images, padding = pad(images, (across, across, down, down)), 0
    slow_in_bf16 = max(stride) > 1 or max(kernel) > 3
    if not (slow_in_bf16 and torch.is_autocast_enabled("cpu")):
        return conv2d(images, weight, bias, stride, padding, dilation, groups)
    kind = torch.get_autocast_dtype("cpu")
    maps = _Depthwise.apply(images.to(kind), weight.to(kind), stride, _pair(padding))
    return maps if bias is None else maps + bias.to(kind).view(1, -1, 1, 1)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        images: torch.Tensor,
        weight: torch.Tensor,
        stride: Pair,
        padding: Pair,
    ) -> torch.Tensor:
        ctx.save_for_backward(images, weight)
        ctx.options = (None, stride, padding, (1, 1), False, (0, 0), len(weight))
        return torch.ops.aten.convolution(images, weight, *ctx.options)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:  # noqa: ANN401
        images, weight = ctx.saved_tensors
        wide = (gradient.float(), images.float(), weight.float())
        found = torch.ops.aten.convolution_backward(*wide, *ctx.options, (True, True, False))
        return found[0].to(images.dtype), found[1].to(weight.dtype), None, None
