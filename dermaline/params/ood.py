"""The section `ood`: what is out of distribution, no dermatoscopic image."""

from typing import Annotated

from dermaline.base.parameters import Count, Section, Seed, Size, within

OOD_FOLDER = "out_of_distribution"  # beside the models, so no recipe may be called so


class Ood(Section):
    size: Size
    fit_images: Annotated[int, within(2, 10**9)]  # of one there is no covariance
    shrinkage: Annotated[float, within(0.0001, 1)]
    false_alarms: Annotated[float, within(0.0001, 0.5)]
    drawn: Count
    seed: Seed
