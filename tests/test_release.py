"""The released model: half the bytes, the same labels, and found when nothing else is there."""

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from closure import ROOT
from parameters import put_parameters
from safetensors.torch import load_file, save_file

from dermaline.base.errors import DermalineError
from dermaline.base.files import digest
from dermaline.commands.chosen_models import choose
from dermaline.commands.release import RELEASED, halved, write
from dermaline.compute import setup_fabric
from dermaline.inference.ensemble import plain
from dermaline.inference.predict import probabilities
from dermaline.models.model_io import load, save
from dermaline.models.network import Network
from dermaline.ood import density, detector

CPU = setup_fabric("cpu", "32-true")


def decided(names: list[str], **fitted: float) -> None:
    """Write metrics/decision.json as for these models."""
    models = {name: digest(Path("models", name, "model.safetensors")) for name in names}
    plain(names).model_copy(update={"models": models, **fitted}).save(Path("metrics/decision.json"))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A folder as a run leaves it, with one model of pretrained weights."""
    monkeypatch.chdir(tmp_path)
    recipe = tiny.recipe()
    torch.manual_seed(0)
    network = Network(recipe, pretrained=True)
    torch.nn.init.normal_(network.head[-1].weight, std=0.1)
    save(
        tmp_path / "models/lite0",
        network.state_dict(),
        recipe,
        {"prepared_size": [48, 64], "device": "CPU", "start": None},
    )
    decided(["lite0"])
    details = {"lite0": {"image_level": {"accuracy": 0.5, "cases": 3}}}
    (tmp_path / "metrics/details.json").write_text(json.dumps(details))
    put_parameters(tmp_path)
    return tmp_path


def test_a_release_has_half_the_bytes_and_gives_the_same_labels(run):
    write()
    whole, half = (path / "model.safetensors" for path in (run / "models/lite0", run / "released/lite0"))
    assert half.stat().st_size < 0.52 * whole.stat().st_size
    images = tiny.photographs(64, 3, (32, 48))
    first, second = (probabilities(load(path.parent)[0], images, CPU) for path in (whole, half))
    assert len(first.argmax(dim=1).unique()) > 2
    assert torch.equal(first.argmax(dim=1), second.argmax(dim=1))
    assert (first - second).abs().max() < 0.02
    facts = json.loads((run / "released/lite0/recipe.json").read_text())
    assert (facts["predict"]["tta"], facts["prepared_size"], facts["test"]) == ("flips", [48, 64], {"accuracy": 0.5})


def test_it_is_what_predict_uses_unless_the_last_run_is_asked_for(run):
    write()
    assert choose([], None, False).folders == [Path("released/lite0")]
    assert choose([], None, True).folders == [Path("models/lite0")]
    shutil.rmtree(run / "models")
    with pytest.raises(DermalineError, match=r"models/lite0/model\.safetensors: not there; run git checkout and dvc"):
        choose([], None, True)
    shutil.rmtree(run / "released")
    with pytest.raises(DermalineError, match=r"released/decision\.json: not found"):
        choose([], None, False)


def test_a_decision_is_not_applied_to_another_model_of_the_same_name(run):
    write()
    other = load_file(run / "models/lite0/model.safetensors")
    other["head.1.bias"] += 1  # as after another training
    save_file(other, run / "models/lite0/model.safetensors")
    message = "models/lite0/model.safetensors: not the model that the decision was fitted on; run .* dvc checkout"
    named = [Path("models/lite0")]
    for call in (
        lambda: choose([], None, True),
        lambda: choose(named, Path("metrics/decision.json"), False),
        lambda: choose(named, Path("released/decision.json"), False),
        write,
    ):
        with pytest.raises(DermalineError, match=message):
            call()
    assert choose([], None, False).folders == [Path("released/lite0")]
    assert choose(named, None, False).folders == named  # alone, without a decision


def test_a_toy_is_not_released(run):
    facts = json.loads((run / "models/lite0/recipe.json").read_text())
    (run / "models/lite0/recipe.json").write_text(json.dumps(facts | {"generated": True}))
    with pytest.raises(DermalineError, match="trained on generated images"):
        write()


def test_another_released_model_stays(run):
    (run / "released/other").mkdir(parents=True)
    write()
    assert sorted(path.name for path in (run / "released").iterdir()) == ["decision.json", "lite0", "other"]


def test_one_beside_is_used_by_its_name_with_its_own_decision(run):
    write()
    default = (run / "released/decision.json").read_bytes()
    with pytest.raises(DermalineError, match="--beside: released/lite0 is used without a name"):
        write(beside=True)
    (run / "models/lite0").rename(run / "models/student")
    details = json.loads((run / "metrics/details.json").read_text())
    (run / "metrics/details.json").write_text(json.dumps({"student": details["lite0"]}))
    decided(["student"], temperature=2.0)
    write(beside=True)
    assert (run / "released/decision.json").read_bytes() == default
    assert choose([], None, False).folders == [Path("released/lite0")]
    chosen = choose([Path("released/student")], None, False)
    assert (chosen.folders, chosen.decision.temperature) == ([Path("released/student")], 2.0)
    assert chosen.description == "released/student, decided by released/student/decision.json"
    assert choose([Path("models/student")], None, False).decision.temperature == 1.0
    own = Path("released/student/decision.json")
    facts = {"threshold": 3.0, "size": (32, 48), "prepared_size": (48, 64), "fit_images": 9, "val_lesions": 9}
    facts |= {"false_alarms": 0.01, "split": "of another release"}
    known = json.loads((own.parent / "recipe.json").read_text())
    (own.parent / "recipe.json").write_text(json.dumps(known | {"split": "its own"}))
    detector.save(run / "released/out_of_distribution", density.fit(torch.randn(50, 4), 0.01), facts)
    with pytest.raises(DermalineError, match=f"another split than the models.*; add --decision {own} to go without"):
        choose([own.parent], None, False)
    assert choose([own.parent], own, False).detector is None
    shutil.rmtree(run / "released/out_of_distribution")
    together = choose([Path("released/student"), Path("released/lite0")], None, False)
    assert together.description.startswith("plain mean of 2 models")
    shutil.copytree(run / "models/student", run / "models/other")
    decided(["student", "other"])
    with pytest.raises(DermalineError, match="--beside takes one model, and the last run has student, other"):
        write(beside=True)


def test_the_detector_of_other_images_goes_with_the_models(run):
    facts = {"threshold": 3.0, "size": (32, 48), "prepared_size": (48, 64), "fit_images": 9, "val_lesions": 9}
    facts |= {"false_alarms": 0.01, "split": "aaaa"}
    detector.save(run / "models/out_of_distribution", density.fit(torch.randn(50, 4), 0.01), facts)
    write()
    for name in ("detector.json", "density.safetensors"):
        copied = run / "released/out_of_distribution" / name
        assert copied.read_bytes() == (run / "models/out_of_distribution" / name).read_bytes()
    assert choose([], None, False).detector == Path("released/out_of_distribution")
    assert choose([], None, True).detector == Path("models/out_of_distribution")
    shutil.copytree(run / "released/lite0", run / "released/alone")
    assert choose([Path("released/alone")], None, False).detector is None  # no decision, nothing that goes with it
    shutil.copy(run / "released/decision.json", run / "released/lite0")
    assert choose([Path("released/lite0")], None, False).detector == Path("released/out_of_distribution")
    known = json.loads((run / "models/lite0/recipe.json").read_text())
    (run / "models/lite0/recipe.json").write_text(json.dumps(known | {"split": "bbbb"}))
    with pytest.raises(DermalineError, match="fitted on another split than the models"):
        choose([], None, True)
    assert choose([Path("models/lite0")], None, False).detector is None
    assert choose([Path("models/lite0")], Path("metrics/decision.json"), False).detector is None


def test_nothing_is_written_when_one_of_the_models_can_not_be_released(run):
    shutil.copytree(run / "models/lite0", run / "models/toy")
    known = json.loads((run / "models/toy/recipe.json").read_text())
    (run / "models/toy/recipe.json").write_text(json.dumps(known | {"generated": True}))
    decided(["lite0", "toy"])
    with pytest.raises(DermalineError, match="models/toy: trained on generated images"):
        write()
    assert not (run / "released").exists()


def test_what_float16_can_not_hold_stays_as_it_is():
    for kept in (torch.tensor([1.0, 83_614.7]), torch.tensor([3, 4])):
        assert halved(kept) is kept
    assert halved(torch.tensor([1.0, 2.5])).dtype == torch.float16


def test_a_recipe_is_kept_to_the_last_digit(run):
    recipe = tiny.recipe(lr=1.25e-7, weight_decay=0.12345678)
    save(
        run / "models/lite0", load(run / "models/lite0")[0].state_dict(), recipe, {"val_accuracy": 1 / 3, "start": None}
    )
    decided(["lite0"])
    write()
    for folder in ("models", "released"):
        assert load(run / folder / "lite0")[1] == recipe
        assert json.loads((run / folder / "lite0/recipe.json").read_text())["val_accuracy"] == 0.333333


def test_the_shipped_release_is_whole_and_small(monkeypatch, tmp_path):
    (tmp_path / "released").symlink_to(ROOT / "released")
    monkeypatch.chdir(tmp_path)
    for folder in choose([], None, False).folders:
        network, recipe = load(folder)
        assert folder.parent == RELEASED
        assert (folder / "model.safetensors").stat().st_size < 12e6
        found = probabilities(network, torch.zeros(1, 3, *recipe.size, dtype=torch.uint8), CPU)
        assert found.sum().item() == pytest.approx(1, abs=1e-5)


def test_a_model_that_has_seen_its_test_images_is_not_released(run):
    path = run / "models/lite0/recipe.json"
    start = {"model": "first", "split": "x", "same_split": False}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"start": start}))
    with pytest.raises(DermalineError, match="model lite0: learned from first, not known to be of this split"):
        write()
    assert not RELEASED.exists()
