"""Distillation: a network learns what its teachers say of the views that it sees; they must be of the same split."""

import pytest
import tiny
import torch
from torch.nn.functional import kl_div

from dermaline.base.errors import DermalineError
from dermaline.compute import setup_fabric
from dermaline.models import model_info, model_io
from dermaline.models.network import Network
from dermaline.models.weights import describe_start, origins_of
from dermaline.training.checkpoint import ResumeCheckpoint
from dermaline.training.distill import Teachers, distilled
from dermaline.training.loop import Trainer

CPU = setup_fabric("cpu", "32-true")


def teacher(folder, seed):
    torch.manual_seed(seed)
    recipe = tiny.recipe(backbone="resnet10t", drop_path=0.0, weights="none")
    network = Network(recipe, pretrained=False)
    for parameter in network.head_parameters():
        parameter.data.mul_(20)
    model_io.save(folder, network.state_dict(), recipe, {})
    return str(folder)


def test_teachers_speak_with_the_mean_of_their_probabilities(tmp_path):
    folders = [teacher(tmp_path / name, seed) for seed, name in enumerate("ab")]
    pixels = torch.rand(5, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    each = [model_io.load(tmp_path / name)[0](pixels).softmax(dim=1) for name in "ab"]
    found = Teachers(folders, CPU.device, [(32, 48), (64, 64)])(pixels, None)
    assert torch.allclose(found, sum(each) / 2, atol=1e-6)
    assert not found.requires_grad


def test_a_teacher_of_one_size_is_refused_where_another_is_shown(tmp_path):
    recipe = tiny.recipe(backbone="test_vit", drop_path=0.0, weights="none", size=None)
    model_io.save(tmp_path / "vit", Network(recipe, pretrained=False).state_dict(), recipe, {})
    Teachers([str(tmp_path / "vit")], CPU.device, [(160, 160)])
    with pytest.raises(DermalineError, match=r"teachers: .*vit: it takes images of 160x160 only, .* shown 32x48"):
        Teachers([str(tmp_path / "vit")], CPU.device, [(160, 160), (32, 48)])


def test_the_soft_part_is_least_where_student_and_teachers_agree():
    logits = torch.randn(6, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    soft = torch.randn(6, 7, generator=torch.Generator().manual_seed(2)).softmax(dim=1)
    hard = torch.arange(6.0)
    found = distilled(hard, logits, soft, 0.3)
    divergence = kl_div(logits.float().log_softmax(dim=1), soft, reduction="none").sum(dim=1)
    entropy = -(soft * soft.log()).sum(dim=1)
    assert torch.allclose(found, 0.7 * hard + 0.3 * (divergence + entropy), atol=1e-5)
    agreeing = soft.log().requires_grad_()
    distilled(hard, agreeing, soft, 1.0).sum().backward()
    assert agreeing.grad.abs().max() < 1e-6


@pytest.mark.slow
def test_a_student_of_teachers_alone_comes_to_say_what_they_say(tmp_path, monkeypatch):
    """With no share for the labels, and labels that say otherwise."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    folder = teacher(tmp_path / "model", 3)
    phases = [tiny.phase("all", 6, 1, 1)]
    quiet = {"mixup": 0.2, "class_weight_power": 0, "label_smoothing": 0, "ema": 0, "patience": 100}
    quiet |= {"backbone": "resnet10t", "drop_path": 0.0, "weights": "none", "phases": phases, "distillation": 1.0}
    far = []
    for teachers in ([], [folder]):
        recipe = tiny.recipe(teachers=teachers, **quiet)
        data = tiny.examples(48, 0)
        training = Trainer(recipe, data, tiny.examples(21, 1), CPU, ResumeCheckpoint(f"distill{len(teachers)}"))
        training.run()
        pixels = data.images(recipe.size).float() / 255
        said = training.network.eval()(pixels).softmax(dim=1)
        wanted = model_io.load(tmp_path / "model")[0](pixels).softmax(dim=1)
        far.append(float((said - wanted).detach().abs().sum(dim=1).mean()))
    assert far[1] < 0.5 * far[0]


def test_a_training_with_a_teacher_is_another_one(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    folders, moved = [teacher(tmp_path / f"{seed}", seed) for seed in (3, 4)], []
    quiet = {"backbone": "resnet10t", "drop_path": 0.0, "weights": "none", "phases": [tiny.phase("all", 1, 1, 1)]}
    for teachers in ([], folders[:1], folders[1:]):
        recipe = tiny.recipe(teachers=teachers, **quiet)
        scratch = ResumeCheckpoint(f"of {teachers}".replace("/", ""))
        trained = Trainer(recipe, tiny.examples(32, 0), tiny.examples(21, 1), CPU, scratch).run()
        moved.append(next(value for name, value in trained.items() if name.startswith("head") and value.ndim == 2))
    assert not any(torch.equal(one, other) for one, other in zip(moved, [*moved[1:], moved[0]], strict=True))


def saved(folder, **facts) -> str:
    """A model with these facts beside it."""
    recipe = tiny.recipe(backbone="resnet10t", drop_path=0.0, weights="none")
    model_io.save(
        folder, Network(recipe, pretrained=False).state_dict(), recipe, {"split": "own", "start": None, **facts}
    )
    return str(folder)


def test_what_may_have_seen_the_test_is_known_whoever_learned_from_it(tmp_path):
    """A model of this split that started from one of another, and teachers, are looked at like a start."""
    other = {"model": "old", "same_split": False}
    known = {"own": {}, "other": {"split": "another"}, "second": {"start": other}, "taught": {"teachers": [other]}}
    folders = {name: saved(tmp_path / name, **facts) for name, facts in known.items()}
    for name, folder in folders.items():
        assert describe_start(tmp_path / name / "model.safetensors", "own")["same_split"] == (name == "own")
        for start, teachers in ((f"{folder}/model.safetensors", []), ("none", [folders["own"], folder])):
            origins = origins_of(start, teachers, "own")
            assert origins.leaks == ([] if name == "own" else [name])
            if name != "own":
                with pytest.raises(DermalineError, match=f"here: {name} is not known to be of this split"):
                    origins.require_same_split("here")


def test_a_model_that_learned_from_one_of_another_split_is_no_measurement():
    own, other = ({"model": "a", "same_split": same} for same in (True, False))
    assert model_info.clean({"start": None, "teachers": [own]})
    assert not model_info.clean({"start": None, "teachers": [own, other]})
    with pytest.raises(DermalineError, match="learned from a, not known to be of this split"):
        model_info.check_clean("student", {"start": None, "teachers": [other]})
