"""From probabilities to a diagnosis: fitted on the validation images, kept on file, applied to any others."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError, field_validator

from dermaline.base.classes import CLASSES, MELANOMA
from dermaline.base.errors import DermalineError
from dermaline.base.files import DIGITS, digest, read_text, write_text
from dermaline.base.parameters import Fraction, Positive, Power, Section
from dermaline.data.patients import FINDINGS
from dermaline.evaluation.scores import Bools, Floats, Ints
from dermaline.inference import conformal, likelihood_ratios
from dermaline.inference.calibration import (
    apply_factors,
    apply_prior_shift,
    apply_temperature,
    fit_temperature,
    fit_temperature_and_factors,
    fit_temperature_and_prior_exponent,
)
from dermaline.inference.likelihood_ratios import LikelihoodRatios
from dermaline.params.evaluate import Evaluate
from dermaline.params.predict import Predict

# Coarse on purpose: the rare classes have a dozen validation images, so balanced accuracy moves in steps of a hundredth
# as single images change sides. A finer grid, or the last of the best, would follow that noise.
TAUS = np.arange(21) / 10
CLASS_ROWS = 3  # that no tau can change, added to each class


class Decision(Section):
    """All that lies between the probabilities of some recipes and a diagnosis.

    The recipes' probabilities are tempered, and their mean is tempered again: a mean of calibrated models is not sure
    enough (Rahaman & Thiery 2021). Times a factor for each class, and the likelihood ratios of what is known beside the
    photograph, it is the probabilities p, and the diagnosis is the largest of `p / prior^tau`.
    """

    models: dict[str, str]  # of each recipe, in the order in which `apply` takes them, the digest of its weights file
    temperatures: dict[str, Positive]
    temperature: Positive  # of the mean, and the only one of a single recipe
    prior: dict[str, Positive]  # shares of the training images, in the order of CLASSES
    factors: dict[str, Positive]  # of the classes, in order: 1, or a power of the prior, or fitted
    likelihood_ratios: LikelihoodRatios | None = None  # of age, sex and place; None: they are not looked at
    tau: Power  # 0: the most probable class
    melanoma_threshold: (
        Fraction | None
    )  # suspect a melanoma from this probability on; None: there was none to fit it on
    set_rule: conformal.SetRule | None  # None: no sets
    val_images: int  # on which all but the prior was fitted
    val_melanomas: int
    views: Predict | None = None  # of the photographs it was fitted on; None: the models say, or nothing was fitted

    @field_validator("models")
    @classmethod
    def _names_lead_nowhere(cls, models: dict[str, str]) -> dict[str, str]:
        """They become names of folders."""
        for name in models:
            if name in ("", "..") or Path(name).name != name:
                raise ValueError(f"{name!r} is no name of a model")
        return models

    @property
    def recipes(self) -> list[str]:
        return list(self.models)

    def apply(self, members: Sequence[Floats], encoded: NDArray | None = None) -> tuple[Floats, Ints]:
        """The calibrated probabilities [N, 7] and the predicted class numbers [N].

        Args:
            members: raw probabilities [N, 7] of each of `recipes`, in that order.
            encoded: float [N, M] as `data.patients.encode` makes it, or None when nothing is known.
        """
        mixed = apply_temperature(_mean(members, list(self.temperatures.values())), self.temperature)
        probabilities = apply_factors(mixed, np.array(list(self.factors.values())))
        if self.likelihood_ratios and encoded is not None:
            probabilities = apply_factors(probabilities, self.likelihood_ratios.factors(encoded))
        return probabilities, self.diagnose(probabilities)

    def confidences(self, probabilities: Floats) -> Floats:
        """Calibrated probabilities [N, 7] as they were if the classes' shares were `prior^(1 - tau)`; rows sum to 1.

        The largest of a row is the diagnosis, so a scorer that looks for it, as ISIC's does, sees the decision rule.
        """
        return apply_prior_shift(probabilities, np.array(list(self.prior.values())), -self.tau)

    def diagnose(self, probabilities: Floats) -> Ints:
        """The predicted class numbers [N] for calibrated probabilities [N, 7]."""
        return self.confidences(probabilities).argmax(axis=1)

    def suspects_melanoma(self, probabilities: Floats) -> Bools:
        """Whether calibrated probabilities [N, 7] reach the melanoma threshold, [N]; never without a threshold."""
        threshold = np.inf if self.melanoma_threshold is None else self.melanoma_threshold
        return probabilities[:, MELANOMA] >= threshold

    def sets(self, probabilities: Floats) -> Bools | None:
        """Which diagnoses are in the set of each row, [N, 7], for calibrated probabilities; None without a rule."""
        return None if self.set_rule is None else self.set_rule.members(probabilities, self.diagnose(probabilities))

    def require(self, folders: Sequence[Path]) -> None:
        """Refuse other models than those it was fitted on.

        Args:
            folders: of each of `recipes`, in that order.

        Raises:
            DermalineError: a model is missing, or another one.
        """
        for folder, fitted in zip(folders, self.models.values(), strict=True):
            weights = folder / "model.safetensors"
            try:
                said = "" if digest(weights) == fitted else "not the model that the decision was fitted on"
            except FileNotFoundError:
                said = "not there"
            except OSError as problem:
                said = str(problem.strerror)
            if said:
                raise DermalineError(f"{weights}: {said}; run git checkout and dvc checkout, or dvc repro")

    def save(self, path: Path) -> None:
        """Write it as JSON, every digit kept: a threshold that is rounded up would miss its own image."""
        write_text(path, self.model_dump_json(indent=2) + "\n")


def load(path: Path) -> Decision:
    """Read what `Decision.save` wrote.

    Raises:
        DermalineError: the file is missing, is no decision, or is for other classes.
    """
    try:
        decision = Decision.model_validate_json(read_text(path))
    except FileNotFoundError:
        raise DermalineError(f"{path}: not found; run the evaluate stage first") from None
    except (OSError, ValueError) as problem:  # pydantic's is one
        reason = problem.errors()[0]["msg"] if isinstance(problem, ValidationError) else problem
        raise DermalineError(f"{path}: not a decision ({reason}); run the evaluate stage again") from None
    of_classes = [decision.prior, decision.factors, *([decision.set_rule.thresholds] if decision.set_rule else [])]
    if decision.likelihood_ratios:
        of_classes += decision.likelihood_ratios.ratios.values()
    findings = decision.likelihood_ratios and tuple(decision.likelihood_ratios.ratios)
    named = list(decision.temperatures) == decision.recipes and findings in (None, FINDINGS)
    if {tuple(one) for one in of_classes} != {CLASSES} or not named:
        raise DermalineError(f"{path}: its classes or recipes do not match; run the evaluate stage again")
    return decision


def fit(
    models: Mapping[str, str],
    truth: Ints,
    members: Sequence[Floats],
    train: pd.DataFrame,
    options: Evaluate,
    group: np.ndarray | None = None,
    encoded: NDArray | None = None,
) -> Decision:
    """Decide everything on validation images; the numbers are kept to six digits before the next one is fitted.

    Args:
        models: name of each member's recipe, and the digest of its weights file.
        truth: [N] class numbers of the validation images.
        members: raw probabilities [N, 7] of each recipe on them.
        train: `dx` of each image that was trained on (a class with none counts as one image), and for `metadata` what
            `likelihood_ratios.fit` takes.
        options: which of it to fit: `calibration`, `metadata`, `decision`, `melanoma_sensitivity`, `set_coverage`,
            `set_by_class`.
        group: [N] labels of the images' lesions, of which the sets are fitted; None: each image is of its own.
        encoded: float [N, M] of the validation images as `data.patients.encode` makes it; None: nothing is known.
    """
    each = len(members) > 1 and options.calibration != "none"  # a single one is calibrated as the mean of itself
    temperatures = [_kept(fit_temperature(truth, member)) if each else 1.0 for member in members]
    mixed = _mean(members, temperatures)
    counts = train["dx"].value_counts().reindex(list(CLASSES), fill_value=0).clip(lower=1).to_numpy()
    prior = counts / counts.sum()
    temperature, factors = _fit_calibration(truth, mixed, prior, options)
    probabilities = apply_factors(apply_temperature(mixed, temperature), factors)
    ratios = None
    if options.metadata and encoded is not None:
        ratios = likelihood_ratios.fit(train, truth, probabilities, encoded)
    if ratios:
        probabilities = apply_factors(probabilities, ratios.factors(encoded))
    group = np.arange(len(truth)) if group is None else group
    return Decision(
        models=dict(models),
        temperatures=dict(zip(models, temperatures, strict=True)),
        temperature=temperature,
        prior=dict(zip(CLASSES, prior.tolist(), strict=True)),
        factors=dict(zip(CLASSES, factors.tolist(), strict=True)),
        likelihood_ratios=ratios,
        tau=fit_tau(truth, probabilities, prior) if options.decision == "balanced" else 0.0,
        melanoma_threshold=fit_threshold(truth == MELANOMA, probabilities[:, MELANOMA], options.melanoma_sensitivity),
        set_rule=conformal.fit(truth, probabilities, group, options.set_coverage, options.set_by_class),
        val_images=len(truth),
        val_melanomas=int((truth == MELANOMA).sum()),
    )


def _mean(members: Sequence[Floats], temperatures: Sequence[float]) -> Floats:
    """The mean of the members' tempered probabilities, [N, 7]."""
    return np.mean([apply_temperature(*pair) for pair in zip(members, temperatures, strict=True)], axis=0)


