"""What age, sex and place say of a diagnosis beside the photograph: likelihood ratios, counted in training lesions.

A lesion that is found in people of seventy is seldom a nevus, whatever it looks like. Each finding multiplies the
probability of a diagnosis by how much more often lesions of that diagnosis have it than all lesions do (Bayes' rule,
with findings taken as independent of each other once the diagnosis is known). They are not, and a network sees some
of it in the skin, so the product is raised to a power that is fitted on validation images: 1 would believe it all, 0
nothing. What is not known multiplies by 1, so the same decision serves photographs of which nothing is known.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermaline.base.classes import CLASSES
from dermaline.base.files import DIGITS
from dermaline.base.parameters import Positive, Power, Section
from dermaline.data import patients
from dermaline.data.patients import FINDINGS
from dermaline.evaluation.scores import Floats, Ints
from dermaline.inference.calibration import fit_power

# Lesions like all lesions, added to each diagnosis (Cestnik's m-estimate 1990): one of twenty dermatofibromas would
# otherwise make a place seem several times as likely as it is.
MORE_LESIONS = 10


class LikelihoodRatios(Section):
    """Of each of `FINDINGS` a factor for each class, and the power of their product."""

    ratios: dict[str, dict[str, Positive]]
    power: Power

    def factors(self, encoded: NDArray) -> Floats:
        """The product of the ratios of what is known of N patients and lesions, to the power, [N, 7].

        Args:
            encoded: float [N, M] as `data.patients.encode` makes it.
        """
        known = patients.findings(encoded)[:, :, None]
        return np.exp((known * self.logarithms()).sum(axis=1))  # not @: each CPU's BLAS adds in an order of its own

    def logarithms(self) -> Floats:
        """Of the ratios times the power, [F, 7], a row each of `FINDINGS`."""
        return self.power * np.log([[*self.ratios[finding].values()] for finding in FINDINGS])


def fit(train: pd.DataFrame, truth: Ints, probabilities: Floats, encoded: NDArray) -> LikelihoodRatios | None:
    """The ratios of training lesions, and the power that is likeliest on N validation images.

    Args:
        train: `lesion_id` and `dx` of the training images, and what is known of them: see `data.words.known`.
        truth: class numbers [N].
        probabilities: [N, 7], calibrated, of the photographs alone.
        encoded: float [N, M] as `data.patients.encode` makes it.

    Returns:
        None where nothing is known of any training image.
    """
    lesions = train.drop_duplicates(["lesion_id", "dx"])  # a lesion counts once, however many photographs it has
    found = patients.findings(patients.encode(lesions))
    if not found.any():
        return None
    diagnoses = (lesions["dx"].to_numpy()[:, None] == np.array(CLASSES)).astype(np.float64)
    table = _ratios(diagnoses.T @ found)
    plain = LikelihoodRatios(ratios=table, power=1.0)
    power = fit_power(truth, probabilities, plain.factors(encoded))
    return plain.model_copy(update={"power": round(power, DIGITS)})


def _ratios(counts: Floats) -> dict[str, dict[str, float]]:
    """Of lesions [7, F] of each class with each finding; a finding that no lesion has multiplies by 1."""
    kept = {}
    for part in patients.PARTS:  # of an age, a sex and a place
        having = counts[:, part]
        known = having.sum()
        share = having.sum(axis=0) / max(known, 1)
        likely = (having + MORE_LESIONS * share) / (having.sum(axis=1, keepdims=True) + MORE_LESIONS)
        ratios = np.divide(likely, share, out=np.ones_like(likely), where=share > 0)
        for finding, row in zip(FINDINGS[part], ratios.T.round(DIGITS), strict=True):
            kept[finding] = dict(zip(CLASSES, row.tolist(), strict=True))
    return kept
