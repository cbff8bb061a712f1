"""What is fitted on validation: against brute force, against a truth that is known, and to the file and back."""

import json

import fakes
import numpy as np
import pandas as pd
import pytest
from closure import ROOT
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, log_loss, recall_score

from dermaline.base.classes import CLASSES, MELANOMA
from dermaline.base.errors import DermalineError
from dermaline.inference import calibration, decided, decision
from dermaline.inference.decided import cross_fitted, decide
from dermaline.inference.doubts import doubts, sensitivity_ends
from dermaline.params import whole

PRIOR = np.array([0.033, 0.051, 0.110, 0.012, 0.111, 0.669, 0.014])
PAIR = {"a": "0", "b": "1"}  # recipes and the digests of their weights
TRAINED = pd.DataFrame({"dx": np.repeat(CLASSES, (PRIOR * 7000).astype(int))})


def options(**changes):
    plain = {"calibration": "none", "metadata": False, "decision": "argmax"}
    return whole.read(ROOT / "params.yaml").evaluate.model_copy(update=plain | changes)


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
    found = calibration.apply_temperature(softmax(logits, axis=1), temperature)
    assert found == pytest.approx(softmax(logits / temperature, axis=1), rel=1e-10)


def test_tempering_bears_zeros_and_ones():
    certain = np.eye(7)[:2]
    assert (calibration.apply_temperature(certain, 0.05) == certain).all()
    assert (calibration.apply_temperature(certain, 20) == certain).all()


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
        prior = (np.log(temperature) / np.log(2)) ** 2 / 2 / len(truth)
        return -np.log(calibration.apply_temperature(raw, temperature)[np.arange(len(truth)), truth]).mean() + prior

    grid = np.geomspace(0.5, 5, 300)
    losses = [loss(temperature) for temperature in grid]
    assert loss(found) <= min(losses) + 1e-9
    assert found == pytest.approx(grid[np.argmin(losses)], rel=0.01)


@pytest.mark.parametrize("taken", [0, 0.3, 1])
def test_the_power_gives_back_what_balancing_took_from_the_prior(taken):
    logits, truth = drawn(20_000)
    raw = softmax(2 * (logits - taken * np.log(PRIOR)), axis=1)
    temperature, prior_exponent = calibration.fit_temperature_and_prior_exponent(truth, raw, PRIOR)
    assert temperature == pytest.approx(2, rel=0.05)
    assert prior_exponent == pytest.approx(taken, abs=0.05)
    found = calibration.apply_prior_shift(calibration.apply_temperature(raw, temperature), PRIOR, prior_exponent)
    assert found == pytest.approx(softmax(logits, axis=1), abs=0.05)


def test_no_temperature_and_power_of_a_fine_grid_are_better():
    """Of so few rows that the prior on both is felt."""
    logits, truth = drawn(30)
    raw = softmax(1.7 * (logits - 0.9 * np.log(PRIOR)), axis=1)

    def loss(temperature, prior_exponent):
        found = calibration.apply_prior_shift(calibration.apply_temperature(raw, temperature), PRIOR, prior_exponent)
        prior = (np.log(temperature) / np.log(2)) ** 2 / 2 + prior_exponent**2 / 2
        return -np.log(found[np.arange(len(truth)), truth]).mean() + prior / len(truth)

    found = calibration.fit_temperature_and_prior_exponent(truth, raw, PRIOR)
    grid = [
        (temperature, prior_exponent)
        for temperature in np.geomspace(0.8, 3, 60)
        for prior_exponent in np.linspace(0, 1.5, 60)
    ]
    losses = [loss(*both) for both in grid]
    assert loss(*found) <= min(losses) + 1e-9
    assert found == pytest.approx(grid[int(np.argmin(losses))], abs=0.04)


