"""What is fitted on validation: against brute force, against a truth that is known, and to the file and back."""

import json

import fakes
import numpy as np
import pytest
from closure import ROOT
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, log_loss

from dermaline import params
from dermaline.classes import CLASSES, MELANOMA
from dermaline.errors import DermalineError
from dermaline.inference import calibration, decision
from dermaline.inference.decided import cross_fitted

PRIOR = np.array([0.033, 0.051, 0.110, 0.012, 0.111, 0.669, 0.014])
TRAINED = dict(zip(CLASSES, (PRIOR * 7000).astype(int), strict=True))


def options(**changes):
    plain = {"calibration": "none", "ensemble": "mean", "decision": "argmax"}
    return params.load("evaluate", ROOT / "params.yaml").model_copy(update=plain | changes)


def drawn(count, seed=0, spread=2.0):
    """Logits whose softmax is exactly the chance of each class, and a class drawn by it."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, spread, (count, 7)) + np.log(PRIOR)
    chance = softmax(logits, axis=1)
    truth = (random.random((count, 1)) > chance.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return logits, truth


@pytest.mark.parametrize("temperature", [0.3, 1, 2.5])
def test_tempering_is_dividing_the_logits(temperature):
    logits, _ = drawn(50)
    found = calibration.tempered(softmax(logits, axis=1), temperature)
    assert found == pytest.approx(softmax(logits / temperature, axis=1), rel=1e-10)


def test_tempering_bears_zeros_and_ones():
    certain = np.eye(7)[:2]
    assert (calibration.tempered(certain, 0.05) == certain).all()
    assert (calibration.tempered(certain, 20) == certain).all()


@pytest.mark.parametrize("distortion", [0.5, 1, 3])
def test_the_temperature_undoes_a_known_distortion(distortion):
    logits, truth = drawn(20_000)
    found = calibration.fit_temperature(truth, softmax(logits * distortion, axis=1))
    assert found == pytest.approx(distortion, rel=0.05)


def test_no_temperature_of_a_fine_grid_is_better():
    logits, truth = drawn(300)
    raw = softmax(2 * logits, axis=1)
    found = calibration.fit_temperature(truth, raw)

    def loss(temperature):
        return log_loss(truth, calibration.tempered(raw, temperature), labels=range(7))

    grid = np.geomspace(0.5, 5, 300)
    losses = [loss(temperature) for temperature in grid]
    assert loss(found) <= min(losses) + 1e-9
    assert found == pytest.approx(grid[np.argmin(losses)], rel=0.01)


@pytest.mark.parametrize("taken", [0, 0.3, 1])
def test_the_power_gives_back_what_balancing_took_from_the_prior(taken):
    logits, truth = drawn(20_000)
    raw = softmax(2 * (logits - taken * np.log(PRIOR)), axis=1)
    temperature, power = calibration.fit_temperature_and_power(truth, raw, PRIOR)
    assert temperature == pytest.approx(2, rel=0.05)
    assert power == pytest.approx(taken, abs=0.05)
    found = calibration.rebalanced(calibration.tempered(raw, temperature), PRIOR, power)
    assert found == pytest.approx(softmax(logits, axis=1), abs=0.05)


def test_weights_are_the_best_of_all_mixtures():
    logits, truth = drawn(400)
    random = np.random.default_rng(1)
    members = [softmax(logits + random.normal(0, noise, logits.shape), axis=1) for noise in (0.8, 1.2, 3)]
    found = calibration.fit_weights(truth, members)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()

    def loss(weights):
        return log_loss(truth, calibration.mixture(members, weights), labels=range(7))

    steps = np.linspace(0, 1, 31)
    grid = [(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1 + 1e-12]
    losses = [loss(np.maximum(weights, 0)) for weights in grid]
    assert loss(found) <= min(losses) + 1e-9
    assert found == pytest.approx(grid[int(np.argmin(losses))], abs=0.04)


def test_a_useless_recipe_gets_no_weight():
    logits, truth = drawn(500)
    members = [np.full((500, 7), 1 / 7), softmax(logits, axis=1)]
    assert calibration.fit_weights(truth, members) == pytest.approx([0, 1], abs=0.05)


def test_tau_is_the_first_of_the_best_and_near_one_for_exact_probabilities():
    logits, truth = drawn(4000)
    exact = softmax(logits, axis=1)
    scores = [balanced_accuracy_score(truth, (exact / PRIOR**tau).argmax(axis=1)) for tau in decision.TAUS]
    found = decision.fit_tau(truth, exact, PRIOR)
    assert found == decision.TAUS[np.argmax(scores)]
    assert 0.5 <= found <= 1.5
    assert (decision.TAUS[0], decision.TAUS[-1]) == (0, 2)


def test_tau_stays_at_nought_where_nothing_can_be_gained():
    truth = np.arange(70) % 7
    assert decision.fit_tau(truth, np.eye(7)[truth] * 0.9 + 0.1 / 7, PRIOR) == 0
    assert decision.fit_tau(truth, np.eye(7)[(truth + 1) % 7], PRIOR) == 0


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=40).filter(lambda rows: any(rows)),
    st.sampled_from([0.0, 0.3, 0.55, 0.9, 1.0]),
)
def test_the_threshold_is_the_largest_that_reaches_the_sensitivity(rows, wanted):
    positive, score = np.array([row[0] for row in rows]), np.array([row[1] / 10 for row in rows])
    found = decision.fit_threshold(positive, score, wanted)
    if not positive.any():
        assert found is None
        return
    assert (score[positive] >= found).mean() >= wanted - 1e-12
    higher = score[positive & (score > found)]
    assert all((score[positive] >= other).mean() < wanted for other in higher) or wanted == 0


def test_a_share_that_binary_numbers_miss_is_not_overshot():
    score = np.arange(100) / 100
    assert decision.fit_threshold(np.ones(100, bool), score, 0.55) == 0.45


def members(count=600, seeds=(0, 1)):
    logits, truth = drawn(count)
    noise = [np.random.default_rng(seed).normal(0, 1, logits.shape) for seed in seeds]
    return truth, [softmax(2 * (logits + some), axis=1) for some in noise]


def test_with_nothing_to_fit_it_is_the_plain_mean_and_the_most_probable_class():
    truth, raw = members()
    found = decision.fit(["a", "b"], truth, raw, TRAINED, options())
    probabilities, predicted = found.apply(raw)
    assert probabilities == pytest.approx((raw[0] + raw[1]) / 2, abs=1e-12)
    assert (predicted == (raw[0] + raw[1]).argmax(axis=1)).all()
    assert (found.temperature, found.tau, found.val_images) == (1, 0, 600)
    assert found.val_melanomas == (truth == MELANOMA).sum()


def test_each_fit_helps_what_it_is_fitted_for():
    truth, raw = members(seeds=(0, 1, 2))
    raw[2] = np.full_like(raw[2], 1 / 7)

    def outcome(**changes):
        found = decision.fit(["a", "b", "c"], truth, raw, TRAINED, options(**changes))
        probabilities, predicted = found.apply(raw)
        return log_loss(truth, probabilities, labels=range(7)), balanced_accuracy_score(truth, predicted)

    plain, calibrated = outcome(), outcome(calibration="temperature")
    assert calibrated[0] < plain[0]
    assert outcome(calibration="temperature", ensemble="fitted")[0] < calibrated[0] + 1e-9
    assert outcome(calibration="temperature", decision="balanced")[1] > calibrated[1]
    assert outcome(calibration="prior")[0] < calibrated[0]


def test_cross_fitted_no_image_is_decided_by_a_fit_that_has_seen_its_group():
    table = fakes.predictions(fakes.index(600))
    asked = options(calibration="prior", decision="balanced")

    def decided(one):
        found = cross_fitted({"a": one}, TRAINED, asked).set_index("image_id")
        return found.loc[table["image_id"][table["split"] == "val"]]

    before = decided(table)
    assert set(before["split"]) == {"val"}
    group = table["group"][table["split"] == "val"].iloc[0]
    after = decided(table.assign(dx=table["dx"].where(table["group"] != group, "vasc")))
    changed = (before[list(CLASSES)] != after[list(CLASSES)]).any(axis=1)
    assert not changed[before["group"] == group].any()
    assert 0.3 < changed.mean() < 0.7


def test_the_fitted_threshold_reaches_the_sensitivity_on_its_own_images():
    truth, raw = members()
    found = decision.fit(["a", "b"], truth, raw, TRAINED, options(calibration="temperature", melanoma_sensitivity=0.8))
    suspected = found.suspects_melanoma(found.apply(raw)[0])[truth == MELANOMA]
    assert suspected.mean() >= 0.8
    assert suspected.mean() - 1 / len(suspected) < 0.8


def test_without_melanomas_or_training_images_of_a_class_there_is_still_a_decision():
    truth, raw = members()
    keep = truth != MELANOMA
    raw = [member[keep] for member in raw]
    trained = {name: count for name, count in TRAINED.items() if name != "df"}
    found = decision.fit(["a", "b"], truth[keep], raw, trained, options(decision="balanced"))
    assert found.melanoma_threshold is None
    assert not found.suspects_melanoma(np.eye(7)).any()
    assert np.isfinite(found.apply(raw)[0]).all()


def test_what_is_saved_decides_to_the_last_bit_as_what_was_fitted(tmp_path):
    truth, raw = members()
    asked = options(calibration="prior", ensemble="fitted", decision="balanced")
    fitted = decision.fit(["b", "a"], truth, raw, TRAINED, asked)
    fitted.save(tmp_path / "decision.json")
    loaded = decision.load(tmp_path / "decision.json")
    assert loaded == fitted
    assert loaded.recipes == ["b", "a"]
    for one, other in zip(fitted.apply(raw), loaded.apply(raw), strict=True):
        assert (one == other).all()
    assert loaded.suspects_melanoma(loaded.apply(raw)[0]).sum() == fitted.suspects_melanoma(fitted.apply(raw)[0]).sum()


def spoilt(content, **changes):
    return json.dumps(content | changes)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: "{", "not a decision"),
        (lambda content: spoilt(content, temperature=-1), "not a decision"),
        (lambda content: spoilt(content, tua=1), "did you mean 'tau'"),
        (lambda content: spoilt(content, prior=dict(reversed(content["prior"].items()))), "do not match"),
        (lambda content: spoilt(content, temperatures={"a": 1}), "do not match"),
    ],
)
def test_a_broken_decision_is_one_line(tmp_path, spoil, message):
    truth, raw = members(100)
    path = tmp_path / "decision.json"
    with pytest.raises(DermalineError, match="not found; run the evaluate stage"):
        decision.load(path)
    decision.fit(["a", "b"], truth, raw, TRAINED, options()).save(path)
    path.write_text(spoil(json.loads(path.read_text())))
    with pytest.raises(DermalineError, match=message) as problem:
        decision.load(path)
    assert str(path) in str(problem.value)
    assert "\n" not in str(problem.value)
