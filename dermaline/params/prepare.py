"""The section `prepare`: how the images are packed."""

from typing import Literal

from dermaline.base.parameters import Fraction, Positive, Section, Size


class Prepare(Section):
    size: Size
    bad_images: Literal["stop", "drop"]
    max_megapixels: Positive
    duplicate_similarity: Fraction
    duplicate_similarity_same_facts: Fraction
