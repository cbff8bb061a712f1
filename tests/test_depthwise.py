"""Depthwise convolutions with quicker gradients: the same maps, gradients as exact as the plain ones or more."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from dermaline.training.depthwise import quick_depthwise

CPU = torch.device("cpu")


def outcome(layer: nn.Conv2d, images: torch.Tensor, towards: torch.Tensor, *, quick: bool, bf16: bool) -> list:
    """The maps, and the gradients by images, weight and bias, under bf16 autocast or in fp32."""
    layer.zero_grad()
    images = images.clone().requires_grad_()
    where = CPU if quick else torch.device("meta")
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), quick_depthwise(where):
        maps = layer(images)
    (maps.float() * towards).sum().backward()
    return [maps.detach(), *(value.grad.float() for value in (images, layer.weight, layer.bias) if value is not None)]


def exact(layer: nn.Conv2d, images: torch.Tensor, towards: torch.Tensor, *, bf16: bool) -> list[torch.Tensor]:
    """The gradients in fp64."""
    values = [images, layer.weight, *([] if layer.bias is None else [layer.bias])]
    kind = torch.bfloat16 if bf16 else torch.float32
    values = [value.detach().to(kind).double().requires_grad_() for value in values]
    maps = conv2d(*values[:2], values[2] if layer.bias is not None else None, layer.stride, layer.padding, 1, 8)
    (maps * towards.double()).sum().backward()
    return [value.grad for value in values]


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [(18, 21), (3, 4), (1, 9), (9, 2)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), ((5, 3), 1), (7, 1)])
def test_the_same_maps_and_gradients(kernel, stride, size, bias, bf16):
    torch.manual_seed(0)
    padding = kernel // 2 if isinstance(kernel, int) else (2, 1)
    layer = nn.Conv2d(8, 8, kernel, stride, padding, groups=8, bias=bias).to(memory_format=torch.channels_last)
    images = torch.randn(4, 8, *size).to(memory_format=torch.channels_last)
    towards = torch.randn_like(layer(images)).to(torch.bfloat16).float()
    plain, quick = (outcome(layer, images, towards, quick=quick, bf16=bf16) for quick in (False, True))
    if not bias:
        assert torch.equal(plain[0], quick[0])
    assert torch.allclose(plain[0].float(), quick[0].float(), rtol=1e-2, atol=1e-2)
    for true, found, other in zip(exact(layer, images, towards, bf16=bf16), quick[1:], plain[1:], strict=True):
        error, before = ((value - true).norm() / true.norm() for value in (found, other))
        assert error < (0.01 if bf16 else 1e-5)
        assert error < before * 1.1 + 1e-6


def test_a_map_smaller_than_the_kernel_is_padded_beforehand():
    layer = nn.Conv2d(8, 8, 5, padding=2, groups=8)
    for side, padded in ((4, True), (5, False)):
        with quick_depthwise(CPU):
            maps = layer(torch.randn(2, 8, 6, side, requires_grad=True))
        before = type(maps.grad_fn.next_functions[0][0]).__name__
        assert ("Pad" in before) == padded, before


def test_numbers_for_pairs_are_taken_as_torch_takes_them():
    torch.manual_seed(0)
    images, weight = torch.randn(2, 8, 12, 12), torch.randn(8, 1, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        plain = conv2d(images, weight, stride=2, padding=1, groups=8)
        with quick_depthwise(CPU):
            assert torch.equal(conv2d(images, weight, stride=2, padding=1, groups=8), plain)
            assert conv2d(images, torch.randn(4, 8, 1, 1), stride=2).shape == (2, 4, 6, 6)


def test_other_convolutions_and_other_precisions_are_left_alone():
    torch.manual_seed(0)
    images = torch.randn(2, 8, 12, 12)
    for layer in (nn.Conv2d(8, 16, 5), nn.Conv2d(8, 16, 5, groups=8), nn.Conv2d(8, 8, 5, groups=8, padding="same")):
        with torch.autocast("cpu", torch.bfloat16), quick_depthwise(CPU):
            maps = layer(images)
        assert "Depthwise" not in type(maps.grad_fn).__name__
    layer = nn.Conv2d(8, 8, 5, groups=8, bias=False)
    with quick_depthwise(CPU):
        assert "Depthwise" not in type(layer(images).grad_fn).__name__
    with torch.autocast("cpu", torch.bfloat16), quick_depthwise(CPU):
        assert "Depthwise" in type(layer(images).grad_fn).__name__
