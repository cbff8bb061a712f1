"""The section `data`: where the images come from."""

from typing import Annotated, Literal

from dermaline.base.parameters import Count, Section, Seed, Size, within


class Kaggle(Section):
    dataset: str
    version: Count


class Dataverse(Section):
    server: str
    doi: str


class Synthetic(Section):
    images: Annotated[int, within(70, 1_000_000)]
    size: Size
    seed: Seed


class Data(Section):
    source: Literal["synthetic", "kaggle", "dataverse", "local"]
    path: str | None
    kaggle: Kaggle
    dataverse: Dataverse
    synthetic: Synthetic
