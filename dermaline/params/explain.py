"""The section `explain`."""

from typing import Annotated

from dermaline.base.parameters import Section, Seed, within


class Explain(Section):
    images: Annotated[int, within(1, 100_000)]
    seed: Seed