def _fit_calibration(truth: Ints, mixed: Floats, prior: Floats, options: Evaluate) -> tuple[float, Floats]:
    """The temperature of the mean, and the classes' factors, to `DIGITS` significant digits."""
    temperature, factors = 1.0, np.ones(len(prior))
    if options.calibration == "temperature":
        temperature = fit_temperature(truth, mixed)
    if options.calibration == "prior":
        temperature, prior_exponent = fit_temperature_and_prior_exponent(truth, mixed, prior)
        factors = prior**prior_exponent
    if options.calibration == "vector":
        temperature, factors = fit_temperature_and_factors(truth, mixed)
    return _kept(temperature), np.array([float(f"{factor:.{DIGITS}g}") for factor in factors])  # some are tiny


def fit_tau(truth: Ints, probabilities: Floats, prior: Floats) -> float:
    """The one of `TAUS` with the best balanced accuracy; among equals the smallest, which changes fewest diagnoses.

    0 decides by the probabilities as they are; 1 as if every class were equally frequent, which is best for balanced
    accuracy when they are exact (Menon et al. 2021, post-hoc logit adjustment). `CLASS_ROWS` more rows a class, wrong
    at any tau, keep the only image of a class from being worth as much as all of another's (Cestnik's m-estimate 1990).
    """
    rows = np.bincount(truth, minlength=len(prior)) + CLASS_ROWS

    def score(tau: float) -> float:
        right = apply_prior_shift(probabilities, prior, -tau).argmax(axis=1) == truth
        return (np.bincount(truth[right], minlength=len(prior)) / rows).sum()

    return float(TAUS[np.argmax(np.round([score(tau) for tau in TAUS], 12))])


def fit_threshold(positive: Bools, score: Floats, sensitivity: float) -> float | None:
    """The largest threshold t at which `score >= t` finds at least this share of the positives; None without any.

    It is the score of a positive: of the one that completes the share, and of the best one for a share of 0.
    """
    ordered = np.sort(score[positive])[::-1]
    if not len(ordered):
        return None
    return float(ordered[needed(sensitivity, len(ordered)) - 1])


def needed(sensitivity: float, positives: int) -> int:
    """How many of the positives make up this share of them, one at least."""
    return max(int(np.ceil(sensitivity * positives - 1e-9)), 1)  # 0.55 * 100 is a little over 55


def _kept(value: float) -> float:
    return round(float(value), DIGITS)
