"""`python -m dermaline score` against scikit-learn, the evaluate stage's code, and the ISIC challenge's own scorer."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fakes
import numpy as np
import pandas as pd
import pytest
from closure import ROOT
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from dermaline import forms, params
from dermaline.classes import CLASSES
from dermaline.errors import DermalineError
from dermaline.evaluation import summary
from dermaline.score import score

# pandas 3 dropped the name under which the scorer calls `DataFrame.map`, and archives are for its segmentation task;
# all else is the scorer as it is published.
SCORER = """
import sys, zipfile
import pandas
pandas.DataFrame.applymap = pandas.DataFrame.map
sys.modules["zipfile_deflate64"] = zipfile
from isic_challenge_scoring.__main__ import cli
cli()
"""


@pytest.fixture
def truth() -> pd.DataFrame:
    return (
        fakes.index(lesions=160).query("split == 'test'")[["image_id", "lesion_id", "dx", "sex"]].reset_index(drop=True)
    )


@pytest.fixture
def predictions(truth) -> pd.DataFrame:
    """Fallible ones, in another order, decided by p / prior."""
    table = fakes.predictions(truth.assign(group="", split="test"))
    shares = table[list(CLASSES)].div(table[list(CLASSES)].sum(axis=1), axis=0)
    predicted = (shares / np.array(fakes.SHARES)).idxmax(axis=1)
    suspected = np.where(shares.mel > 0.2, "true", "false")
    found = pd.concat([table.image_id, predicted.rename("predicted"), shares], axis=1)
    return found.assign(melanoma_suspected=suspected).sample(frac=1, random_state=0)


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, table: pd.DataFrame) -> Path:
    table.to_csv(name, index=False)
    return Path(name)


def one_hot(truth: pd.DataFrame) -> pd.DataFrame:
    codes = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    return pd.DataFrame({"image": truth.image_id, **{code: (truth.dx == code.lower()).astype(float) for code in codes}})


def confidences(predictions: pd.DataFrame) -> pd.DataFrame:
    """In ISIC's form, the largest where `predicted` is."""
    shares = predictions[list(CLASSES)].to_numpy() / np.array(fakes.SHARES)
    return forms.to_isic(list(predictions.image_id), shares / shares.sum(axis=1, keepdims=True))


def test_the_command_agrees_with_scikit_learn(truth, predictions, folder):
    write("predictions.csv", predictions), write("truth.csv", truth)
    command = [sys.executable, "-m", "dermaline", "score", "predictions.csv", "truth.csv", "--bootstrap", "50"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)

    found = json.loads(Path("scores.json").read_text())
    both = truth.merge(predictions, on="image_id")
    scores = found["image_level"]
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(both.dx, both.predicted), abs=1e-6)
    assert scores["macro_f1"] == pytest.approx(f1_score(both.dx, both.predicted, average="macro"), abs=1e-6)
    auc = roc_auc_score(both.dx, both[list(CLASSES)], multi_class="ovr")
    assert scores["macro_auc"] == pytest.approx(auc, abs=1e-6)
    called = both.melanoma_suspected == "true"
    assert found["melanoma_operating_point"]["melanoma_sensitivity"] == pytest.approx(
        called[both.dx == "mel"].mean(), abs=1e-6
    )
    assert found["interval_by"] == "lesion"
    lines = done.stdout.splitlines()
    assert next(line for line in lines if line.startswith("balanced accuracy ")).split()[2] == (
        f"{scores['balanced_accuracy']:.3f}"
    )
    assert lines[-1].startswith(
        f"{len(truth)} images of {truth.lesion_id.nunique()} lesions; 95% intervals from 50 draws"
    )


def test_it_is_what_evaluate_writes_for_the_same_table(truth, predictions):
    score(write("p.csv", predictions), write("t.csv", truth), Path("s.json"), 60)
    options = params.read().evaluate.model_copy(update={"bootstrap": 60})
    table = truth.assign(group=truth.lesion_id).merge(predictions, on="image_id")
    expected = summary.scores(table, options)
    found = json.loads(Path("s.json").read_text())["image_level"]
    assert found["cases"] == len(truth)
    assert found["intervals"]["macro_auc"] == pytest.approx(expected["intervals"]["macro_auc"], abs=1e-6)
    assert found["per_class"]["mel"]["f1"] == pytest.approx(expected["per_class"]["mel"]["f1"], abs=1e-6)


