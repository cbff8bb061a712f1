"""The section `data`: where the images come from."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator

from dermaline.base.parameters import Count, Section, Seed, Size, within


def _without_password(address: str) -> str:
    if "@" in urlsplit(address).netloc:
        raise ValueError("an address with a name or password in it; DVC would write them into dvc.lock")
    return address


class Kaggle(Section):
    dataset: str
    version: Count


class Dataverse(Section):
    server: Annotated[str, AfterValidator(_without_password)]
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
