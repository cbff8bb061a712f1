"""`python -m dermaline score` against scikit-learn, the evaluate stage's code, and the ISIC challenge's own scorer."""

import json
import os
import re
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

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.commands.score import score
from dermaline.evaluation import summary
from dermaline.evaluation.metrics import HEADLINE
from dermaline.params import whole
from dermaline.user_files import forms

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
        f"{len(truth)} images of {truth.lesion_id.nunique()} lesions; 95% intervals by lesion, Wilson's"
    )


def test_it_is_what_evaluate_writes_for_the_same_table(truth, predictions):
    score(write("p.csv", predictions), write("t.csv", truth), Path("s.json"), 60)
    options = whole.read().evaluate.model_copy(update={"bootstrap": 60})
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
        (lambda p, t: (p.assign(nv=p.nv * 0.9), t), "p.csv: line 2 .*do not sum to 1"),
        (lambda p, t: (p.drop(columns="predicted"), t), "p.csv: no column 'predicted'"),
        (lambda p, t: (pd.concat([p, p[:1]]), t), r"p.csv: line \d+ is an image again"),
        (lambda p, t: (p.assign(melanoma_suspected="maybe"), t), "neither true nor false"),
        (lambda p, t: (p, t.assign(dx="scc")), "t.csv: line 2 .*dx is not one of akiec"),
        (lambda p, t: (p, t.drop(columns="dx")), "t.csv: no column 'dx'"),
        (lambda p, t: (p, one_hot(t).assign(MEL=1.0)), "t.csv: line .*not one 1"),
        (lambda p, t: (p, one_hot(t).drop(columns="DF")), "t.csv: no column 'DF' of the ISIC form"),
        (lambda p, t: (p, t[:0]), "t.csv: has no rows"),
        (lambda p, t: (p, t.assign(score_weight=0.5)), "t.csv: line 2 .*score_weight is neither 0 nor 1"),
        (lambda p, t: (p, t.assign(score_weight=0)), "t.csv: every score_weight is 0"),
        (lambda p, t: (p, t.assign(lesion_id="one")), "t.csv: line 2 .*lesion has two diagnoses"),
        (lambda p, t: (p, t.assign(image_id=" ")), "t.csv: line 2 has no image_id"),
        (lambda p, t: (confidences(p).assign(MEL=1.2), t), "p.csv: line 2 .*not a number from 0 to 1"),
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


def scored(predictions: pd.DataFrame, truth: pd.DataFrame) -> dict:
    score(write("p.csv", predictions), write("t.csv", truth), Path("s.json"), 20)
    return json.loads(Path("s.json").read_text())


def sigmoids(predictions: pd.DataFrame) -> pd.DataFrame:
    """In ISIC's form, each confidence on its own."""
    table = confidences(predictions)
    odds = table.iloc[:, 1:] * 3
    return pd.concat([table.image, odds / (1 + odds)], axis=1)


@pytest.mark.parametrize("rounding", [lambda p: p.round(3), lambda p: p.astype(np.float16).astype(float)])
def test_rounded_probabilities_are_made_to_sum_to_one(truth, predictions, capsys, rounding):
    exact = scored(predictions, truth)["image_level"]
    assert capsys.readouterr().err == ""
    rounded = predictions.assign(**rounding(predictions[list(CLASSES)]))
    for table in (rounded, rounded.assign(nv=rounded.nv.clip(upper=0.99))):
        found = scored(table, truth)
        line = capsys.readouterr().err
        assert re.fullmatch(r"note: p.csv: \d+ rows, the first line .*, not quite summing to 1: all are .*sums\n", line)
        assert found["left_out"] == []
        for name in HEADLINE:
            assert found["image_level"][name] == pytest.approx(exact[name], abs=0.02)


def test_a_probability_a_hair_above_one_is_one(truth, predictions):
    table = predictions.assign(**dict.fromkeys(CLASSES, -1e-9) | {"nv": 1.0000001})
    assert scored(table, truth)["image_level"]["nll"] >= 0


def test_percentages_are_divided_by_a_hundred(truth, predictions, capsys):
    exact = scored(predictions, truth)["image_level"]
    percent = predictions.assign(**(predictions[list(CLASSES)] * 100).round(7))
    found = scored(percent, truth)["image_level"]
    assert all(found[name] == pytest.approx(exact[name], abs=1e-5) for name in HEADLINE)
    assert "note: p.csv: the probabilities are in per cent" in capsys.readouterr().err
    with pytest.raises(DermalineError, match=r"p.csv: line 2 .*not a number from 0 to 1"):
        scored(percent.assign(nv=90), truth)


def test_sigmoids_are_decided_and_ranked_but_are_no_chances(truth, predictions, capsys):
    table, marks = sigmoids(predictions), one_hot(truth)
    found = scored(table, marks)
    assert "not summing to 1: what needs probabilities (nll, brier, ece) is left out" in capsys.readouterr().err
    scores = found["image_level"]
    assert found["left_out"] == ["brier", "ece", "nll"]
    assert not {"nll", "brier", "ece"} & (set(scores) | set(scores["intervals"]))
    assert set(HEADLINE) - {"nll", "brier", "ece"} <= set(scores)
    both = truth.merge(table.rename(columns={"image": "image_id"}), on="image_id")
    codes = [name.upper() for name in CLASSES]
    predicted = both[codes].idxmax(axis=1).str.lower()
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(both.dx, predicted), abs=1e-6)
    areas = [roc_auc_score(both.dx == code.lower(), both[code]) for code in codes]
    assert scores["macro_auc"] == pytest.approx(np.mean(areas), abs=1e-6)