def test_isic_forms_give_the_same_decisions(truth, predictions):
    own = score(write("p.csv", predictions), write("t.csv", truth[["image_id", "dx"]]), Path("own.json"), 20)
    isic = score(write("ip.csv", confidences(predictions)), write("it.csv", one_hot(truth)), Path("isic.json"), 20)
    own_found, isic_found = (json.loads(Path(name).read_text()) for name in ("own.json", "isic.json"))
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "melanoma_sensitivity"):
        assert isic_found["image_level"][name] == own_found["image_level"][name]
    assert isic_found["interval_by"] == own_found["interval_by"] == "image"
    assert "no lesion_id" in own
    assert "no lesion_id" in isic
    assert "melanoma_operating_point" not in isic_found


def test_intervals_by_lesion_are_not_those_by_image(truth, predictions):
    ends = []
    for columns in (["image_id", "dx", "lesion_id"], ["image_id", "dx"]):
        score(write("p.csv", predictions), write("t.csv", truth[columns]), Path("s.json"), 200)
        ends.append(json.loads(Path("s.json").read_text())["image_level"]["intervals"]["accuracy"])
    assert ends[0] != ends[1]


def test_the_challenges_own_scorer_takes_the_isic_form_and_agrees(truth, predictions):
    files = write("truth.csv", one_hot(truth)), write("predictions.csv", confidences(predictions))
    command = [sys.executable, "-c", SCORER, "-o", "json", "classification", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout)
    score(files[1], files[0], Path("s.json"), 20)
    ours = json.loads(Path("s.json").read_text())["image_level"]
    assert ours["balanced_accuracy"] == pytest.approx(theirs["overall"], abs=1e-6)
    assert ours["macro_auc"] == pytest.approx(theirs["macro_average"]["auc"], abs=1e-6)
    both = truth.merge(predictions, on="image_id")
    assert theirs["overall"] == pytest.approx(balanced_accuracy_score(both.dx, both.predicted))


def test_images_in_one_file_only_are_refused_with_counts(truth, predictions):
    first = write("p.csv", predictions[predictions.image_id != truth.image_id[3]])
    second = write("t.csv", truth.drop(index=[0, 1]))
    message = f"not the same images: 2 only in p.csv .*; 1 only in t.csv .such as {truth.image_id[3]}."
    with pytest.raises(DermalineError, match=message):
        score(first, second, Path("s.json"), 20)
    assert not Path("s.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, t: (p.assign(predicted="naevus"), t), "p.csv: line 2 .*predicted is not one of akiec"),
        (lambda p, t: (p.assign(mel=p.mel + 0.01), t), "p.csv: line 2 .*do not sum to 1"),
        (lambda p, t: (p.drop(columns="predicted"), t), "p.csv: no column 'predicted'"),
        (lambda p, t: (pd.concat([p, p[:1]]), t), r"p.csv: line \d+ is an image again"),
        (lambda p, t: (p.assign(melanoma_suspected="maybe"), t), "neither true nor false"),
        (lambda p, t: (p, t.assign(dx="scc")), "t.csv: line 2 .*dx is not one of akiec"),
        (lambda p, t: (p, t.drop(columns="dx")), "t.csv: no column 'dx'"),
        (lambda p, t: (p, one_hot(t).assign(MEL=1.0)), "t.csv: line .*not one 1"),
        (lambda p, t: (p, one_hot(t).drop(columns="DF")), "t.csv: no column 'DF' of the ISIC form"),
        (lambda p, t: (p, t[:0]), "t.csv: has no rows"),
    ],
)
def test_a_wrong_table_is_refused(truth, predictions, change, message):
    changed = change(predictions, truth)
    with pytest.raises(DermalineError, match=message):
        score(write("p.csv", changed[0]), write("t.csv", changed[1]), Path("s.json"), 20)


def test_a_missing_file_and_too_few_draws_are_said(truth, predictions):
    with pytest.raises(DermalineError, match=r"nothing.csv: not a table"):
        score(Path("nothing.csv"), write("t.csv", truth), Path("s.json"), 20)
    with pytest.raises(DermalineError, match=r"--bootstrap 5 is outside 10 to 100000"):
        score(write("p.csv", predictions), write("t.csv", truth), Path("s.json"), 5)