def test_the_factors_give_back_what_each_class_was_denied():
    logits, truth = drawn(10_000)
    denied = np.array([0.5, 2, 1, 4, 0.25, 1, 1])
    raw = softmax(2 * (logits - np.log(denied)), axis=1)
    temperature, factors = calibration.fit_temperature_and_factors(truth, raw)
    assert temperature == pytest.approx(2, rel=0.05)
    assert factors == pytest.approx(denied / np.exp(np.log(denied).mean()), rel=0.15)
    found = calibration.apply_factors(calibration.apply_temperature(raw, temperature), factors)
    assert found == pytest.approx(softmax(logits, axis=1), abs=0.05)


def test_a_class_of_few_rows_keeps_its_factor():
    logits, truth = drawn(200)
    raw = softmax(logits, axis=1)
    raw[:, 3] /= 1000  # never said, and once true
    truth = np.where(truth == 3, 5, truth)
    truth[0] = 3
    for rows in (0, 1, 7, 200):
        factors = calibration.fit_temperature_and_factors(truth[:rows], raw[:rows])[1]
        assert factors.min() > 0.1
        assert factors.max() < 10


@pytest.mark.parametrize("kind", ["none", "temperature", "prior", "vector"])
def test_a_decision_keeps_the_calibration_that_was_fitted(kind, tmp_path):
    logits, truth = drawn(500)
    raw = softmax(1.5 * (logits - 0.5 * np.log(PRIOR)), axis=1)
    made = decision.fit({"a": ""}, truth, [raw], TRAINED, options(calibration=kind))
    made.save(tmp_path / "decision.json")
    found = decision.load(tmp_path / "decision.json").apply([raw])[0]
    gained = log_loss(truth, raw, labels=range(7)) - log_loss(truth, found, labels=range(7))
    assert (gained > 0.01) is (kind != "none")
    factors = set(made.factors.values())
    assert len(factors) == (1 if kind in ("none", "temperature") else 7)


def test_the_factor_of_a_class_that_training_lacks_keeps_its_digits():
    """Its prior is that of one image, and the factor the square of it."""
    logits, truth = drawn(500)
    train = pd.DataFrame({"dx": [name for name in CLASSES if name != "df" for _ in range(2000)]})
    prior = np.where(np.array(CLASSES) == "df", 1, 2000) / 12001
    raw = softmax(np.where(truth[:, None] == 3, -9, logits) - 2 * np.log(prior), axis=1)  # more than undone
    made = decision.fit({"a": ""}, np.where(truth == 3, 5, truth), [raw], train, options(calibration="prior"))
    powers = np.log(list(made.factors.values())) / np.log(prior)
    assert powers.min() > 1.5
    assert powers == pytest.approx(powers[0], abs=1e-5)


def right(count, confidence=0.9):
    """Rows of six classes that are all right, and all as sure."""
    truth = np.arange(count) % 6
    return truth, np.eye(7)[truth] * (confidence - (1 - confidence) / 6) + (1 - confidence) / 6


@pytest.mark.parametrize("count", [0, 1, 5, 40])
@pytest.mark.parametrize("confidence", [0.6, 0.9, 0.999])
def test_right_rows_are_no_reason_to_be_certain(count, confidence):
    truth, raw = right(count, confidence)
    assert 0.3 < calibration.fit_temperature(truth, raw) <= 1 + 1e-5
    temperature, prior_exponent = calibration.fit_temperature_and_prior_exponent(truth, raw, PRIOR)
    assert 0.3 < temperature <= 1 + 1e-5
    assert 0 <= prior_exponent < 0.5


def test_wrong_rows_are_no_reason_to_know_nothing():
    truth, raw = right(3, 0.99)
    assert 1 < calibration.fit_temperature((truth + 1) % 7, raw) < 5


def test_three_nevi_are_no_reason_to_see_nothing_else():
    truth = np.full(3, CLASSES.index("nv"))
    for raw in (np.full((3, 7), 1 / 7), right(7, 0.5)[1][:3]):
        assert 0 < calibration.fit_temperature_and_prior_exponent(truth, raw, PRIOR)[1] < 1.6


