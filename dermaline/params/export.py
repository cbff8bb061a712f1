"""The section `export`."""

from typing import Annotated, Literal

from dermaline.base.parameters import Section, Seed, within

Precision = Literal["fp32", "fp16", "int8"]
Images = Annotated[int, within(1, 100_000)]


class Export(Section):
    precision: Precision
    images: Images  # of the test
    calibration_images: Images  # of val, for int8
    seed: Seed
