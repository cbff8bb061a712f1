"""Photographs of elsewhere are scored with the fitted decision as it is; what training has seen of them is said."""

import json
import sys
import zipfile

import pandas as pd
import pytest
from parameters import put_parameters
from PIL import Image
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from test_duplicates import SHIFT, facts, frame, jpeg
from test_predict_command import DECISION, save_model

from dermaline.base.classes import CLASSES
from dermaline.base.errors import run
from dermaline.base.files import digest
from dermaline.inference.decision import Decision
from dermaline.sources.archive import writing
from stages import external

DX = ("mel", "nv", "nv", "bkl", "mel", "bcc", "df", "vasc")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A trained model with its decision, eight photographs that it learned from, and eight of elsewhere in a zip.

    Of these, the first is one of the former under another name, its frame shifted; the second shows a lesion of them.
    """
    learned = facts(8).assign(image_id=[f"ISIC_1{n:06}" for n in range(8)], lesion_id=[f"own{n}" for n in range(8)])
    put_parameters(
        tmp_path,
        {"external": {"clinic": {"photographs": "clinic.zip", "truth": "clinic.csv"}}, "prepare.size": [48, 64]},
    )
    save_model(tmp_path / "models/first", 1, {})
    model = digest(tmp_path / "models/first/model.safetensors")
    changes = {"models": {"first": model}, "temperatures": {"first": 0.8}}
    DECISION.model_copy(update=changes).save(tmp_path / "metrics/decision.json")
    (tmp_path / "data/prepared").mkdir(parents=True)
    with writing(tmp_path / "data/raw") as raw:
        for number, name in enumerate(learned.image_id):
            raw.add_image(name, jpeg(frame(number)))
        raw.write_table(learned)
    learned.to_csv(tmp_path / "data/prepared/index.csv", index=False)
    split = learned[["image_id"]].assign(split=["train"] * 4 + ["val"] * 4)
    split.to_csv(tmp_path / "data/split.csv", index=False)
    with zipfile.ZipFile(tmp_path / "clinic.zip", "w") as archive:
        archive.writestr("in/p0.jpg", jpeg(frame(5, 80 + SHIFT[0], 60 + SHIFT[1])))
        for number in range(1, 9):
            archive.writestr(f"in/p{number}.jpg", jpeg(frame(20 + number)))
    truth = pd.DataFrame({"image_id": [f"p{n}" for n in range(8)], "dx": DX})
    truth = truth.assign(lesion_id=["x0", "own2", "x2", "x2", *(f"x{n}" for n in range(4, 8))])
    truth.assign(dx=truth.dx.mask(truth.lesion_id == "x2", "nv")).to_csv(tmp_path / "clinic.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["external", "clinic"])
    return tmp_path


def test_photographs_of_elsewhere_are_scored_with_the_decision_as_it_is(project, capsys):
    external.main()
    said = capsys.readouterr().err
    assert "note: 1 photographs in clinic.zip are not in clinic.csv" in said
    assert "warning: 2 images of external.clinic were seen in training, p0 for one" in said
    table = pd.read_csv(project / "data/external/clinic.csv")
    assert (table[[*CLASSES]].sum(axis=1) - 1).abs().max() < 1e-5
    assert table.melanoma_suspected.tolist() == (table.mel >= DECISION.melanoma_threshold).tolist()
    found = json.loads((project / "metrics/external/clinic.json").read_text())["clinic"]
    assert found["accuracy"] == pytest.approx(accuracy_score(table.dx, table.predicted), abs=1e-6)
    details = json.loads((project / "metrics/external/clinic.details.json").read_text())
    recalled = balanced_accuracy_score(table.dx, table.predicted)
    assert details["image_level"]["balanced_accuracy"] == pytest.approx(recalled, abs=1e-6)
    assert details["seen_in_training"] == ["p0", "p1"]
    assert details["interval_by"] == "lesion"


def test_a_photograph_under_an_id_of_training_was_seen_whatever_was_done_to_it(project):
    with zipfile.ZipFile(project / "clinic.zip", "a") as archive:
        archive.writestr("in/ISIC_1000003.jpg", jpeg(frame(31)))
    truth = pd.read_csv(project / "clinic.csv")
    more = pd.DataFrame({"image_id": ["ISIC_1000003"], "dx": ["nv"], "lesion_id": ["x9"]})
    pd.concat([truth, more]).to_csv(project / "clinic.csv", index=False)
    external.main()
    details = json.loads((project / "metrics/external/clinic.details.json").read_text())
    assert sorted(details["seen_in_training"]) == ["ISIC_1000003", "p0", "p1"]


def test_a_photograph_of_training_that_was_mirrored_or_turned_round_was_seen(project):
    with zipfile.ZipFile(project / "clinic.zip", "a") as archive:
        for number, turn in enumerate((Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180)):
            archive.writestr(f"in/turned{number}.jpg", jpeg(frame(number + 2).transpose(turn)))
    truth = pd.read_csv(project / "clinic.csv")
    more = pd.DataFrame({"image_id": ["turned0", "turned1"], "dx": "nv", "lesion_id": ["x9", "x10"]})
    pd.concat([truth, more]).to_csv(project / "clinic.csv", index=False)
    external.main()
    details = json.loads((project / "metrics/external/clinic.details.json").read_text())
    assert details["seen_in_training"] == ["p0", "p1", "turned0", "turned1"]


def test_of_a_cameras_raw_file_and_its_jpeg_the_jpeg_is_taken(project):
    external.main()
    alone = (project / "data/external/clinic.csv").read_bytes()
    with zipfile.ZipFile(project / "clinic.zip", "a") as archive:
        for number in range(8):
            archive.writestr(f"in/p{number}.nef", b"raw")
    external.main()
    assert (project / "data/external/clinic.csv").read_bytes() == alone


def test_without_a_melanoma_threshold_nothing_is_said_of_one(project):
    decision = Decision.model_validate_json((project / "metrics/decision.json").read_text())
    decision.model_copy(update={"melanoma_threshold": None}).save(project / "metrics/decision.json")
    external.main()
    details = json.loads((project / "metrics/external/clinic.details.json").read_text())
    assert "melanoma_operating_point" not in details


def test_a_model_that_uses_age_sex_and_localization_is_given_those_of_the_truth(project, capsys):
    save_model(project / "models/first", 1, {}, metadata="concat")
    model = digest(project / "models/first/model.safetensors")
    decision = Decision.model_validate_json((project / "metrics/decision.json").read_text())
    decision.model_copy(update={"models": {"first": model}}).save(project / "metrics/decision.json")
    external.main()
    assert "clinic.csv has none of them" in capsys.readouterr().err
    without = pd.read_csv(project / "data/external/clinic.csv")
    truth = pd.read_csv(project / "clinic.csv").assign(age=[20, 85] * 4, sex="male")
    truth.to_csv(project / "clinic.csv", index=False)
    external.main()
    assert "has none of them" not in capsys.readouterr().err
    told = pd.read_csv(project / "data/external/clinic.csv")
    assert (told[[*CLASSES]] - without[[*CLASSES]]).abs().max(axis=1).min() > 1e-4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / "clinic.csv").write_text("image_id,dx\np0,nv\np77,mel\n"), "p77 for one; add them"),
        (lambda root: (root / "models/first/model.safetensors").write_bytes(b""), "not the model that the"),
    ],
)
def test_what_is_not_there_or_not_the_last_run_s_is_one_line(project, change, said):
    change(project)
    with pytest.raises(SystemExit) as ended:
        run(external.main)  # as the script does: a word is status 1, and what is printed
    assert said in str(ended.value.code).splitlines()[-1]
    assert not (project / "metrics/external").exists()