def test_what_hundreds_of_rows_say_the_prior_hardly_changes():
    logits, truth = drawn(300)
    raw = softmax(2 * logits, axis=1)
    grid = np.geomspace(1, 4, 200)
    likeliest = grid[
        np.argmin([log_loss(truth, calibration.apply_temperature(raw, one), labels=range(7)) for one in grid])
    ]
    assert calibration.fit_temperature(truth, raw) == pytest.approx(likeliest, rel=0.02)


def test_without_rows_nothing_is_changed():
    truth, raw = right(0)
    assert calibration.fit_temperature(truth, raw) == pytest.approx(1, abs=1e-5)
    assert calibration.fit_temperature_and_prior_exponent(truth, raw, PRIOR) == pytest.approx((1, 0), abs=1e-5)
    assert decision.fit_tau(truth, raw, PRIOR) == 0


def test_the_only_image_of_a_class_does_not_outweigh_ten_of_another():
    """Tau 0.5 or more finds the only dermatofibroma, and gives up 12 of 40 nevi for it."""
    truth = np.r_[np.full(40, 5), 3]
    raw = np.full((41, 7), 1e-6)
    raw[:28, 5], raw[28:40, 5], raw[40, 5] = 0.999, 0.8, 0.8
    raw[:, 3] = 1 - raw[:, 5]
    assert balanced_accuracy_score(truth, (raw / PRIOR).argmax(axis=1)) > 0.6
    assert decision.fit_tau(truth, raw, PRIOR) == 0


def test_the_information_on_a_temperature_is_how_far_it_may_be_wrong():
    """Over draws of the truth from known chances, the temperature's logarithm varies by it."""
    logits, _ = drawn(400)
    chance = softmax(logits, axis=1)
    random = np.random.default_rng(0)
    found = []
    for _ in range(60):
        truth = (random.random((400, 1)) > chance.cumsum(axis=1)[:, :-1]).sum(axis=1)
        found.append(np.log(calibration.fit_temperature(truth, chance)))
    assert np.std(found) == pytest.approx(calibration.temperature_information(chance) ** -0.5, rel=0.25)


def test_what_is_not_well_determined_is_said():
    truth, raw = right(43)
    asked = options(calibration="temperature", decision="balanced")

    def said(truth, raw, group=None, **changes):
        fitted = decision.fit({"a": "0"}, truth, [raw], TRAINED, asked.model_copy(update=changes))
        group = np.arange(len(truth)) if group is None else group
        return list(doubts(truth, fitted.apply([raw])[0], group, fitted, asked.model_copy(update=changes)))

    few = said(truth, raw)
    assert [line.split(" ")[2] for line in few] == ["images", "fitted", "threshold", "images"]
    assert "43 validation images say little of the temperature" in few[0]
    assert "7 of mel, 7 of nv, 0 of vasc" in few[1]
    assert "rests on 7 lesions; of others it finds 59% to 100%" in few[2]
    photographs = np.repeat(np.arange(43), 2)  # two of each lesion tell of melanomas no more than one
    assert said(truth[photographs], raw[photographs], photographs)[-2] == few[2]
    assert few[3].endswith("too few lesions for sets that hold 90 %: akiec, bcc, bkl, df, mel, nv, vasc in every set")
    assert said(truth, raw, set_coverage=0.7)[3].endswith("sets that hold 70 %: vasc in every set")
    assert said(truth, raw, set_by_class=False) == few[:3]
    assert said(truth, raw, calibration="none", decision="argmax") == few[2:]
    assert "without a melanoma" in said(truth[truth != MELANOMA], raw[truth != MELANOMA])[2]
    logits, truth = drawn(2000)
    assert said(truth, softmax(logits, axis=1)) == []
    assert said(truth[:305], softmax(logits[:305], axis=1), decision="argmax") == []


