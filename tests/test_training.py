"""Training: what is frozen, what is kept, what comes back after a stop."""

import math

import numpy as np
import pytest
import tiny
import torch
from closure import ROOT

from dermaline import params
from dermaline.compute import fabric
from dermaline.data.batches import shuffled
from dermaline.errors import DermalineError
from dermaline.inference.predict import probabilities
from dermaline.models.network import Network
from dermaline.params import Augment, Loss
from dermaline.training.augment import augment
from dermaline.training.checkpoint import Scratch, fingerprint
from dermaline.training.loop import SELECTED_BY, Training
from dermaline.training.loss import class_weights, make_loss
from dermaline.training.schedule import factor

NO_AUGMENT = Augment.model_validate(dict.fromkeys(Augment.model_fields, 0) | {"flip": False})


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Make a Training of a tiny recipe whose scratch folder lies in tmp_path."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))

    def make(name: str = "one", **changes) -> Training:
        recipe = tiny.recipe(**changes)
        device = fabric("cpu", recipe.precision)
        return Training(recipe, tiny.examples(48, 0), tiny.examples(21, 1, recipe.size), device, Scratch(name))

    return make


def test_a_frozen_backbone_does_not_move_nor_do_its_statistics(trained):
    only_head = [tiny.phase("head", 1, 0, 3)]
    training = trained(phases=only_head, ema=0)
    before = {name: value.clone() for name, value in training.network.state_dict().items()}
    training.run()
    head = {id(parameter) for parameter in training.network.head_parameters()}
    named = {id(value): name for name, value in training.network.named_parameters()}
    heads = {named[number] for number in head}
    moved = {name for name, value in training.network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == heads


def test_the_whole_network_moves_in_the_second_phase(trained):
    training = trained(ema=0)
    before = {name: value.clone() for name, value in training.network.state_dict().items()}
    training.run()
    still = [name for name, value in training.network.state_dict().items() if torch.equal(value, before[name])]
    assert still == []


def test_it_learns_and_keeps_the_best_epoch_not_the_last(trained):
    phases = [tiny.phase("good", 4, 1, 3), tiny.phase("ruin", 1, 100, 100)]
    training = trained(phases=phases, ema=0, dropout=0, drop_path=0, **NO_AUGMENT.model_dump())
    best = training.run()
    scores = [row[SELECTED_BY] for row in training.history]
    assert scores[-1] < max(scores)
    assert max(scores) > 0.4
    network = Network(training.recipe, pretrained=False)
    network.load_state_dict(best)
    found = probabilities(network.eval(), training.val.images, training.fabric)
    hits = (found.argmax(dim=1) == training.val.labels).double()
    recalls = [hits[training.val.labels == number].mean().item() for number in range(7)]
    assert np.mean(recalls) == pytest.approx(max(scores), abs=1e-9)


def test_stopped_and_resumed_ends_with_the_same_bits(trained, monkeypatch):
    whole = trained("whole").run()
    for stop in (1, 2):  # after the first phase, and inside the second
        broken = trained(f"broken{stop}")
        save = broken._checkpoint

        def save_and_stop(phase, optimizer, broken=broken, save=save, stop=stop):
            save(phase, optimizer)
            if len(broken.history) == stop:
                raise KeyboardInterrupt

        monkeypatch.setattr(broken, "_checkpoint", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            broken.run()
        resumed = trained(f"broken{stop}")
        again = resumed.run()
        assert len(resumed.history) == 3
        assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_patience_ends_a_phase(trained):
    phases = [tiny.phase("all", 30, 0, 1e-12)]
    training = trained(phases=phases, patience=2, ema=0)
    training.run()
    assert len(training.history) == 3


def test_a_loss_that_is_not_finite_is_one_clear_line(trained):
    with pytest.raises(DermalineError, match=r"not finite in epoch 1; lower lr"):
        trained(lr=1e12, weight_decay=1e12, warmup=0, ema=0).run()


def test_another_parameter_or_another_file_is_another_checkpoint(tmp_path):
    (tmp_path / "data").write_text("a")
    files = [tmp_path / "data"]
    first = fingerprint({"lr": 1}, files)
    assert fingerprint({"lr": 1}, files) == first
    assert fingerprint({"lr": 2}, files) != first
    (tmp_path / "data").write_text("b")
    assert fingerprint({"lr": 1}, files) != first


def test_class_weights_are_the_power_of_the_counts_with_mean_one():
    labels = torch.tensor([0] * 64 + [1] * 16 + [2] * 4)
    weights = class_weights(labels, 0.5).double()
    expected = np.array([1 / 8, 1 / 4, 1 / 2])
    assert weights[:3] / weights[0] == pytest.approx(expected / expected[0])
    assert weights[labels].mean().item() == pytest.approx(1)
    assert weights[3:].tolist() == [0] * 4
    assert class_weights(labels, 0)[:3].tolist() == [1, 1, 1]


def test_the_loss_is_weighted_smoothed_cross_entropy():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 7, 200))
    logits, target = rng.normal(size=(10, 7)), rng.integers(0, 7, 10)
    loss = make_loss(Loss(class_weight_power=0.5, label_smoothing=0.1), labels)
    weights = class_weights(labels, 0.5).double().numpy()
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    smooth = 0.9 * np.eye(7)[target] + 0.1 / 7
    expected = -(smooth * weights * logs).sum() / weights[target].sum()
    assert loss(torch.from_numpy(logits), torch.from_numpy(target)).item() == pytest.approx(expected, rel=1e-5)


