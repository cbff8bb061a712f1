"""The typed view of `params.yaml`, the only place where a hyper-parameter stands."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from dermaline.errors import DermalineError


def within(low: float, high: float) -> AfterValidator:
    """A check that a number lies in [low, high]; its message names the range."""

    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"{value} is outside {low} to {high}")
        return value

    return AfterValidator(check)


def nearest(word: str, known: list[str]) -> str:
    """A hint: the known word nearest to a wrong one, or all of them when none is near."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")  # of a recipe: DVC makes a path, a key and a word of a command of it
Count = Annotated[int, within(1, 10**9)]
Seed = Annotated[int, within(0, 2**31 - 1)]
Share = Annotated[float, within(0, 1)]
Positive = Annotated[float, within(1e-12, 1e12)]
NotNegative = Annotated[float, within(0, 1e12)]
Power = Annotated[float, within(0, 3)]
Side = Annotated[int, within(16, 4096)]
Size = tuple[Side, Side]  # height, width, in pixels


class Section(BaseModel):
    """One mapping of `params.yaml`: unknown keys and infinite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, values: Any) -> Any:
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                raise ValueError(f"unknown key '{key}'; {nearest(str(key), list(cls.model_fields))}")
        return values


class Kaggle(Section):
    dataset: str
    version: Count


class Dataverse(Section):
    server: str
    doi: str


class Synthetic(Section):
    images: Annotated[int, within(70, 1_000_000)]
    size: Size
    seed: Seed


class Data(Section):
    source: Literal["synthetic", "kaggle", "dataverse", "local"]
    path: str | None
    kaggle: Kaggle
    dataverse: Dataverse
    synthetic: Synthetic


class Prepare(Section):
    size: Size
    bad_images: Literal["stop", "drop"]
    max_megapixels: Positive
    duplicate_similarity: Share
    duplicate_similarity_same_facts: Share


class Split(Section):
    """By shares of the lesions, or, when `fold` is a number, fold `fold` of `folds` as the test."""

    seed: Seed
    val: Annotated[float, within(0.01, 0.49)]
    test: Annotated[float, within(0.01, 0.49)]
    folds: Annotated[int, within(2, 100)]
    fold: Annotated[int, within(0, 99)] | None
    unit: Literal["lesion", "image"]

    @model_validator(mode="after")
    def _fold_is_one_of_folds(self) -> "Split":
        if self.fold is not None and self.fold >= self.folds:
            raise ValueError(f"fold: {self.fold} is outside 0 to {self.folds - 1}")
        return self


class Compute(Section):
    device: Literal["auto", "cpu", "cuda", "mps"]
    devices: Annotated[int, within(1, 1024)]
    compile: bool


class Phase(Section):
    """Epochs with the same parts trainable; the factors multiply the recipe's `lr`, and `backbone: 0` freezes it.

    What a phase may state otherwise than its recipe: `first_layer`, from which the backbone trains (a number in timm's
    own order of layers, 0 is the stem); `size` of the training images (small first, then large, costs less); the
    powers that balance the classes (late balancing).
    """

    name: str
    epochs: Count
    backbone: NotNegative
    head: Positive
    first_layer: Annotated[int, within(0, 10_000)] = 0
    size: Size | None = None
    class_weight_power: Power | None = None
    sampler_power: Power | None = None


class Architecture(Section):
    backbone: str
    weights: str
    start_of_other_split: bool
    size: Size | None  # None: the backbone's own
    head: Literal["linear", "mlp"]
    attention: Literal["none", "cbam"]
    metadata: Literal["none", "concat", "film"]
    dropout: Annotated[float, within(0, 0.95)]
    drop_path: Annotated[float, within(0, 0.95)]
    colour_constancy: Annotated[float, within(0, 100)]


class Optimizer(Section):
    optimizer: Literal["adamw", "adam", "sgd"]
    lr: Positive
    weight_decay: NotNegative
    schedule: Literal["cosine", "restarts", "onecycle", "plateau", "constant"]
    warmup: Share
    cycles: Annotated[int, within(1, 1000)]
    plateau_patience: Count
    plateau_factor: Annotated[float, within(1e-6, 1)]
    accumulate: Annotated[int, within(1, 10_000)]
    clip: NotNegative


class Loss(Section):
    loss: Literal["cross_entropy", "focal"]
    focal_gamma: Annotated[float, within(0, 10)]
    class_weight_power: Power
    sampler_power: Power
    label_smoothing: Annotated[float, within(0, 0.5)]
    logit_adjustment: Annotated[float, within(0, 3)]


class Augment(Section):
    flip: bool
    rotation: Annotated[float, within(0, 180)]
    zoom: Annotated[float, within(0, 0.9)]
    stretch: Annotated[float, within(0, 0.5)]
    shift: Annotated[float, within(0, 0.5)]
    brightness: Annotated[float, within(0, 1)]
    contrast: Annotated[float, within(0, 1)]
    saturation: Annotated[float, within(0, 1)]
    colour_cast: Annotated[float, within(0, 1)]
    erasing: Share


class Mixing(Section):
    mixup: Annotated[float, within(0, 10)]
    cutmix: Annotated[float, within(0, 10)]
    plain_epochs: Annotated[int, within(0, 10**6)]
    metadata_dropout: Share


class Recipe(Mixing, Augment, Loss, Optimizer, Architecture):
    """One model to train: everything that decides its weights, side by side.

    Flat on purpose: recipes inherit by YAML's merge key, and a mapping inside would be one object shared by base and
    heir; `dvc exp run -S` on one of them would be undone by the other without a word (tried with DVC 3.67).
    """

    phases: list[Phase]
    batch_size: Annotated[int, within(2, 65536)]
    ema: Annotated[float, within(0, 0.99999)]
    select: Literal["balanced_accuracy", "macro_auc", "macro_f1", "accuracy", "loss"]
    patience: Count
    precision: Literal["auto", "bf16-mixed", "32-true", "portable"]
    seed: Seed

    @model_validator(mode="after")
    def _phases_have_names(self) -> "Recipe":
        names = [phase.name for phase in self.phases]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"phases: each needs a name of its own, and there must be one; got {names}")
        return self

    def in_phase(self, phase: Phase) -> "Recipe":
        """The recipe as it is in one of its phases: with what the phase states otherwise."""
        stated = ("size", "class_weight_power", "sampler_power")
        return self.model_copy(update={k: getattr(phase, k) for k in stated if getattr(phase, k) is not None})


class Predict(Section):
    tta: Literal["none", "flips", "d4", "crops"]


class Evaluate(Section):
    calibration: Literal["none", "temperature", "prior"]
    ensemble: Literal["mean", "fitted"]
    decision: Literal["argmax", "balanced"]
    melanoma_sensitivity: Share
    reference: str | None  # of plots/models.csv; None: the first of `ensemble`
    bootstrap: Annotated[int, within(10, 100_000)]
    seed: Seed
    calibration_bins: Annotated[int, within(2, 100)]


class Plot(Section):
    palette: str
    dpi: Annotated[int, within(50, 600)]


class Params(Section):
    """The whole file."""

    data: Data
    prepare: Prepare
    split: Split
    compute: Compute
    ensemble: list[str]
    recipes: dict[str, Recipe]
    predict: Predict
    evaluate: Evaluate
    plot: Plot

    @model_validator(mode="after")
    def _ensemble_is_known(self) -> "Params":
        if not self.ensemble:
            raise ValueError("ensemble: is empty; name at least one of recipes")
        for name in (*self.ensemble, *self.recipes):
            if not NAME.fullmatch(name):
                raise ValueError(f"recipes: {name!r} is no name: letters, digits, _ and - only")
        if "ensemble" in self.recipes:
            raise ValueError("recipes: 'ensemble' is the name of them all together; call the recipe otherwise")
        for name in self.ensemble:
            if name not in self.recipes:
                raise ValueError(f"ensemble: no recipe '{name}'; {nearest(name, list(self.recipes))}")
            if self.ensemble.count(name) > 1:
                raise ValueError(f"ensemble: '{name}' is there twice; one model counts once")
        return self


def load(key: str, path: Path = Path("params.yaml")) -> Any:
    """Read one entry of the parameters, checked as a part of the whole file.

    Args:
        key: a dotted path such as `split` or `recipes.lite0`; a stage may only ask for what its
            `params` in `dvc.yaml` name.
        path: the file, read as DVC reads it (YAML 1.2, so `1e-5` and `1e-05` are numbers).

    Returns:
        The typed section, or the plain value of a leaf.

    Raises:
        DermalineError: the file or the key is missing, or the first of its faults in one line.
    """
    entry: Any = read(path)
    for part in key.split("."):
        if isinstance(entry, dict) and part in entry:
            entry = entry[part]
        elif isinstance(entry, Section) and part in type(entry).model_fields:
            entry = getattr(entry, part)
        else:
            known = list(entry) if isinstance(entry, dict) else list(getattr(type(entry), "model_fields", {}))
            raise DermalineError(f"{path}: no key '{key}'; {nearest(part, known)}")
    return entry


def read(path: Path = Path("params.yaml")) -> Params:
    """Read and check the whole file; raises as `load` does."""
    return read_as(Params, path, "run at the project's root")


Of = TypeVar("Of", bound=Section)


def read_as(kind: type[Of], path: Path, advice: str) -> Of:
    """Read and check a YAML file.

    Raises:
        DermalineError: it is missing (with `advice`), no YAML, or no `kind`: the first of its faults.
    """
    try:
        return kind.model_validate(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise DermalineError(f"{path}: not found; {advice}") from None
    except YAMLError as problem:
        raise DermalineError(f"{path}: not YAML: {' '.join(str(problem).split())}") from None
    except ValidationError as problem:
        raise DermalineError(f"{path}: {fault(problem)}") from None


def fault(problem: ValidationError) -> str:
    """The first of its faults, with the key and the value that was given."""
    first = problem.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    given = f" (got {first['input']!r})" if first["type"] != "value_error" else ""
    return f"{where}{': ' if where else ''}{what}{given}"