def test_a_threshold_finds_of_new_melanomas_what_is_said():
    random = np.random.default_rng(0)
    low, high = sensitivity_ends(8, 0.9)
    shares = [1 - decision.fit_threshold(np.ones(8, bool), random.random(8), 0.9) for _ in range(2000)]
    assert np.quantile(shares, [0.025, 0.975]) == pytest.approx([low, high], abs=0.03)


def test_how_far_a_temperature_may_be_wrong_is_said():
    truth, raw = right(5, 0.6)
    asked = options(calibration="temperature")
    said = next(iter(doubts(truth, raw, np.arange(5), decision.fit({"a": "0"}, truth, [raw], TRAINED, asked), asked)))
    information = calibration.temperature_information(raw) + 1 / np.log(2) ** 2
    assert said.endswith(f"right to a factor of {np.exp(1.96 / np.sqrt(information)):.1f}")


def test_doubts_reach_the_screen_once_a_model_and_half_a_val_without_rows_is_borne(capsys):
    table = fakes.predictions(fakes.index(60))
    lesion = table["lesion_id"][(table["split"] == "val") & (table["dx"] == "mel")].iloc[0]
    table = table[(table["split"] == "test") | (table["lesion_id"] == lesion)]
    asked = options(calibration="prior", decision="balanced")
    found = cross_fitted({"a": table, "b": table}, TRAINED, asked)
    assert set(found["lesion_id"]) == {lesion}
    assert capsys.readouterr().err == ""
    fitted = decide({"a": table, "b": table}, TRAINED, asked).decision
    assert 0.3 < fitted.temperature < 1.5
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("note: a, b: ") for line in lines)


def test_tau_is_the_first_of_the_best_and_near_one_for_exact_probabilities():
    logits, truth = drawn(4000)
    exact = softmax(logits, axis=1)
    counts = np.bincount(truth, minlength=7)
    recalls = [recall_score(truth, (exact / PRIOR**tau).argmax(axis=1), average=None) for tau in decision.TAUS]
    scores = [(recall * counts / (counts + 3)).mean() for recall in recalls]
    found = decision.fit_tau(truth, exact, PRIOR)
    assert found == decision.TAUS[np.argmax(scores)]
    assert 0.5 <= found <= 1.5
    assert (decision.TAUS[0], decision.TAUS[-1]) == (0, 2)


@pytest.mark.parametrize("seed", range(8))
def test_tau_weighs_a_class_of_few_images_less(seed):
    logits, truth = drawn(60, seed)
    raw, counts = softmax(logits, axis=1), np.bincount(truth, minlength=7)

    def score(tau):
        predicted = (raw / PRIOR**tau).argmax(axis=1)
        return sum(((predicted == truth) & (truth == k)).sum() / (counts[k] + 3) for k in range(7))

    assert (
        decision.fit_tau(truth, raw, PRIOR)
        == decision.TAUS[np.argmax([round(score(tau), 12) for tau in decision.TAUS])]
    )


def test_tau_stays_at_nought_where_nothing_can_be_gained():
    truth = np.arange(70) % 7
    assert decision.fit_tau(truth, np.eye(7)[truth] * 0.9 + 0.1 / 7, PRIOR) == 0
    assert decision.fit_tau(truth, np.eye(7)[(truth + 1) % 7], PRIOR) == 0


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.3, 0.55, 0.9, 1.0]),
)
def test_the_threshold_is_the_largest_that_reaches_the_sensitivity(rows, wanted):
    positive, score = np.array([row[0] for row in rows]), np.array([row[1] / 10 for row in rows])
    found = decision.fit_threshold(positive, score, wanted)
    if not positive.any():
        assert found is None
        return
    if wanted == 0:
        assert found == score[positive].max()
        return
    assert (score[positive] >= found).mean() >= wanted - 1e-12
    higher = score[positive & (score > found)]
    assert all((score[positive] >= other).mean() < wanted for other in higher)


def test_a_share_that_binary_numbers_miss_is_not_overshot():
    score = np.arange(100) / 100
    assert decision.fit_threshold(np.ones(100, bool), score, 0.55) == 0.45


