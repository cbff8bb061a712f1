"""The section `train`, and the files of `recipes/`: one model to train each."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import model_validator

from dermaline.base.parameters import (
    PARAMS,
    Count,
    Fraction,
    NotNegative,
    Positive,
    Power,
    Section,
    Seed,
    Size,
    checked,
    load,
    read_as,
    within,
)

ViewName = Literal["whole", "crop", "mixed"]
Precision = Literal["auto", "bf16-mixed", "32-true", "portable"]


class Phase(Section):
    """Epochs with the same parts trainable; the factors multiply the recipe's `lr`, and `backbone: 0` freezes it.

    What a phase may state otherwise than its recipe: `first_layer`, from which the backbone trains (a number in timm's
    own order of layers, 0 is the stem); `size` of the training images (small first, then large, costs less); their
    `view`; the powers that balance the classes (late balancing).
    """

    name: str
    epochs: Count
    backbone: NotNegative
    head: Positive
    first_layer: Annotated[int, within(0, 10_000)] = 0
    size: Size | None = None
    view: ViewName | None = None
    class_weight_power: Power | None = None
    sampler_power: Power | None = None


class Input(Section):
    """What the network is shown of a photograph: all of it, a window of its own scale, or something between."""

    size: Size | None  # None: the backbone's own
    view: ViewName
    crop_from: Size | None  # of the photograph that windows are cut from; None where all views are whole


class Architecture(Section):
    weights: str
    start_of_other_split: bool
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
    schedule: Literal["cosine", "restarts", "step", "plateau", "constant"]
    warmup: Fraction
    cycles: Annotated[int, within(1, 1000)]
    plateau_patience: Count
    plateau_factor: Annotated[float, within(1e-6, 1)]
    grad_accum_steps: Annotated[int, within(1, 10_000)]
    clip_grad: NotNegative


class Loss(Section):
    loss: Literal["cross_entropy", "focal"]
    focal_gamma: Annotated[float, within(0, 10)]
    class_weight_power: Power
    class_weight_from: Fraction
    class_weight_to: Fraction
    sampler_power: Power
    label_smoothing: Annotated[float, within(0, 0.5)]
    logit_adjustment: Annotated[float, within(0, 3)]

    @model_validator(mode="after")
    def _power_rises_once(self) -> "Loss":
        if self.class_weight_from > self.class_weight_to:
            first, last = self.class_weight_from, self.class_weight_to
            raise ValueError(
                f"class_weight_to: {last} comes before class_weight_from: {first}; raise it, or lower that"
            )
        return self


class Augment(Section):
    operations: Literal["all", "pair"]
    flip: bool
    rotation: Annotated[float, within(0, 180)]
    scale: Annotated[float, within(0, 0.9)]
    aspect_ratio: Annotated[float, within(0, 0.5)]
    translate: Annotated[float, within(0, 0.5)]
    brightness: Annotated[float, within(0, 1)]
    contrast: Annotated[float, within(0, 1)]
    saturation: Annotated[float, within(0, 1)]
    colour_cast: Annotated[float, within(0, 1)]
    random_erasing: Fraction


class AugmentWhole(Augment):
    """Augmentation of whole photographs only."""

    @property
    def view(self) -> ViewName:
        return "whole"


class Mixing(Section):
    mixup: Annotated[float, within(0, 10)]
    cutmix: Annotated[float, within(0, 10)]
    no_mix_epochs: Annotated[int, within(0, 10**6)]
    metadata_dropout: Fraction


class Distillation(Section):
    teachers: list[str]
    distillation: Fraction


class Train(Mixing, Augment, Distillation, Loss, Optimizer, Architecture, Input):
    """What every recipe does unless its own file states otherwise.

    Flat on purpose: a recipe's file then states a key or does not, and what it states is no merge of two mappings.
    """

    phases: list[Phase]
    batch_size: Annotated[int, within(2, 65536)]
    ema: Annotated[float, within(0, 0.99999)]
    monitor: Literal["balanced_accuracy", "macro_auc", "macro_f1", "accuracy", "loss"]
    mean_of_best: Annotated[int, within(1, 100)]
    patience: Count
    precision: Precision
    seed: Seed

    @model_validator(mode="after")
    def _phases_have_names(self) -> "Train":
        names = [phase.name for phase in self.phases]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"phases: each needs a name of its own, and there must be one; got {names}")
        return self

    @model_validator(mode="after")
    def _crops_are_cut_from_something(self) -> "Train":
        views = [phase.view or self.view for phase in self.phases]
        if self.view not in views:
            raise ValueError(f"view: {self.view} is no phase's, so nothing would be kept; let the last phase have it")
        if {"crop", "mixed"}.intersection(views) and self.crop_from is None:
            raise ValueError("crop_from: view crop or mixed needs it; state height and width, as of prepare.size")
        for size in (self.size, *(phase.size for phase in self.phases)):
            if size and self.crop_from and (size[0] > self.crop_from[0] or size[1] > self.crop_from[1]):
                raise ValueError(f"crop_from: no window of {size[0]}x{size[1]} fits into it; raise it, or lower size")
        return self


class Recipe(Train):
    """One model to train: everything that decides its weights, side by side."""

    backbone: str

    def in_phase(self, phase: Phase) -> "Recipe":
        """The recipe as it is in one of its phases: with what the phase states otherwise."""
        stated = ("size", "view", "class_weight_power", "sampler_power")
        return self.model_copy(update={k: getattr(phase, k) for k in stated if getattr(phase, k) is not None})


def read_recipe(name: str, root: Path = Path()) -> Recipe:
    """Read and check a recipe: the section `train` of `params.yaml`, and over it what `recipes/NAME.yaml` states.

    Args:
        name: of the recipe.
        root: the folder that holds both.

    Raises:
        DermalineError: a file is missing, or the first fault in one line, with the file that it is in.
    """
    path = recipe_path(name, root)
    stated = read_as(dict[str, Any], path, "add it, or name another recipe in ensemble")
    return checked(Recipe, load(Train, "train", root / PARAMS).model_dump() | stated, path)


def recipe_path(name: str, root: Path = Path()) -> Path:
    """The file of a recipe."""
    return root / "recipes" / f"{name}.yaml"


def recipe_names(root: Path = Path()) -> list[str]:
    """The names of all recipes, in the order of the alphabet."""
    return sorted(path.stem for path in (root / "recipes").glob("*.yaml"))
