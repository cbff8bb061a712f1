"""The learning rate, against PyTorch's own schedulers."""

import math

import pytest
import tiny
import torch
from torch.optim import SGD, lr_scheduler

from dermaline.models.network import Network
from dermaline.params.recipe import Phase
from dermaline.training.optimizer import build_optimizer
from dermaline.training.schedule import lr_multiplier, num_lr_reductions


def rates(steps: int, scores: list[float] | None = None, **changes) -> list[float]:
    recipe = tiny.recipe(**changes)
    return [lr_multiplier(recipe, step, steps, scores or []) for step in range(steps)]


def reference(scheduler: type, steps: int, **options) -> list[float]:
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    made, found = scheduler(optimizer, **options), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    return found


def test_the_rate_warms_up_and_falls_to_zero():
    found = rates(100, warmup=0.1, schedule="cosine")
    assert found[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert found[10:] == pytest.approx(reference(lr_scheduler.CosineAnnealingLR, 90, T_max=90), abs=1e-9)


def test_steps_are_those_of_the_seventy_epochs_they_are_known_from():
    marks = {"milestones": [30, 40, 50, 60], "gamma": 0.1}
    found = rates(1 + 70, warmup=0, schedule="step")
    assert found[1:] == pytest.approx(reference(lr_scheduler.MultiStepLR, 70, **marks), abs=1e-12)


def test_warm_restarts():
    found = rates(1 + 70, warmup=0, schedule="restarts", cycles=3)
    options = {"T_0": 10, "T_mult": 2}
    assert found[1:] == pytest.approx(reference(lr_scheduler.CosineAnnealingWarmRestarts, 70, **options), abs=1e-9)


@pytest.mark.parametrize("patience", [1, 2, 4])
def test_plateau_falls_when_pytorchs_does(patience):
    scores = torch.randn(60, generator=torch.Generator().manual_seed(3)).add(torch.linspace(0, 2, 60)).tolist()
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    options = {"mode": "max", "factor": 0.5, "patience": patience - 1, "threshold": 0, "eps": 0}
    made = lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    for epoch, score in enumerate(scores):
        expected = optimizer.param_groups[0]["lr"]
        assert 0.5 ** num_lr_reductions(scores[:epoch], patience) == pytest.approx(expected)
        made.step(score)
    assert num_lr_reductions(scores, patience) > 1
    options = {"schedule": "plateau", "plateau_factor": 0.5, "plateau_patience": patience, "warmup": 0}
    assert rates(5, scores, **options)[-1] == pytest.approx(0.5 ** num_lr_reductions(scores, patience))


def test_a_constant_rate_and_phases_of_one_step():
    assert rates(5, warmup=0, schedule="constant") == [1.0] * 5
    for schedule in ("cosine", "restarts", "plateau", "constant"):
        assert all(math.isfinite(rate) for warmup in (0, 1) for rate in rates(1, schedule=schedule, warmup=warmup))


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_every_optimizer_takes_a_step_at_the_rates_of_its_groups(name):
    recipe = tiny.recipe(optimizer=name, weight_decay=0.1, lr=1e-2)
    network = Network(recipe, pretrained=False)
    optimizer = build_optimizer(network, recipe, Phase(name="all", epochs=1, backbone=0.5, head=2))
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"]
    before = [parameter.detach().clone() for parameter in network.parameters()]
    network.start_training(first_layer=0)
    network(torch.rand(4, 3, 32, 48)).square().mean().backward()
    optimizer.step()
    moved = [not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)


def test_each_part_has_its_rate_and_frozen_layers_have_none():
    recipe = tiny.recipe(lr=0.5)
    network = Network(recipe, pretrained=False)
    phase = Phase(name="top", epochs=1, backbone=0.1, head=2, first_layer=3)
    groups = build_optimizer(network, recipe, phase).param_groups
    rate = {id(parameter): group["base_lr"] for group in groups for parameter in group["params"]}
    assert {rate[id(parameter)] for parameter in network.head_parameters()} == {1.0}
    layers = network.backbone_layers()
    for depth, layer in enumerate(layers):
        assert {rate.get(id(parameter)) for parameter in layer} == ({0.05} if depth >= 3 else {None})
    decays = {group["weight_decay"] for group in groups for parameter in group["params"] if parameter.ndim <= 1}
    assert decays == {0.0}


def test_a_transformers_embeddings_are_not_decayed():
    recipe = tiny.recipe("vit", size=(32, 32), weight_decay=0.1)
    network = Network(recipe, pretrained=False)
    groups = build_optimizer(network, recipe, Phase(name="all", epochs=1, backbone=1, head=1)).param_groups
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert decay[id(network.body.pos_embed)] == decay[id(network.body.cls_token)] == 0
    assert decay[id(network.body.patch_embed.proj.weight)] == 0.1
    assert len(decay) == len(list(network.parameters()))