def test_the_rate_warms_up_and_falls_to_zero():
    rates = [factor(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[-1] < 0.001
    assert all(math.isfinite(rate) for rate in (factor(0, 1, 0), factor(0, 1, 1)))


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own():
    first = torch.cat(list(shuffled(100, 10, seed=0, epoch=1)))
    assert sorted(first.tolist()) == list(range(100))
    assert torch.equal(first, torch.cat(list(shuffled(100, 10, seed=0, epoch=1))))
    assert not torch.equal(first, torch.cat(list(shuffled(100, 10, seed=0, epoch=2))))
    assert [len(batch) for batch in shuffled(25, 10, seed=0, epoch=1)] == [10, 10]
    assert [len(batch) for batch in shuffled(5, 10, seed=0, epoch=1)] == [5]


def test_without_ranges_augmentation_only_resizes():
    images = torch.randint(0, 256, (3, 3, 24, 32), dtype=torch.uint8)
    same = augment(images, (24, 32), NO_AUGMENT, torch.Generator().manual_seed(0))
    assert same == pytest.approx(images.numpy() / 255, abs=1e-5)


def test_every_image_of_a_batch_is_augmented_by_itself():
    options = params.load("recipes.lite0", ROOT / "params.yaml")
    images = torch.randint(0, 256, (1, 3, 24, 32), dtype=torch.uint8).expand(8, -1, -1, -1)
    found = augment(images, (24, 32), options, torch.Generator().manual_seed(0))
    assert len({tuple(image.flatten().tolist()) for image in found}) == 8
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(found, augment(images, (24, 32), options, torch.Generator().manual_seed(0)))


def test_a_half_turn_turns_the_picture_without_distortion():
    turned = NO_AUGMENT.model_copy(update={"rotation": 90.0})
    ring = torch.zeros((1, 3, 60, 80), dtype=torch.uint8)
    y, x = torch.meshgrid(torch.arange(60) - 29.5, torch.arange(80) - 39.5, indexing="ij")
    ring[:, :, (y.square() + x.square()) < 15**2] = 255  # a disc stays a disc at every angle, if angles are right
    found = augment(ring, (60, 80), turned, torch.Generator().manual_seed(3))
    assert (found - ring / 255).abs().mean() < 0.01


def test_flips_are_averaged_and_rows_sum_to_one():
    recipe = tiny.recipe()
    torch.manual_seed(0)
    network = Network(recipe, pretrained=True).eval()
    images = tiny.examples(5, 0, recipe.size).images
    device = fabric("cpu", "32-true")
    flipped = probabilities(network, images, device, tta="flips")
    mirrored = probabilities(network, images.flip(3), device, tta="flips")
    assert flipped == pytest.approx(mirrored.numpy(), abs=1e-5)
    assert flipped.sum(dim=1) == pytest.approx(np.ones(5), abs=1e-6)
