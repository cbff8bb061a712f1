"""The evaluate stage from a folder of predictions to its files, run as DVC runs it."""

import json
import math
import subprocess
import sys

import fakes
import numpy as np
import pandas as pd
import pytest
from closure import ROOT
from parameters import put_parameters
from sklearn import metrics as reference
from stage import error_line, run_stage

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.data.patients import encode
from dermaline.evaluation import tables
from dermaline.evaluation.compare import COMPARED
from dermaline.evaluation.metrics import KEY_METRICS
from dermaline.inference import decision
from dermaline.inference.decided import beside, cross_fitted
from dermaline.params import whole
from stages import evaluate


def load(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    table = fakes.project(folder)
    (folder / "data/predictions/left.csv").write_text("of a recipe that is not in use now")
    outcome = run_stage(folder, "evaluate")
    assert outcome.returncode == 0
    assert all("too few lesions for sets" in line for line in outcome.stderr.splitlines())
    return folder, table


def numbers(content):
    if isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from numbers(value)
    else:
        yield content


def test_the_key_metrics_are_few_finite_and_of_the_ensemble(done):
    folder, table = done
    val, test, details = (load(folder, f"metrics/{name}.json") for name in ("val", "test", "details"))
    assert sorted(path.name for path in (folder / "data/predictions").iterdir()) == ["lite0.csv", "lite0_ham.csv"]
    assert list(details) == ["lite0", "lite0_ham", "ensemble"]
    assert list(val) == list(test["test"]) == list(KEY_METRICS)
    assert len(KEY_METRICS) <= 8
    assert all(math.isfinite(value) for value in numbers([val, test, details]))
    whole = details["ensemble"]["image_level"]
    assert test["test"].items() <= whole.items()
    assert val.items() <= details["ensemble"]["val"].items()
    rows = table[table["split"] == "test"]
    assert (whole["cases"], details["ensemble"]["lesion_averaged"]["cases"]) == (len(rows), rows["lesion_id"].nunique())


def raw(folder, split, recipes=("lite0", "lite0_ham")):
    """The diagnoses of a split, and each recipe's probabilities [N, 7], straight from the files."""
    pair = [pd.read_csv(folder / f"data/predictions/{name}.csv").query(f"split == '{split}'") for name in recipes]
    return pair[0]["dx"], [table[list(CLASSES)].to_numpy() for table in pair]


def known(folder, split):
    """What is known of the patients of a split, in the order of the predictions."""
    table = pd.read_csv(folder / "data/prepared/index.csv").merge(pd.read_csv(folder / "data/split.csv"))
    return encode(table[table["split"] == split])


def test_ensemble_is_scored_as_the_recorded_decision_says(done):
    folder, _ = done
    made = decision.load(folder / "metrics/decision.json")
    assert made.models == {"lite0": fakes.digest(0), "lite0_ham": fakes.digest(1)}
    actual, members = raw(folder, "test")
    probabilities, number = made.apply(members, known(folder, "test"))
    predicted = np.array(CLASSES)[number]
    details = load(folder, "metrics/details.json")["ensemble"]
    headline = details["image_level"]
    assert headline["balanced_accuracy"] == round(reference.balanced_accuracy_score(actual, predicted), 6)
    assert headline["macro_auc"] == pytest.approx(
        reference.roc_auc_score(actual, probabilities, multi_class="ovr"), abs=2e-6
    )
    assert headline["nll"] == pytest.approx(reference.log_loss(actual, probabilities), abs=2e-6)
    rows = pd.read_csv(folder / "plots/evaluation/confusion.csv")
    assert rows["actual"].tolist() == actual.tolist()
    assert rows["predicted"].tolist() == predicted.tolist()
    suspected, melanoma = made.suspects_melanoma(probabilities), (actual == "mel").to_numpy()
    point = details["melanoma_operating_point"]
    assert point["melanoma_sensitivity"] == pytest.approx(suspected[melanoma].mean(), abs=1e-6)
    assert point["melanoma_specificity"] == pytest.approx(1 - suspected[~melanoma].mean(), abs=1e-6)
    point = details["melanoma_operating_point_without_metadata"]
    alone = made.suspects_melanoma(made.apply(members)[0])
    assert (alone != suspected).any()
    assert point["melanoma_sensitivity"] == pytest.approx(alone[melanoma].mean(), abs=1e-6)
    assert point["melanoma_specificity"] == pytest.approx(1 - alone[~melanoma].mean(), abs=1e-6)
    bare, told = made.apply(members)[0], details["sets_without_metadata"]
    held = made.set_rule.members(bare, made.diagnose(bare))
    group = pd.read_csv(folder / "data/predictions/lite0.csv").query("split == 'test'")["group"].to_numpy()
    right = pd.Series(held[np.arange(len(held)), actual.map(list(CLASSES).index)]).groupby(group)
    assert told["coverage"] == pytest.approx(right.mean().mean(), abs=1e-6)
    assert told["coverage_low"] < told["coverage"] < told["coverage_high"]


def test_a_lesion_is_averaged_and_decided_on_by_the_same_rule(tmp_path, monkeypatch):
    fakes.project(tmp_path, ("lite0",), lesions=400)
    put_parameters(tmp_path, {"evaluate.decision": "balanced"})
    monkeypatch.chdir(tmp_path)
    evaluate.main()
    made = decision.load(tmp_path / "metrics/decision.json")
    assert made.tau > 0
    table = pd.read_csv(tmp_path / "data/predictions/lite0.csv").query("split == 'test'")
    probabilities, number = made.apply([table[list(CLASSES)].to_numpy()], known(tmp_path, "test"))
    details = load(tmp_path, "metrics/details.json")["lite0"]
    headline = details["image_level"]
    assert headline["accuracy"] == round((np.array(CLASSES)[number] == table["dx"]).mean(), 6)
    assert headline["accuracy"] != round((np.array(CLASSES)[probabilities.argmax(axis=1)] == table["dx"]).mean(), 6)
    table[list(CLASSES)] = probabilities
    lesions = table.groupby("lesion_id").agg({"dx": "first"} | dict.fromkeys(CLASSES, "mean"))
    shares = lesions[list(CLASSES)].to_numpy() / np.array(list(made.prior.values())) ** made.tau
    right = np.array(CLASSES)[shares.argmax(axis=1)] == lesions["dx"]
    assert details["lesion_averaged"]["accuracy"] == round(right.mean(), 6)


def test_nothing_of_the_test_split_changes_what_is_decided(tmp_path, monkeypatch):
    fakes.project(tmp_path, lesions=300)
    put_parameters(tmp_path, {"evaluate.decision": "balanced"})
    monkeypatch.chdir(tmp_path)
    evaluate.main()
    path, headline = tmp_path / "metrics/decision.json", load(tmp_path, "metrics/test.json")["test"]
    before = path.read_bytes()
    for name in ("lite0", "lite0_ham"):
        file = tmp_path / f"data/predictions/{name}.csv"
        table = pd.read_csv(file, dtype={"model": str})
        test = table["split"] == "test"
        table.loc[test, list(CLASSES)] = table.loc[test, list(CLASSES)].to_numpy()[:, ::-1]
        table[~test | (table["dx"] != "vasc")].to_csv(file, index=False)
    index = pd.read_csv(tmp_path / "data/prepared/index.csv")  # of which priors and facts of patients are counted
    test = index["image_id"].isin(pd.read_csv(tmp_path / "data/split.csv").query("split == 'test'")["image_id"])
    index.loc[test, ["age", "sex", "localization"]] = [85.0, "male", "face"]
    index.loc[test & (index["dx"] == "vasc"), "dx"] = "mel"
    index.to_csv(tmp_path / "data/prepared/index.csv", index=False)
    evaluate.main()
    assert path.read_bytes() == before
    assert load(tmp_path, "metrics/test.json")["test"]["accuracy"] != headline["accuracy"]


def test_scoring_needs_no_torch():
    check = "import sys, stages.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT).returncode == 0


def test_the_tables_agree_with_the_numbers(done):
    folder, _ = done
    details = load(folder, "metrics/details.json")["ensemble"]
    headline, lesions = details["image_level"], details["lesion_averaged"]
    protocols = pd.read_csv(folder / "plots/evaluation/protocols.csv").set_index("protocol")
    slices = pd.read_csv(folder / "plots/evaluation/slices.csv").set_index("value")
    for name in ("accuracy", "balanced_accuracy", "macro_auc"):
        assert protocols[name]["all images"] == headline[name]
        assert protocols[name]["mean of each lesion"] == lesions[name]
    actual, members = raw(folder, "test")
    alone = np.array(CLASSES)[decision.load(folder / "metrics/decision.json").apply(members)[1]]
    assert protocols["accuracy"]["all images, without age, sex and place"] == round((alone == actual).mean(), 6)
    for name in ("accuracy", "melanoma_sensitivity"):
        assert slices[name]["all"] == headline[name]
    assert slices["images"][["male", "female"]].sum() == headline["cases"]
    assert details["selective"]["at_100%"]["accuracy"] == headline["accuracy"]
    assert pd.read_csv(folder / "plots/evaluation/risk.csv")["accuracy"].iloc[-1] == headline["accuracy"]


def test_models_are_compared_on_val_and_its_file_has_the_intervals(done):
    folder, _ = done
    details, models = (
        load(folder, "metrics/details.json"),
        pd.read_csv(folder / "plots/evaluation/models.csv").set_index("model"),
    )
    assert models.index.tolist() == list(details)
    for name, row in models.iterrows():
        for score in COMPARED:
            for end in ("", "_low", "_high"):
                assert row[f"{score}{end}"] == details[name]["val"][f"{score}{end}"]
    assert models["accuracy_verdict"].tolist().index("reference") == 0


def test_the_ensemble_is_compared_with_the_member_that_is_named(tmp_path, monkeypatch):
    fakes.project(tmp_path, lesions=300)
    monkeypatch.chdir(tmp_path)
    put_parameters(tmp_path, {"evaluate.reference": "lite0_ham"})
    evaluate.main()
    models = pd.read_csv(tmp_path / "plots/evaluation/models.csv").set_index("model")
    assert models["macro_auc_verdict"].eq("reference").tolist() == [False, True, False]
    gained = models["macro_auc"]["ensemble"] - models["macro_auc"]["lite0_ham"]
    assert models["macro_auc_difference"]["ensemble"] == pytest.approx(gained, abs=2e-6)
    put_parameters(tmp_path, {"evaluate.reference": "lite1"})
    with pytest.raises(DermalineError, match=r"evaluate.reference: no model 'lite1'; did you mean 'lite0'"):
        evaluate.main()


def test_every_interval_holds_its_estimate(done):
    details = load(done[0], "metrics/details.json")
    for model in details.values():
        for level in ("image_level", "lesion_averaged"):
            blocks = [model[level], *model[level]["per_class"].values()]
            for block in blocks:
                for name, ends in block["intervals"].items():
                    assert ends["low"] <= ends["high"]
                    assert ends["low"] - 0.02 <= block[name] <= ends["high"] + 0.02
        ends = {f"{name}{end}" for name in COMPARED for end in ("_low", "_high")}
        point = {f"melanoma_{name}_at_threshold" for name in ("sensitivity", "specificity")}
        assert set(model["val"]) == set(model["image_level"]["intervals"]) | {"ece"} | ends | point


def test_val_is_judged_by_what_was_fitted_on_its_other_half(done):
    folder, _ = done
    index = pd.read_csv(folder / "data/prepared/index.csv").merge(pd.read_csv(folder / "data/split.csv"))
    paths = {name: folder / f"data/predictions/{name}.csv" for name in ("lite0", "lite0_ham")}
    members = {name: beside(tables.read_predictions(path), index) for name, path in paths.items()}
    options = whole.read(folder / "params.yaml").evaluate
    crossed = cross_fitted(members, index.query("split == 'train'"), options)
    right = (crossed.dx == crossed.predicted).mean()
    found, melanoma = load(folder, "metrics/details.json")["ensemble"]["val"], crossed.dx == "mel"
    assert found["accuracy"] == pytest.approx(right, abs=1e-6)
    suspected = crossed.melanoma_suspected
    assert found["melanoma_sensitivity_at_threshold"] == pytest.approx(suspected[melanoma].mean(), abs=1e-6)
    assert found["melanoma_specificity_at_threshold"] == pytest.approx(1 - suspected[~melanoma].mean(), abs=1e-6)


def test_series_agree_with_the_numbers(done):
    folder, table = done
    block = load(folder, "metrics/details.json")["ensemble"]["image_level"]
    classes = pd.read_csv(folder / "plots/evaluation/per_class.csv").set_index("class")
    assert classes.index.tolist() == list(CLASSES)
    train = table[table["split"] == "train"]["dx"].value_counts()
    for name in CLASSES:
        roc, pr = (pd.read_csv(folder / f"plots/evaluation/{kind}/{name}.csv") for kind in ("roc", "pr"))
        assert np.trapezoid(roc["tpr"], roc["fpr"]) == pytest.approx(classes["auc"][name], abs=1e-5)
        area = (pr["recall"].diff() * pr["precision"]).sum()
        assert area == pytest.approx(classes["average_precision"][name], abs=1e-4)
        assert classes["f1"][name] == block["per_class"][name]["f1"]
        assert classes["train_images"][name] == train[name]
        assert len(roc) <= 2 * classes["support"][name] + 2
    bins = pd.read_csv(folder / "plots/evaluation/reliability.csv")
    gaps = (bins["accuracy"] - bins["confidence"]).abs() * bins["count"]
    assert gaps.sum() / bins["count"].sum() == pytest.approx(block["ece"], abs=1e-5)
    assert classes["support"].sum() == bins["count"].sum() == block["cases"]


@pytest.mark.parametrize("by_class", [True, False])
def test_the_sets_of_the_decision_are_in_the_table_of_sets(tmp_path, monkeypatch, by_class):
    fakes.project(tmp_path, ("lite0",), lesions=400)
    put_parameters(tmp_path, {"evaluate.set_coverage": 0.8, "evaluate.set_by_class": by_class})
    monkeypatch.chdir(tmp_path)
    evaluate.main()
    made = decision.load(tmp_path / "metrics/decision.json")
    assert (made.set_rule.coverage, made.set_rule.by_class) == (0.8, by_class)
    rows = pd.read_csv("plots/evaluation/sets.csv")
    assert sorted(set(rows["promised"])) == [0.8, 0.9, 0.95]
    own = rows.query("promised == 0.8").set_index(["kind", "value"]).loc["by class" if by_class else "marginal"]
    actual, members = raw(tmp_path, "test", ("lite0",))
    held = made.sets(made.apply(members, known(tmp_path, "test"))[0])
    truth = np.array(list(map(CLASSES.index, actual)))
    group = pd.read_csv("data/predictions/lite0.csv").query("split == 'test'")["group"].to_numpy()
    for name, some in {"all": truth >= 0, "mel": truth == CLASSES.index("mel")}.items():
        right, size = held[np.arange(len(truth)), truth][some], held.sum(axis=1)[some]
        lesions = pd.DataFrame({"right": right, "size": size}).groupby(group[some]).mean().mean()
        assert own.loc[name, ["coverage", "size"]].tolist() == pytest.approx(lesions.tolist(), abs=1e-6)


def test_a_second_run_writes_the_same_bytes(done):
    folder, _ = done
    files = [path for path in folder.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    assert run_stage(folder, "evaluate").returncode == 0
    assert {path: path.read_bytes() for path in files} == before
    assert all(b"\r" not in content for path, content in before.items() if path.suffix in (".csv", ".json"))
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(files)


def test_one_recipe_without_a_class_in_test(tmp_path, monkeypatch, capsys):
    table = fakes.project(tmp_path, ("lite0",), lesions=240)
    path = tmp_path / "data/predictions/lite0.csv"
    rows = pd.read_csv(path).query("split == 'val' or dx not in ('mel', 'vasc')")
    rows.to_csv(path, index=False)
    monkeypatch.chdir(tmp_path)
    evaluate.main()
    notes = ("too few lesions for sets", "the melanoma threshold rests on 8 lesions")
    assert all(any(note in line for note in notes) for line in capsys.readouterr().err.splitlines())
    headline, details = load(tmp_path, "metrics/test.json")["test"], load(tmp_path, "metrics/details.json")
    assert list(details) == ["lite0"]
    assert len(pd.read_csv(tmp_path / "plots/evaluation/models.csv")) == 1
    assert "melanoma_sensitivity" not in headline
    assert "melanoma_sensitivity" not in details["lite0"]["melanoma_operating_point"]
    assert "recall" not in details["lite0"]["image_level"]["per_class"]["mel"]
    for level in ("image_level", "lesion_averaged"):
        assert details["lite0"][level]["absent_classes"] == ["mel", "vasc"]
    assert math.isfinite(headline["macro_auc"])
    assert pd.read_csv(tmp_path / "plots/evaluation/roc/vasc.csv").empty
    assert table["dx"].nunique() == len(CLASSES)


def test_predictions_that_are_all_right_have_no_interval_of_the_auc(tmp_path, monkeypatch):
    fakes.project(tmp_path, ("lite0",), lesions=240)
    path = tmp_path / "data/predictions/lite0.csv"
    table = pd.read_csv(path)
    table[list(CLASSES)] = np.eye(7)[table["dx"].map(list(CLASSES).index)] * 0.93 + 0.01
    table.to_csv(path, index=False)
    monkeypatch.chdir(tmp_path)
    evaluate.main()
    found = load(tmp_path, "metrics/details.json")["lite0"]["val"]
    assert (found["macro_auc"], found["balanced_accuracy"], found["balanced_accuracy_high"]) == (1, 1, 1)
    assert found["balanced_accuracy_low"] < 0.95
    assert "macro_auc_low" not in found


def test_without_a_melanoma_in_val_there_is_no_threshold_and_nothing_is_said_of_it(tmp_path, monkeypatch):
    fakes.project(tmp_path, ("lite0",), lesions=240)
    path = tmp_path / "data/predictions/lite0.csv"
    pd.read_csv(path).query("split == 'test' or dx != 'mel'").to_csv(path, index=False)
    monkeypatch.chdir(tmp_path)
    evaluate.main()
    details = load(tmp_path, "metrics/details.json")["lite0"]
    assert "melanoma_sensitivity" in details["image_level"]
    assert "melanoma_operating_point" not in details
    assert not [name for name in details["val"] if "threshold" in name]
    assert decision.load(tmp_path / "metrics/decision.json").melanoma_threshold is None


BROKEN = {
    "no column 'vasc'": lambda table: table.drop(columns="vasc"),
    "line 7 (ISIC_0000000): the image stands there twice": lambda table: pd.concat(
        [
            table.head(5).assign(image_id=lambda some: ["ISIC_0000000", *some["image_id"][1:]]),
            table.head(1).assign(image_id="ISIC_0000000"),
        ]
    ),
    "line 2": lambda table: table.assign(dx=["melanom", *table["dx"][1:]]),
    "split is not one of val, test": lambda table: table.assign(split="train"),
    "do not sum to 1": lambda table: table.assign(mel=table["mel"] / 2),
    "not a number from 0 to 1": lambda table: table.assign(nv=["?", *table["nv"][1:].astype(str)]),
    "no image of val": lambda table: table[table["split"] == "test"],
    "(ISIC_0000005): is of another model": lambda table: table.assign(
        model=table["model"].where(table["image_id"] != "ISIC_0000005", fakes.digest(7))
    ),
    "has no rows": lambda table: table.head(0),
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_predictions_are_refused_in_one_line(tmp_path, message):
    good = fakes.predictions(fakes.index(60))
    path = tmp_path / "lite0.csv"
    BROKEN[message](good).to_csv(path, index=False)
    with pytest.raises(DermalineError) as problem:
        tables.read_predictions(path)
    assert message in str(problem.value)
    assert str(path) in str(problem.value)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("content", [b"", b'"a\n1,2\n3,"4', b"\xff\xfe\x00", None])
def test_what_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "lite0.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DermalineError, match=r"lite0\.csv"):
        tables.read_predictions(path)


def test_the_stage_ends_with_one_line(tmp_path):
    fakes.project(tmp_path, ("lite0",), lesions=80)
    path = tmp_path / "data/predictions/lite0.csv"
    pd.read_csv(path).query("split == 'val'").to_csv(path, index=False)
    line = error_line(run_stage(tmp_path, "evaluate"))
    assert line == "error: data/predictions/lite0.csv: no image of test; run the split stage again"
    assert not (tmp_path / "metrics").exists()


def test_recipes_about_other_images_or_groups_are_refused():
    good = fakes.predictions(fakes.index(60))
    with pytest.raises(DermalineError, match="not for the same images"):
        tables.aligned([good, good.iloc[1:]])
    with pytest.raises(DermalineError, match="disagree on the dx of"):
        tables.aligned([good, good.assign(dx="nv")])
    with pytest.raises(DermalineError, match="disagree on the lesion_id of"):
        tables.aligned([good, good.assign(lesion_id="one")])
    shuffled = good.sample(frac=1, random_state=0)
    assert all(table.equals(good) for table in tables.aligned([good, shuffled]))


def test_lesions_are_averaged_once_each():
    table = fakes.predictions(fakes.index(200))
    lesions = tables.by_lesion(table).set_index("lesion_id")
    assert len(lesions) == table["lesion_id"].nunique()
    name = table["lesion_id"].value_counts().index[0]
    assert lesions.loc[name, "nv"] == pytest.approx(table[table["lesion_id"] == name]["nv"].mean())
    with pytest.raises(DermalineError, match="more than one dx"):
        tables.by_lesion(table.assign(lesion_id="one"))
    two = table[table["lesion_id"] == name].assign(dx=lambda rows: ["nv", "mel", "mel"][: len(rows)])
    with pytest.raises(DermalineError, match=f"lesion {name} has more than one dx"):
        tables.by_lesion(two)
