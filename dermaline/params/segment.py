"""The section `segment`."""

from typing import Annotated

from pydantic import AfterValidator

from dermaline.base.parameters import Count, NotNegative, Positive, Seed, Size, within
from dermaline.params.recipe import AugmentWhole, Precision

STRIDE = 32  # of the U-Net's deepest maps


def _fits(size: Size) -> Size:
    if size[0] % STRIDE or size[1] % STRIDE:
        raise ValueError(f"{size[0]}x{size[1]} is no multiple of {STRIDE} on both sides")
    return size


class Segment(AugmentWhole):
    backbone: str
    weights: str
    size: Annotated[Size, AfterValidator(_fits)]
    folds: Annotated[int, within(2, 20)]
    epochs: Count
    batch_size: Annotated[int, within(2, 65536)]
    lr: Positive
    weight_decay: NotNegative
    ema: Annotated[float, within(0, 0.99999)]
    precision: Precision
    seed: Seed
