"""What in a decision rests on few images, so that it may be quite another on others."""

from collections.abc import Iterator

import numpy as np
from scipy.special import betaincinv

from dermaline.base.classes import CLASSES, MELANOMA
from dermaline.evaluation.scores import Floats, Ints
from dermaline.inference.calibration import TEMPERATURE_SPREAD, temperature_information
from dermaline.inference.conformal import percent
from dermaline.inference.decision import Decision, needed
from dermaline.params.evaluate import Evaluate

FEWEST = 10  # lesions of a class, from which a rule that turns on that class may be fitted and nothing be said
# The images should tell this many times what the prior does: the temperature is then known to a factor of 1.5 or so.
ENOUGH = 10


def doubts(truth: Ints, calibrated: Floats, group: np.ndarray, decision: Decision, options: Evaluate) -> Iterator[str]:
    """A line for everything that was fitted, but is not well determined.

    Args:
        truth: [N] class numbers of the images it was fitted on.
        calibrated: its probabilities [N, 7] for them.
        group: [N] labels of their lesions: images of one tell hardly more than one of them.
        decision: what was fitted.
        options: what it was fitted by.
    """
    images, counts = f"{len(truth)} validation images", [len(set(group[truth == dx])) for dx in range(len(CLASSES))]
    told, prior = temperature_information(calibrated), TEMPERATURE_SPREAD**-2
    if options.calibration != "none" and told < ENOUGH * prior:
        factor = np.exp(1.96 / np.sqrt(told + prior))
        yield f"{images} say little of the temperature, which is kept near 1; it is right to a factor of {factor:.1f}"
    few = [f"{count} of {name}" for name, count in zip(CLASSES, counts, strict=True) if count < FEWEST]
    if options.decision == "balanced" and few:
        yield f"tau is fitted on {images} with only these lesions: {', '.join(few)}; decision: argmax needs none"
    melanomas = counts[MELANOMA]
    if not melanomas:
        yield f"{images} without a melanoma: there is no melanoma threshold"
    elif melanomas < FEWEST:
        low, high = sensitivity_ends(melanomas, options.melanoma_sensitivity)
        yield f"the melanoma threshold rests on {melanomas} lesions; of others it finds {low:.0%} to {high:.0%}"
    if rule := decision.set_rule:
        always = [name for name, threshold in rule.thresholds.items() if not threshold]
        if always:
            held = f"sets that hold {percent(rule.coverage)}"
            yield f"{images} are of too few lesions for {held}: {', '.join(always)} in every set"


def sensitivity_ends(melanomas: int, sensitivity: float) -> tuple[float, float]:
    """Between which shares of new melanomas a threshold finds, 95 % sure, that finds `sensitivity` of those it is from.

    It is the score of the k-th of n melanomas, so the share is distributed as Beta(k, n + 1 - k), whatever the scores
    are (Wilks 1941).
    """
    found = needed(sensitivity, melanomas)
    low, high = betaincinv(found, melanomas + 1 - found, [0.025, 0.975])
    return float(low), float(high)