def members(count=600, seeds=(0, 1)):
    logits, truth = drawn(count)
    noise = [np.random.default_rng(seed).normal(0, 1, logits.shape) for seed in seeds]
    return truth, [softmax(2 * (logits + some), axis=1) for some in noise]


def test_with_nothing_to_fit_it_is_the_plain_mean_and_the_most_probable_class():
    truth, raw = members()
    found = decision.fit(PAIR, truth, raw, TRAINED, options())
    probabilities, predicted = found.apply(raw)
    assert probabilities == pytest.approx((raw[0] + raw[1]) / 2, abs=1e-12)
    assert (predicted == (raw[0] + raw[1]).argmax(axis=1)).all()
    assert (found.temperature, found.tau, found.val_images) == (1, 0, 600)
    assert found.val_melanomas == (truth == MELANOMA).sum()


def test_members_are_tempered_each_and_their_mean_again():
    truth, raw = members()
    raw[1] = calibration.apply_temperature(raw[1], 0.2)  # far surer than the other
    each = [calibration.fit_temperature(truth, one) for one in raw]
    train = pd.DataFrame({"dx": ["nv"] * 30 + ["mel"] * 9})
    found = decision.fit(PAIR, truth, raw, train, options(calibration="temperature"))
    assert list(found.temperatures.values()) == pytest.approx(each, abs=1e-6)
    mean = sum(calibration.apply_temperature(*pair) for pair in zip(raw, each, strict=True)) / 2
    assert found.temperature == pytest.approx(calibration.fit_temperature(truth, mean), abs=1e-4)
    assert found.apply(raw)[0] == pytest.approx(calibration.apply_temperature(mean, found.temperature), abs=1e-5)
    assert found.prior == pytest.approx({name: {"nv": 30, "mel": 9}.get(name, 1) / 44 for name in CLASSES})
    alone = decision.fit({"a": "0"}, truth, raw[:1], TRAINED, options(calibration="temperature"))
    assert (alone.temperatures, alone.temperature) == ({"a": 1}, pytest.approx(each[0], abs=1e-6))


def test_each_fit_helps_what_it_is_fitted_for():
    truth, raw = members(seeds=(0, 1, 2))
    raw[2] = np.full_like(raw[2], 1 / 7)

    def outcome(**changes):
        found = decision.fit(PAIR | {"c": "2"}, truth, raw, TRAINED, options(**changes))
        probabilities, predicted = found.apply(raw)
        return log_loss(truth, probabilities, labels=range(7)), balanced_accuracy_score(truth, predicted)

    plain, calibrated = outcome(), outcome(calibration="temperature")
    assert calibrated[0] < plain[0]
    assert outcome(calibration="temperature", decision="balanced")[1] > calibrated[1]
    assert outcome(calibration="prior")[0] < calibrated[0]


def test_the_halves_have_as_many_groups_of_each_diagnosis():
    table = fakes.predictions(fakes.index(600)).query("split == 'val'")
    for seed in range(3):
        half = decided._half(table, np.random.default_rng(seed))
        sides = [table[rows].drop_duplicates("group")["dx"].value_counts() for rows in (half, ~half)]
        assert not set(table["group"][half]) & set(table["group"][~half])
        assert (sides[0] - sides[1]).abs().max() <= 1


def test_cross_fitted_no_image_is_decided_by_a_fit_that_has_seen_its_group():
    table = fakes.predictions(fakes.index(600))
    asked = options(calibration="prior", decision="balanced")

    def decided(one):
        return cross_fitted({"a": one}, TRAINED, asked).set_index("image_id").sort_index()

    before = decided(table)
    assert set(before["split"]) == {"val"}
    images = before.index.str.split(" in deal ").str[0].value_counts()
    assert images.to_dict() == dict.fromkeys(table["image_id"][table["split"] == "val"], 5)
    counts = table["group"][table["split"] == "val"].value_counts()
    group = counts.index[counts == 3][0]
    one = table["group"].eq(group).idxmax()  # the others keep the group where it is dealt
    after = decided(table.assign(dx=table["dx"].where(table.index != one, "vasc")))
    changed = (before[list(CLASSES)] != after[list(CLASSES)]).any(axis=1)
    assert not changed[before["group"] == group].any()
    assert 0.3 < changed.mean() < 0.7


