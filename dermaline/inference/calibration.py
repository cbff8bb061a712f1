"""Probabilities that mean what they say: a temperature, and a power of the prior or a factor for each class.

All minimise the negative log-likelihood of labelled images (nats, as `evaluation.scores.nll` counts it), which must
not be the ones that are scored afterwards. Probabilities are float [N, C], rows sum to 1; truth is integer [N], N >= 0.

The likelihood alone goes wild on few rows, or on rows that are all right: those are likeliest at a temperature of 0, as
the weights of a separable regression are at infinity. So what is fitted is the mode under a weakly informative prior
around "change nothing" (Gelman et al. 2008; Platt 1999 smooths his targets to the same end). It is worth about as much
as three rows, less than a hundredth of a validation split of HAM10000, and alone decides when there is no row.
"""

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from dermaline.evaluation.scores import LEAST_PROBABILITY, Floats, Ints

LARGEST_TEMPERATURE, LARGEST_EXPONENT, LARGEST_FACTOR = 20.0, 2.0, 20.0
# Standard deviations of the priors: a temperature and a factor are within a factor of 2 two times in three, a power
# within 1.
TEMPERATURE_SPREAD, EXPONENT_SPREAD, FACTOR_SPREAD = np.log(2), 1.0, np.log(2)


def apply_temperature(probabilities: Floats, temperature: float) -> Floats:
    """`probabilities^(1 / temperature)`, each row summing to 1 again: the softmax of the logits divided by it.

    Above 1 it flattens, below 1 it sharpens; the order within a row stays (Guo et al. 2017, eq. 9).
    """
    powers = (probabilities / probabilities.max(axis=1, keepdims=True)) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(truth: Ints, probabilities: Floats) -> float:
    """The likeliest temperature, from 1 / `LARGEST_TEMPERATURE` to that; its logarithm has a normal prior around 0."""
    found = minimize_scalar(
        lambda logarithm: _loss(truth, apply_temperature(probabilities, np.exp(logarithm)), logarithm),
        bounds=(-np.log(LARGEST_TEMPERATURE), np.log(LARGEST_TEMPERATURE)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def apply_factors(probabilities: Floats, factors: Floats) -> Floats:
    """`probabilities` times a factor for each class, [C] or [N, C], each row summing to 1 again."""
    weighted = probabilities * factors
    return weighted / weighted.sum(axis=1, keepdims=True)


def apply_prior_shift(probabilities: Floats, prior: Floats, prior_exponent: float) -> Floats:
    """`probabilities * prior^power`, each row summing to 1 again: a positive power gives frequent classes their due.

    A network that was trained with class weights n^-a, or a sampler to that effect, believes in classes as frequent as
    n^(1-a); a power of a undoes that (Saerens et al. 2002).
    """
    return apply_factors(probabilities, prior**prior_exponent)


def fit_temperature_and_prior_exponent(truth: Ints, probabilities: Floats, prior: Floats) -> tuple[float, float]:
    """The temperature and the power, from 0 to `LARGEST_EXPONENT`, that are likeliest together.

    It is a logistic regression on the logarithms of `probabilities` and `prior`; the power has a normal prior around 0.
    """
    most = np.log(LARGEST_TEMPERATURE)

    def loss(found: Floats) -> float:
        return _loss(
            truth, apply_prior_shift(apply_temperature(probabilities, np.exp(found[0])), prior, found[1]), *found
        )

    start, bounds = [np.log(fit_temperature(truth, probabilities)), 0.0], [(-most, most), (0, LARGEST_EXPONENT)]
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-7}).x
    return float(np.exp(found[0])), float(found[1])


def fit_temperature_and_factors(truth: Ints, probabilities: Floats) -> tuple[float, Floats]:
    """The temperature and the factors [C], whose product is 1, that are likeliest together.

    Vector scaling (Guo et al. 2017) with one temperature, which is Dirichlet calibration (Kull et al. 2019) without all
    that lies off the diagonal. The factors' logarithms have normal priors around 0, so a class of few rows keeps its.
    """
    count = probabilities.shape[1]

    def loss(found: Floats) -> float:
        tempered = apply_temperature(probabilities, np.exp(found[0]))
        return _loss(truth, apply_factors(tempered, np.exp(found[1:])), found[0], factors=found[1:])

    most, largest = np.log(LARGEST_TEMPERATURE), np.log(LARGEST_FACTOR)
    start = [np.log(fit_temperature(truth, probabilities)), *[0.0] * count]
    bounds = [(-most, most), *[(-largest, largest)] * count]
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-7}).x
    return float(np.exp(found[0])), np.exp(found[1:] - found[1:].mean())


def fit_power(truth: Ints, probabilities: Floats, ratios: Floats) -> float:
    """The likeliest power, 0 to `LARGEST_EXPONENT`, of ratios [N, C] that multiply; it has a normal prior around 0."""
    found = minimize_scalar(
        lambda power: _loss(truth, apply_factors(probabilities, ratios**power), 0.0, power),
        bounds=(0, LARGEST_EXPONENT),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(found.x)


def _loss(
    truth: Ints, probabilities: Floats, logarithm: float, prior_exponent: float = 0.0, factors: Floats | float = 0.0
) -> float:
    """What is least at the mode, a row: of a temperature's logarithm, a power and logarithms of factors."""
    surprise = -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], LEAST_PROBABILITY)).sum()
    prior = (logarithm / TEMPERATURE_SPREAD) ** 2 + (prior_exponent / EXPONENT_SPREAD) ** 2
    prior += np.sum(np.square(np.divide(factors, FACTOR_SPREAD)))
    return float(surprise + prior / 2) / max(len(truth), 1)


def temperature_information(calibrated: Floats) -> float:
    """How much rows tell of the logarithm of their temperature: Fisher's information, one over a variance.

    A row that is sure of its class tells nothing. The prior's own is 1 / `TEMPERATURE_SPREAD`^2.

    Args:
        calibrated: [N, C], tempered already.
    """
    logarithms = np.log(np.maximum(calibrated, LEAST_PROBABILITY))
    mean = (calibrated * logarithms).sum(axis=1, keepdims=True)
    return float((calibrated * (logarithms - mean) ** 2).sum())
