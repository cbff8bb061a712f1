"""The section `evaluate`."""

from typing import Annotated, Literal

from dermaline.base.parameters import Fraction, Section, Seed, within


class Evaluate(Section):
    calibration: Literal["none", "temperature", "prior", "vector"]
    metadata: bool
    decision: Literal["argmax", "balanced"]
    melanoma_sensitivity: Fraction
    set_coverage: Annotated[float, within(0.5, 0.999)]
    set_by_class: bool
    reference: str | None  # of models.csv; None: the first of `ensemble`
    bootstrap: Annotated[int, within(10, 100_000)]
    seed: Seed
    calibration_bins: Annotated[int, within(2, 100)]
