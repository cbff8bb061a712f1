"""The losses, against the papers' formulas in float64."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from dermaline.params.recipe import Loss
from dermaline.training.loss import build_criterion

PLAIN = {"loss": "cross_entropy", "focal_gamma": 2, "class_weight_power": 0, "sampler_power": 0}
PLAIN |= {"label_smoothing": 0, "logit_adjustment": 0, "class_weight_from": 0, "class_weight_to": 0}
RANDOM = np.random.default_rng(0)
LABELS = np.repeat(np.arange(7), [60, 50, 100, 10, 110, 650, 20])  # as uneven as HAM10000
LOGITS, TARGET = RANDOM.normal(size=(40, 7)) * 3, RANDOM.integers(0, 7, 40)
COUNTS = np.bincount(LABELS).astype(float)
ROWS = np.arange(len(TARGET))


def losses(progress: float = 1, **changes) -> np.ndarray:
    loss = build_criterion(Loss.model_validate(PLAIN | changes), torch.from_numpy(LABELS), progress)
    return loss(torch.from_numpy(LOGITS), torch.from_numpy(TARGET)).double().numpy()


def true_class_weights(power: float) -> np.ndarray:
    weights = COUNTS**-power
    return (weights / weights[LABELS].mean())[TARGET]


def test_plain_cross_entropy():
    assert losses() == pytest.approx(-log_softmax(LOGITS, axis=1)[ROWS, TARGET], rel=1e-5)


@pytest.mark.parametrize("power", [0.5, 1.5])
def test_smoothed_cross_entropy_is_weighted_by_the_true_class(power):
    smooth = 0.9 * np.eye(7)[TARGET] + 0.1 / 7
    expected = -(smooth * log_softmax(LOGITS, axis=1)).sum(axis=1) * true_class_weights(power)
    assert losses(class_weight_power=power, label_smoothing=0.1) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("progress", "share"), [(0, 0), (0.2, 0), (0.4, 1 / 9), (0.6, 4 / 9), (0.8, 1), (1, 1)], ids=str
)
def test_class_weights_rise_with_the_square_from_natural_to_balanced(progress, share):
    found = losses(progress, class_weight_power=1.2, class_weight_from=0.2, class_weight_to=0.8)
    assert found == pytest.approx(losses(class_weight_power=1.2 * share), rel=1e-5)
    assert losses(progress, class_weight_power=1.2) == pytest.approx(losses(class_weight_power=1.2))  # all at once


@pytest.mark.parametrize("gamma", [0, 1, 2, 5])
@pytest.mark.parametrize("power", [0, 1])
def test_focal_takes_the_plain_probability_of_the_true_class(gamma, power):
    """Not exp(-weighted cross-entropy): with heavy weights that is near 0, and rare classes are never focal."""
    logs = log_softmax(LOGITS, axis=1)[ROWS, TARGET]
    expected = -((1 - np.exp(logs)) ** gamma) * logs * true_class_weights(power)
    assert losses(loss="focal", focal_gamma=gamma, class_weight_power=power) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
def test_focal_has_a_gradient_where_the_network_is_sure(gamma):
    loss = build_criterion(
        Loss.model_validate(PLAIN | {"loss": "focal", "focal_gamma": gamma}), torch.from_numpy(LABELS)
    )
    logits = torch.tensor([[40.0, 0, 0, 0, 0, 0, 0]], requires_grad=True)
    loss(logits, torch.tensor([0])).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_logit_adjustment_adds_the_log_prior():
    adjusted = LOGITS + 1.5 * np.log(COUNTS / COUNTS.sum())
    expected = -log_softmax(adjusted, axis=1)[ROWS, TARGET]
    assert losses(logit_adjustment=1.5) == pytest.approx(expected, rel=1e-5)


def test_with_logit_adjustment_the_logits_that_fit_best_are_balanced():
    """Without any evidence in the image, cross-entropy learns the prior; adjusted by tau = 1 it learns equal logits."""
    labels = torch.from_numpy(LABELS)
    logits = torch.zeros(7, requires_grad=True)
    loss = build_criterion(Loss.model_validate(PLAIN | {"logit_adjustment": 1}), labels)
    loss(logits.expand(len(labels), 7), labels).mean().backward()
    assert logits.grad.abs().max() < 1e-6
