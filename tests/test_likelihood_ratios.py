"""Age, sex and place beside the photograph: against Bayes' rule by hand, and against a truth that is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from test_decision import drawn, options

from dermaline.base.classes import CLASSES, MELANOMA
from dermaline.base.errors import DermalineError
from dermaline.data.patients import FINDINGS, MISSING, encode, findings
from dermaline.inference import decision, likelihood_ratios

NAMES = np.array(CLASSES)


def people(dx, seed=0) -> pd.DataFrame:
    """Lesions whose age, sex and place each depend on the diagnosis alone, and are not always known."""
    random, count = np.random.default_rng(seed), len(dx)
    number = np.array([CLASSES.index(name) for name in dx])
    age = np.clip(random.normal(30 + 6 * number, 12), 0, 100).round()
    site = np.where(random.random(count) < (1 + number) / 9, "face", "back")
    table = pd.DataFrame({"dx": dx, "lesion_id": np.arange(count), "group": 0, "age": age})  # all of one patient
    table["sex"] = np.where(random.random(count) < (2 + number) / 10, "male", "female")
    table["localization"] = np.where(random.random(count) < 0.1, "unknown", site)
    table.loc[random.random(count) < 0.1, "age"] = np.nan
    return table


def fitted(train, truth, shares, rows):
    return likelihood_ratios.fit(train, truth, shares, encode(rows))


def uniform(count):
    return np.full((count, 7), 1 / 7)


def test_each_age_is_in_its_decade_and_what_is_not_known_is_no_finding():
    ages = list(range(121))
    found = findings(encode(pd.DataFrame({"age": ages})))
    assert found[:, 9:].sum() == 0
    assert found[:, :9].argmax(axis=1).tolist() == [min(age // 10, 8) for age in ages]
    assert (found.sum(axis=1) == 1).all()
    assert not findings(MISSING[None]).any()
    row = findings(encode(pd.DataFrame({"age": [43.0], "sex": ["female"], "localization": ["ear"]})))[0]
    assert np.array(FINDINGS)[row == 1].tolist() == ["aged 40 to 49", "female", "ear"]
    assert row.sum() == 3


def test_ratios_are_those_of_lesions_counted_by_hand():
    train = people(NAMES[np.random.default_rng(1).integers(0, 7, 900)])
    photographs = pd.concat([train, *[train.query("dx == 'mel'")] * 3])  # more photographs are no more lesions
    truth = np.zeros(5, int)
    found = fitted(photographs, truth, uniform(5), train[:5]).ratios
    known = train[train["age"].notna()]
    forties = known["age"].between(40, 49)
    share, mel = forties.mean(), known["dx"] == "mel"
    by_hand = (forties[mel].sum() + 10 * share) / (mel.sum() + 10) / share
    assert found["aged 40 to 49"]["mel"] == pytest.approx(by_hand, abs=1e-6)
    men, bcc = train["sex"] == "male", train["dx"] == "bcc"
    by_hand = (men[bcc].sum() + 10 * men.mean()) / (bcc.sum() + 10) / men.mean()
    assert found["male"]["bcc"] == pytest.approx(by_hand, abs=1e-6)
    assert set(found["ear"].values()) == {1}  # no lesion is there


def test_the_factors_are_the_product_to_the_power_and_of_nothing_known_1():
    train = people(NAMES[np.random.default_rng(1).integers(0, 7, 900)])
    found = fitted(train, np.zeros(5, int), uniform(5), train[:5]).model_copy(update={"power": 0.4})
    row = encode(pd.DataFrame({"age": [75], "localization": ["face"]}))
    each = [found.ratios["aged 70 to 79"][name] * found.ratios["face"][name] for name in CLASSES]
    assert found.factors(row)[0] == pytest.approx(np.array(each) ** 0.4, rel=1e-12)
    assert (found.factors(MISSING[None]) == 1).all()


@pytest.mark.parametrize(("says", "least", "most"), [("all", 0.85, 1.15), ("nothing", 0, 0.1)])
def test_the_power_is_as_much_as_the_findings_say(says, least, most):
    """Independent of the photograph they are to be believed whole; of another diagnosis than the lesion's, not."""
    logits, truth = drawn(4000)
    random = np.random.default_rng(5)
    shown = truth if says == "all" else random.permutation(truth)
    train = people(NAMES[drawn(20_000, seed=3)[1]], seed=1)
    found = fitted(train, truth, softmax(logits, axis=1), people(NAMES[shown], seed=2))
    assert least <= found.power <= most


def test_without_an_image_to_fit_it_on_the_power_is_nought():
    train = people(NAMES[np.random.default_rng(1).integers(0, 7, 900)])
    assert fitted(train, np.zeros(0, int), uniform(0), train[:0]).power == pytest.approx(0, abs=1e-4)


def test_where_nothing_is_known_in_training_nothing_is_looked_at():
    train = pd.DataFrame({"dx": ["nv", "mel"], "lesion_id": ["a", "b"]})
    assert fitted(train, np.zeros(2, int), uniform(2), train) is None


@pytest.fixture(scope="module")
def seen():
    """A decision of photographs with their patients, and all that it was fitted on."""
    logits, truth = drawn(1500)
    rows, train = people(NAMES[truth], seed=2), people(NAMES[drawn(5000, seed=3)[1]], seed=1)
    shares, known = softmax(0.6 * logits, axis=1), encode(rows)  # less sure than they should be
    asked = options(metadata=True, calibration="temperature", melanoma_sensitivity=0.8, decision="balanced")
    return decision.fit({"a": "0"}, truth, [shares], train, asked, encoded=known), truth, shares, known


def test_a_decision_multiplies_by_them_and_the_threshold_is_of_the_product(seen):
    made, truth, shares, known = seen
    alone, both = made.apply([shares])[0], made.apply([shares], known)[0]
    product = alone * made.likelihood_ratios.factors(known)
    assert both == pytest.approx(product / product.sum(axis=1, keepdims=True), abs=1e-12)
    assert made.apply([shares], np.tile(MISSING, (len(shares), 1)))[0] == pytest.approx(alone, abs=1e-15)
    said = [-np.log(one[np.arange(len(truth)), truth]).mean() for one in (both, alone)]
    assert said[0] < said[1] - 0.1
    melanomas = truth == MELANOMA
    of_both, of_alone = (decision.fit_threshold(melanomas, one[:, MELANOMA], 0.8) for one in (both, alone))
    assert made.melanoma_threshold == pytest.approx(of_both, rel=1e-9)
    assert of_both != pytest.approx(of_alone, rel=0.01)


def test_a_decision_is_balanced_by_what_it_decides_on(seen):
    made, truth, shares, known = seen
    prior = np.array(list(made.prior.values()))
    raw, alone, both = shares, made.apply([shares])[0], made.apply([shares], known)[0]
    of_raw, of_alone, of_both = (decision.fit_tau(truth, some, prior) for some in (raw, alone, both))
    assert made.tau == of_both
    assert of_both not in (of_raw, of_alone)


def test_it_is_saved_and_one_of_other_findings_is_refused(seen, tmp_path):
    made, path = seen[0], tmp_path / "decision.json"
    made.save(path)
    assert decision.load(path) == made
    path.write_text(path.read_text().replace('"aged 40 to 49"', '"middle-aged"'))
    with pytest.raises(DermalineError, match="its classes or recipes do not match"):
        decision.load(path)
