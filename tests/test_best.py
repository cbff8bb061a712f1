"""Which weights are kept: those of the best epochs, whatever the order they come in."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dermaline.training.best import BestEpochs


def network(value: float) -> nn.Module:
    made = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    with torch.no_grad():
        made[0].weight.fill_(value)
        made[1].num_batches_tracked.fill_(int(value))
    return made


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.integers(1, 4))
def test_the_mean_is_of_the_best_epochs_and_of_equals_the_earlier(scores, count):
    best = BestEpochs(count)
    for epoch, score in enumerate(scores, 1):
        best.offer(score, epoch, network(epoch))
    ranked = sorted(range(1, len(scores) + 1), key=lambda epoch: -scores[epoch - 1])[:count]
    assert best.epochs == ranked
    found = best.mean()
    assert found["0.weight"].item() == pytest.approx(sum(ranked) / len(ranked))
    assert found["1.num_batches_tracked"].item() == ranked[0]


def test_what_is_kept_does_not_follow_the_training():
    best, trained = BestEpochs(1), network(1)
    best.offer(0.5, 1, trained)
    with torch.no_grad():
        trained[0].weight.fill_(9)
    assert best.mean()["0.weight"].item() == 1
