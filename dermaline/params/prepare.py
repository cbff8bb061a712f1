"""The section `prepare`: how the images are packed."""

from typing import Literal

from pydantic import model_validator

from dermaline.base.parameters import Fraction, Positive, Section, Size


class Prepare(Section):
    size: Size
    bad_images: Literal["stop", "drop"]
    max_megapixels: Positive
    duplicate_similarity: Fraction
    duplicate_similarity_same_facts: Fraction

    @model_validator(mode="after")
    def _same_facts_ask_for_less(self) -> "Prepare":
        if self.duplicate_similarity_same_facts > self.duplicate_similarity:
            raise ValueError("duplicate_similarity_same_facts: more than duplicate_similarity; lower it")
        return self
