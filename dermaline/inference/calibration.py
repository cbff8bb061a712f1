"""Probabilities that mean what they say: a temperature, a power of the prior, a weight for each model of a mixture.

All minimise the negative log-likelihood of labelled images (nats, as `evaluation.metrics.nll` counts it), which must
not be the ones that are scored afterwards. Probabilities are float [N, C], rows sum to 1; truth is integer [N].
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from dermaline.evaluation.metrics import LEAST_PROBABILITY, nll
from dermaline.evaluation.ranking import Floats, Ints

LARGEST_TEMPERATURE, LARGEST_POWER = 20.0, 2.0
_ROUNDS, _CLOSE = 10_000, 1e-9


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """`probabilities^(1 / temperature)`, each row summing to 1 again: the softmax of the logits divided by it.

    Above 1 it flattens, below 1 it sharpens; the order within a row stays (Guo et al. 2017, eq. 9).
    """
    powers = (probabilities / probabilities.max(axis=1, keepdims=True)) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(truth: Ints, probabilities: Floats) -> float:
    """The temperature, from 1 / `LARGEST_TEMPERATURE` to that, of the least negative log-likelihood."""
    found = minimize_scalar(
        lambda logarithm: float(nll(truth, tempered(probabilities, np.exp(logarithm)))),
        bounds=(-np.log(LARGEST_TEMPERATURE), np.log(LARGEST_TEMPERATURE)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def rebalanced(probabilities: Floats, prior: Floats, power: float) -> Floats:
    """`probabilities * prior^power`, each row summing to 1 again: a positive power gives frequent classes their due.

    A network that was trained with class weights n^-a, or a sampler to that effect, believes in classes as frequent as
    n^(1-a); a power of a undoes that (Saerens et al. 2002).
    """
    weighted = probabilities * prior**power
    return weighted / weighted.sum(axis=1, keepdims=True)


def fit_temperature_and_power(truth: Ints, probabilities: Floats, prior: Floats) -> tuple[float, float]:
    """The temperature and the power, from 0 to `LARGEST_POWER`, that together have the least negative log-likelihood.

    It is a logistic regression on the logarithms of `probabilities` and `prior`, so there is one minimum.
    """
    most = np.log(LARGEST_TEMPERATURE)

    def loss(found: Floats) -> float:
        return float(nll(truth, rebalanced(tempered(probabilities, np.exp(found[0])), prior, found[1])))

    start, bounds = [np.log(fit_temperature(truth, probabilities)), 0.0], [(-most, most), (0, LARGEST_POWER)]
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-7}).x
    return float(np.exp(found[0])), float(found[1])


def mixture(members: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """The weighted mean of the members' probabilities, [N, C]; only the ratios of the weights matter."""
    return np.average(np.stack(members), axis=0, weights=weights)


def fit_weights(truth: Ints, members: Sequence[Floats]) -> Floats:
    """Weights [M], not negative and of sum 1, of the mixture with the least negative log-likelihood.

    By expectation maximisation (Dempster et al. 1977), which only ever improves on equal weights; the likelihood has
    one maximum, for it is concave in the weights.
    """
    rows = np.arange(len(truth))
    likelihood = np.stack([np.maximum(member[rows, truth], LEAST_PROBABILITY) for member in members], axis=1)
    weights = np.full(len(members), 1 / len(members))
    for _ in range(_ROUNDS):
        shares = likelihood * weights
        updated = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(updated - weights).max() < _CLOSE:
            break
        weights = updated
    return weights