def test_cross_fitted_scores_hardly_depend_on_how_the_halves_were_dealt():
    """Of this val, one deal into halves that do not heed the diagnoses has a deviation of 0.025."""
    index, found = fakes.index(900), []
    table, trained = fakes.predictions(index), index.query("split == 'train'")
    for seed in range(8):
        asked = options(calibration="temperature", decision="balanced", seed=seed)
        decided = cross_fitted({"a": table}, trained, asked)
        found.append(balanced_accuracy_score(decided["dx"], decided["predicted"]))
    assert 0 < np.std(found) < 0.012


def test_each_half_has_a_lesion_of_a_diagnosis_with_two():
    """Else the two were judged by a fit that has seen none: a melanoma by one without a threshold."""
    table = fakes.predictions(fakes.index(300)).query("split == 'val'")
    melanoma = table["group"].where(table["dx"] == "mel").dropna().unique()[:2]
    table = table[(table["dx"] != "mel") | table["group"].isin(melanoma)]
    table.loc[table["dx"] == "mel", list(CLASSES)] = np.eye(7)[MELANOMA] * 0.3 + 0.1
    found = cross_fitted({"a": table}, TRAINED, options())
    assert found[found["dx"] == "mel"]["melanoma_suspected"].all()
    assert not found["melanoma_suspected"].all()


def test_the_fitted_threshold_reaches_the_sensitivity_on_its_own_images():
    truth, raw = members()
    found = decision.fit(PAIR, truth, raw, TRAINED, options(calibration="temperature", melanoma_sensitivity=0.8))
    suspected = found.suspects_melanoma(found.apply(raw)[0])[truth == MELANOMA]
    assert suspected.mean() >= 0.8
    assert suspected.mean() - 1 / len(suspected) < 0.8


def test_without_melanomas_or_training_images_of_a_class_there_is_still_a_decision():
    truth, raw = members()
    keep = truth != MELANOMA
    raw = [member[keep] for member in raw]
    found = decision.fit(PAIR, truth[keep], raw, TRAINED.query("dx != 'df'"), options(decision="balanced"))
    assert found.melanoma_threshold is None
    assert not found.suspects_melanoma(np.eye(7)).any()
    assert np.isfinite(found.apply(raw)[0]).all()


def test_what_is_saved_decides_to_the_last_bit_as_what_was_fitted(tmp_path):
    truth, raw = members()
    asked = options(calibration="prior", decision="balanced")
    fitted = decision.fit({"b": "1", "a": "0"}, truth, raw, TRAINED, asked)
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
        (lambda content: spoilt(content, tau=1e9), "not a decision"),
        (lambda content: spoilt(content, models={"../elsewhere": "0"}), "'../elsewhere' is no name of a model"),
        (lambda content: spoilt(content, models={"/etc": "0"}), "'/etc' is no name of a model"),
        (lambda content: "[" * 10**5, "not a decision"),
        (lambda content: spoilt(content, prior=dict(reversed(content["prior"].items()))), "do not match"),
        (lambda content: spoilt(content, temperatures={"a": 1}), "do not match"),
    ],
)
def test_a_broken_decision_is_one_line(tmp_path, spoil, message):
    truth, raw = members(100)
    path = tmp_path / "decision.json"
    with pytest.raises(DermalineError, match="not found; run the evaluate stage"):
        decision.load(path)
    decision.fit(PAIR, truth, raw, TRAINED, options()).save(path)
    path.write_text(spoil(json.loads(path.read_text())))
    with pytest.raises(DermalineError, match=message) as problem:
        decision.load(path)
    assert str(path) in str(problem.value)
    assert "\n" not in str(problem.value)
