"""The section `split`."""

from typing import Annotated, Literal

from pydantic import model_validator

from dermaline.base.parameters import Section, Seed, within


class Split(Section):
    """By shares of the lesions, or, when `fold` is a number, fold `fold` of `folds` as the test."""

    seed: Seed
    val: Annotated[float, within(0.01, 0.49)]
    test: Annotated[float, within(0.01, 0.49)]
    folds: Annotated[int, within(2, 100)]
    fold: Annotated[int, within(0, 99)] | None
    unit: Literal["lesion", "image"]

    @model_validator(mode="after")
    def _fold_is_one_of_folds(self) -> "Split":
        if self.fold is not None and self.fold >= self.folds:
            raise ValueError(f"fold: {self.fold} is outside 0 to {self.folds - 1}")
        return self
