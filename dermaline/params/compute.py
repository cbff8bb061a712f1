"""The section `compute`: on what is computed, which decides no result but by rounding; several `devices` draw anew."""

from typing import Annotated, Literal

from dermaline.base.parameters import Section, within


class Compute(Section):
    device: Literal["auto", "cpu", "cuda", "mps"]
    devices: Annotated[int, within(1, 1024)]
    compile: bool
    tensorboard: bool
