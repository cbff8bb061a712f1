"""Rare classes: weights, prior, sampler, and the warning about more than one of them."""

import numpy as np
import pytest
import tiny
import torch

from dermaline.training import balance

LABELS = torch.tensor([0] * 64 + [1] * 16 + [2] * 4)


@pytest.mark.parametrize("power", [0.5, 1, 1.5])
def test_class_weights_are_the_power_of_the_counts_with_mean_one(power):
    weights = balance.class_weights(LABELS, power).double()
    expected = np.array([64.0, 16, 4]) ** -power
    assert weights[:3] / weights[0] == pytest.approx(expected / expected[0])
    assert weights[LABELS].mean().item() == pytest.approx(1)
    assert weights[3:].tolist() == [0] * 4


def test_without_power_every_image_weighs_the_same():
    assert balance.class_weights(LABELS, 0)[:3].tolist() == [1, 1, 1]


def test_the_prior_is_the_share_of_the_images():
    labels = torch.arange(7).repeat(10)
    assert balance.log_prior(labels).exp() == pytest.approx(np.full(7, 1 / 7))
    assert torch.isfinite(balance.log_prior(LABELS)).all()


def test_without_a_sampler_an_epoch_shows_every_image_once_in_an_order_of_its_own():
    first = balance.sample_epoch_indices(LABELS, 0, seed=0, epoch=1)
    assert sorted(first.tolist()) == list(range(len(LABELS)))
    assert torch.equal(first, balance.sample_epoch_indices(LABELS, 0, seed=0, epoch=1))
    assert not torch.equal(first, balance.sample_epoch_indices(LABELS, 0, seed=0, epoch=2))
    assert not torch.equal(first, balance.sample_epoch_indices(LABELS, 0, seed=1, epoch=1))


@pytest.mark.parametrize("power", [0.5, 1])
def test_the_sampler_draws_classes_by_the_power_law(power):
    drawn = torch.cat(
        [LABELS[balance.sample_epoch_indices(LABELS, power, seed=0, epoch=epoch)] for epoch in range(300)]
    )
    wanted = np.array([64.0, 16, 4]) ** (1 - power)
    shares = torch.bincount(drawn).double() / len(drawn)
    assert shares == pytest.approx(wanted / wanted.sum(), abs=0.012)  # four standard errors of 25,200 draws


def test_balancing_twice_is_warned_about_and_once_is_not():
    assert balance.warnings(tiny.recipe(class_weight_power=1, sampler_power=0)) == []
    smoothed = balance.warnings(tiny.recipe(class_weight_power=0, logit_adjustment=1, label_smoothing=0.1))
    assert ["label_smoothing" in line for line in smoothed] == [True]
    taught = tiny.recipe(class_weight_power=0, logit_adjustment=1, label_smoothing=0, teachers=["released/lite0_mixed"])
    assert "what teachers say undoes it" in balance.warnings(taught)[0]
    both = balance.warnings(tiny.recipe(class_weight_power=1, sampler_power=1))
    assert "class_weight_power and sampler_power" in both[0]
    late = [tiny.phase("all", 1, 1, 1), tiny.phase("late", 1, 0, 1, sampler_power=1)]
    assert [line.split("'")[1] for line in balance.warnings(tiny.recipe(phases=late))] == ["late"]