def test_two_largest_confidences_are_said(truth, predictions, capsys):
    table = confidences(predictions)
    table.loc[2, ["MEL", "NV"]] = 1.0
    scored(table, one_hot(truth))
    line = f"1 row, the first line 4 ({table.image[2]}), with two largest confidences"
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("kept", [True, False])
def test_images_of_weight_nought_are_not_scored_whether_predicted_or_not(truth, predictions, capsys, kept):
    """The official truth: an image that was withdrawn, and weights; the scorer of the challenge agrees."""
    out = truth.image_id[[1, 4]]
    rest = truth[~truth.image_id.isin(out)]
    withdrawn = pd.DataFrame({"image": ["ISIC_0035068"], "NV": 1.0})
    marks = pd.concat([one_hot(truth), withdrawn]).fillna(0.0)
    marks = marks.assign(score_weight=1.0 - marks.image.isin(out), validation_weight=1.0)
    every = pd.concat([withdrawn[["image"]], confidences(predictions)]).fillna(0.0)  # a row of noughts, as people add
    answers = every if kept else every[~every.image.isin([*out, "ISIC_0035068"])]
    found = scored(answers, marks)
    line = capsys.readouterr().err
    assert f"note: t.csv: 3 rows, the first line 3 ({out.iloc[0]}), of weight 0 left out\n" == line
    assert found["unscored_images"] == [*out, "ISIC_0035068"]
    without = confidences(predictions).query("image not in @out")
    assert found["image_level"] == scored(without, one_hot(rest))["image_level"]
    if not kept:
        return  # their scorer wants them all
    files = write("t.csv", marks), write("p.csv", every)
    command = [sys.executable, "-c", SCORER, "-o", "json", "classification", *map(str, files)]
    theirs = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["image_level"]["balanced_accuracy"] == pytest.approx(theirs["overall"], abs=1e-6)


def test_our_own_form_of_the_truth_has_weights_too(truth, predictions):
    weights = np.r_[0, np.ones(len(truth) - 1)]
    found = scored(predictions, truth.assign(score_weight=weights))
    assert found["unscored_images"] == truth.image_id[:1].tolist()
    assert found["image_level"]["cases"] == len(truth) - 1


def test_a_line_is_counted_with_the_rows_that_are_left_out(truth, predictions):
    marks = truth.assign(score_weight=np.r_[0, np.ones(len(truth) - 1)], dx=["none", "none", *truth.dx[2:]])
    with pytest.raises(DermalineError, match=rf"t.csv: line 3 \({truth.image_id[1]}\): dx"):
        scored(predictions, marks)


def test_a_class_without_images_is_said(truth, predictions):
    there = truth.query("dx not in ('df', 'vasc')")
    answers = predictions[predictions.image_id.isin(there.image_id)]
    said = score(write("p.csv", answers), write("t.csv", there), Path("s.json"), 20)
    assert "No image of df, vasc: a mean over the classes is over the other 5." in said
    assert json.loads(Path("s.json").read_text())["image_level"]["absent_classes"] == ["df", "vasc"]
    said = score(write("p.csv", predictions), write("t.csv", truth), Path("s.json"), 20)
    assert "No image of" not in said
    assert json.loads(Path("s.json").read_text())["image_level"]["absent_classes"] == []


@pytest.mark.parametrize(
    "spell",
    [
        lambda p, t: (p[p.columns[::-1]], t[t.columns[::-1]]),
        lambda p, t: (p.assign(image_id="  " + p.image_id), t.assign(image_id=t.image_id + " ", dx=" " + t.dx)),
        lambda p, t: (p.assign(image_id=p.image_id + ".jpg"), t),
        lambda p, t: (p, t.assign(image_id=t.image_id + ".JPG")),
        lambda p, t: (p.rename(columns=lambda name: f" {name}"), t.rename(columns=lambda name: f"{name} ")),
        lambda p, t: (p.assign(image="in/" + p.image_id), t.assign(image="in/" + t.image_id)),  # a column of their own
        lambda p, t: (p.assign(predicted=p.predicted + " "), t.assign(lesion_id=t.lesion_id + " ")),
    ],
)
def test_other_spellings_of_the_same_tables_score_the_same(truth, predictions, spell):
    exact = scored(predictions, truth)
    assert scored(*spell(predictions, truth)) == exact


def test_isic_columns_in_another_order_and_file_names_score_the_same(truth, predictions):
    exact = scored(confidences(predictions), one_hot(truth))
    table, marks = confidences(predictions), one_hot(truth)
    named = table.assign(image=table.image + ".jpg")[table.columns[::-1]]
    assert scored(named, marks[marks.columns[[3, 0, 7, 6, 5, 4, 2, 1]]]) == exact


def test_images_that_differ_by_their_suffix_alone_are_two(truth, predictions):
    """As `predict` writes them when a folder has a.jpg and a.png."""
    exact, ids = scored(predictions, truth), dict(zip(truth.image_id[:2], ("a.jpg", "a.png"), strict=True))
    both = (table.assign(image_id=table.image_id.replace(ids)) for table in (predictions, truth))
    assert scored(*both) == exact


@pytest.mark.parametrize("word", ["unknown", "NONE", " - "])
def test_a_lesion_that_is_not_known_is_no_lesion(truth, predictions, word):
    table = truth.assign(lesion_id=truth.lesion_id.where(truth.index > 1, word))
    with pytest.raises(DermalineError, match=r"line 2 .*has no lesion_id"):
        scored(predictions, table)


def test_a_field_too_many_is_refused_in_one_line(truth, predictions):
    first, second = write("p.csv", predictions), write("t.csv", truth)
    head, *rows = first.read_text().splitlines()
    first.write_text("\n".join([head, *(f"{row},1" for row in rows)]))
    with pytest.raises(DermalineError, match=r"p.csv: not a table that can be read"):
        score(first, second, Path("s.json"), 20)
