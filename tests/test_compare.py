"""Models beside one another: the paired differences against a plain loop over scikit-learn, and the verdicts."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from closure import ROOT
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score

from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.evaluation import bootstrap, tables
from dermaline.evaluation.compare import COMPARED, METRICS, models_table
from dermaline.params import whole

OPTIONS = whole.read(ROOT / "params.yaml").evaluate.model_copy(update={"bootstrap": 30})
COUNT = 280


def model(seed: int, sure: float) -> pd.DataFrame:
    """Decided predictions of the same images; what is decided is not the most probable class."""
    truth = np.arange(COUNT) % 7
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(7), COUNT) * (1 - sure) + np.eye(7)[truth] * sure
    predicted = (probabilities * [3, 1, 1, 1, 1, 0.5, 2]).argmax(axis=1)
    lesion = np.array(CLASSES)[truth] + (np.arange(COUNT) // 7 % 15).astype(str).astype(object)
    identity = {"image_id": [f"i{row}" for row in range(COUNT)], "lesion_id": lesion, "group": lesion, "split": "test"}
    return tables.decided(pd.DataFrame(identity | {"dx": np.array(CLASSES)[truth]}), probabilities, predicted)


def reference(table: pd.DataFrame, rows: np.ndarray) -> dict[str, float]:
    """The compared metrics of these rows, by scikit-learn."""
    chosen = table.iloc[rows]
    area = partial(roc_auc_score, multi_class="ovr", labels=list(CLASSES))
    return {
        "accuracy": accuracy_score(chosen.dx, chosen.predicted),
        "balanced_accuracy": balanced_accuracy_score(chosen.dx, chosen.predicted),
        "macro_f1": f1_score(chosen.dx, chosen.predicted, average="macro"),
        "macro_auc": area(chosen.dx, chosen[[*CLASSES]]),
    }


def test_differences_are_paired_and_those_of_scikit_learn():
    first, second = model(0, 0.2), model(1, 0.25)
    row = models_table({"first": first, "second": second}, OPTIONS).iloc[1]
    draws = bootstrap.resample_counts(first.group.to_numpy(), tables.truth(first), 30, OPTIONS.seed)
    rows = [np.repeat(np.arange(COUNT), times.astype(int)) for times in np.concatenate(list(draws))]
    whole = [reference(table, np.arange(COUNT)) for table in (first, second)]
    pairs = [(reference(first, r), reference(second, r)) for r in rows]
    redrawn = [{name: after[name] - before[name] for name in COMPARED} for before, after in pairs]
    for name in COMPARED:
        low, high = np.quantile([draw[name] for draw in redrawn], [0.025, 0.975])
        assert row[name] == pytest.approx(whole[1][name])
        assert row[f"{name}_difference"] == pytest.approx(whole[1][name] - whole[0][name])
        assert row[f"{name}_difference_low"] == pytest.approx(low)
        assert row[f"{name}_difference_high"] == pytest.approx(high)


def test_verdicts():
    models = {"middle": model(0, 0.2), "strong": model(1, 0.5), "weak": model(2, 0), "alike": model(3, 0.2)}
    table = models_table(models | {"same": models["middle"]}, OPTIONS)
    assert table.model.tolist() == ["middle", "strong", "weak", "alike", "same"]
    for name in COMPARED:
        found = table[f"{name}_verdict"].tolist()
        assert found == ["reference", "better", "worse", "not shown to differ", "not shown to differ"]
        assert np.isnan(table[f"{name}_difference"][0])
        assert table[f"{name}_difference"][4] == 0
    for name in METRICS:
        low, high = table[f"{name}_low"], table[f"{name}_high"]
        none = low.isna() & high.isna()
        assert none.all() if name == "ece" else (low < high)[~none | (table[name] < 1)].all()


def test_a_diagnosis_of_one_lesion_shows_nothing():
    """Each draw holds that lesion, so that all of them differ alike."""
    table = model(0, 1.0)
    lone = (table.dx != "df") | (table.groupby("dx").cumcount() == 0)
    right = table[lone].reset_index(drop=True)
    wrong = right.assign(predicted=right.predicted.mask(right.dx == "df", "nv"))
    row = models_table({"wrong": wrong, "right": right}, OPTIONS).iloc[1]
    assert row.balanced_accuracy_difference == pytest.approx(1 / 7)
    assert row.balanced_accuracy_verdict == "not shown to differ"
    assert np.isnan([row.balanced_accuracy_difference_low, row.balanced_accuracy_difference_high]).all()


def test_a_reference_may_be_named_and_turns_the_verdicts_round():
    models = {"middle": model(0, 0.2), "strong": model(1, 0.5)}
    first, named = models_table(models, OPTIONS), models_table(models, OPTIONS, "strong")
    for name in COMPARED:
        assert named[f"{name}_verdict"].tolist() == ["worse", "reference"]
        assert named[f"{name}_difference"][0] == -first[f"{name}_difference"][1]
        assert named[f"{name}_difference_low"][0] == pytest.approx(-first[f"{name}_difference_high"][1])
        assert np.isnan(named[f"{name}_difference"][1])
    with pytest.raises(DermalineError, match=r"evaluate.reference: no model 'strung'; did you mean 'strong'"):
        models_table(models, OPTIONS, "strung")


def test_every_model_is_redrawn_once(monkeypatch):
    """For its intervals and for all its differences; the draws are most of the time."""
    redrawn, bootstrap_distribution = [], bootstrap.bootstrap_distribution

    def counted(metrics, *arguments):
        redrawn.extend(metrics)
        return bootstrap_distribution(metrics, *arguments)

    monkeypatch.setattr(bootstrap, "bootstrap_distribution", counted)
    models_table({name: model(seed, 0.2) for seed, name in enumerate("abc")}, OPTIONS)
    assert sorted(redrawn) == sorted(COMPARED * 3)


def test_the_order_of_the_rows_does_not_matter_and_other_images_are_refused():
    models = {"first": model(0, 0.2), "second": model(1, 0.25)}
    shuffled = models | {"second": models["second"].sample(frac=1, random_state=0)}
    pd.testing.assert_frame_equal(models_table(models, OPTIONS), models_table(shuffled, OPTIONS))
    with pytest.raises(DermalineError, match="not for the same images"):
        models_table(models | {"second": models["second"][1:]}, OPTIONS)


def test_one_model_is_a_table_of_the_same_columns():
    alone = models_table({"only": model(0, 0.2)}, OPTIONS)
    both = models_table({"only": model(0, 0.2), "other": model(1, 0.2)}, OPTIONS)
    assert alone.columns.tolist() == both.columns.tolist()
    pd.testing.assert_frame_equal(alone, both[:1])
