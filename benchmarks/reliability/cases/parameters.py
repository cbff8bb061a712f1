"""params.yaml: keys that are misspelt, missing, mistyped, out of range or contradict another; and what is no YAML."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.reliability.bad_input import Case
from benchmarks.reliability.cases.make import edit, write

MISSING = object()


def check() -> None:
    """What the stage check does: it reads all parameters, and the recipes that they name."""
    from dermaline.params import whole

    whole.ensemble()


def changed(**changes: Any) -> Callable[[], Callable[[], object]]:  # noqa: ANN401
    def make() -> Callable[[], object]:
        edit("params.yaml", **changes)
        return check

    return make


def replaced(old: str, new: str, path: str = "params.yaml") -> Callable[[], Callable[[], object]]:
    """One text in the file for another, wherever it stands first."""

    def make() -> Callable[[], object]:
        text = Path(path).read_text(encoding="utf-8")
        assert old in text, old
        Path(path).write_text(text.replace(old, new, 1), encoding="utf-8")
        return check

    return make


def written(content: bytes, path: str = "params.yaml") -> Callable[[], Callable[[], object]]:
    def make() -> Callable[[], object]:
        write({path: content})
        return check

    return make


def without(section: str) -> Callable[[], Callable[[], object]]:
    def make() -> Callable[[], object]:
        tree = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text(encoding="utf-8"))
        del tree[section]
        with Path("params.yaml").open("w", encoding="utf-8") as file:
            YAML(typ="safe", pure=True).dump(tree, file)
        return check

    return make


def deleted() -> Callable[[], object]:
    Path("params.yaml").unlink()
    return check


def folder() -> Callable[[], object]:
    Path("params.yaml").unlink()
    Path("params.yaml").mkdir()
    return check


# Key, value, and what the line says beside the key.
VALUES: list[tuple[str, Any, str]] = [
    ("data.source", "kagle", "'kaggle'"),
    ("data.synthetic.images", 69, "70 to 1000000"),
    ("data.kaggle.version", 0, "1 to 1000000000"),
    ("data.synthetic.size", [192], "required"),
    ("prepare.bad_images", "ignore", "'drop'"),
    ("prepare.max_megapixels", 0, "1e-12 to"),
    ("prepare.size", [8, 8], "16 to 4096"),
    ("prepare.size", "192x256", "tuple"),
    ("prepare.duplicate_similarity", 1.5, "0 to 1"),
    ("split.seed", -1, "0 to 2147483647"),
    ("split.seed", 0.5, "0 to 2147483647"),
    ("split.seed", True, "0 to 2147483647"),
    ("split.seed", None, "0 to 2147483647"),
    ("split.seed", "first", "0 to 2147483647"),
    ("split.seed", [1, 2], "0 to 2147483647"),
    ("split.val", 0.7, "0.01 to 0.49"),
    ("split.folds", 1, "2 to 100"),
    ("split.unit", "patient", "'image'"),
    ("compute.device", "gpu", "'cuda'"),
    ("compute.compile", 2, "boolean"),
    ("train.lr", 0, "1e-12 to"),
    ("train.lr", "fast", "1e-12 to"),
    ("train.dropout", float("nan"), "0 to 0.95"),
    ("train.dropout", float("inf"), "0 to 0.95"),
    ("train.batch_size", 1, "2 to 65536"),
    ("train.optimizer", "adamW", "'adamw'"),
    ("train.flip", "maybe", "boolean"),
    ("train.rotation", 360, "0 to 180"),
    ("train.teachers", "released", "list"),
    ("predict.grid", [3], "required"),
    ("predict.tta", 4, "'flips'"),
    ("evaluate.bootstrap", 5, "10 to 100000"),
    ("evaluate.reference", "lite1", "'lite0'"),
    ("segment.size", [50, 50], "multiple of 32"),
    ("ood.false_alarms", 0, "0.0001 to 0.5"),
    ("export.precision", "fp8", "'int8'"),
    ("plot.dpi", 5000, "50 to 600"),
    ("plot.palette", "colourblind", "'colorblind'"),
    ("external", {"of another": {"photographs": "x", "truth": "y"}}, "is no name"),
    ("external", {"other": {"photographs": "x"}}, "truth"),
    ("ensemble", [], "is empty"),
    ("ensemble", "lite0", "list"),
    ("ensemble", ["lite0", "lite0"], "there twice"),
    ("ensemble", ["../lite0"], "is no name"),
    ("ensemble", ["ensemble"], "all together"),
]
TEXTS: list[tuple[str, Callable[[], Callable[[], object]], tuple[str, ...]]] = [
    ("a section misspelt", replaced("\nsplit:\n", "\nsplits:\n"), ("unknown key 'splits'; did you mean 'split'?",)),
    (
        "a key misspelt",
        replaced("  batch_size: 32", "  batchsize: 32"),
        ("train: unknown key 'batchsize'", "'batch_size'"),
    ),
    ("a key of another section", replaced("  dpi: 150", "  dpi: 150\n  lr: 1"), ("plot: unknown key 'lr'",)),
    ("a key that is missing", replaced("  monitor: loss", "  # monitor: loss"), ("train.monitor: Field required",)),
    ("a section that is missing", without("plot"), ("plot: Field required",)),
    ("a key twice", replaced("  dpi: 150", "  dpi: 150\n  dpi: 160"), ("not YAML", "dpi")),
    ("a fold that is none", changed(split__fold=5, split__folds=5), ("split: fold: 5 is outside 0 to 4",)),
    ("a recipe that is not there", changed(ensemble=["lite"]), ("recipes/lite.yaml: not found", "'lite0'")),
    ("a view that nothing is cut from", changed(train__view="crop"), ("train: crop_from: ", "state height and width")),
    ("no phase", changed(train__phases=[]), ("train: phases: ", "there must be one")),
    ("two phases of a name", replaced("name: all", "name: head"), ("train: phases: each needs a name of its own",)),
    (
        "a size of a phase",
        replaced("    head: 3\n", "    head: 3\n    size: [64, 96]\n"),
        ("train.phases: a phase's size",),
    ),
    (
        "balancing that ends before it begins",
        changed(train__class_weight_from=0.9, train__class_weight_to=0.2),
        ("train: class_weight_to: 0.2", "0.9"),
    ),
    ("no YAML", replaced("\nsplit:", "\nsplit: ["), ("not YAML",)),
    ("a tab for blanks", replaced("\nsplit:\n  seed", "\nsplit:\n\tseed"), ("not YAML",)),
    ("an empty file", written(b""), ("params.yaml: ",)),
    ("a list", written(b"- data\n- split\n"), ("params.yaml: ",)),
    ("a text", written(b"a text"), ("params.yaml: ",)),
    ("a picture", written(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), ("params.yaml: ",)),
    ("UTF-16", written("data: 1".encode("utf-16")), ("params.yaml: ",)),
    ("Latin-1", written("# Größe\n".encode("latin-1")), ("params.yaml: ", "not YAML")),
    ("a date that is none", replaced("seed: 0", "seed: 2001-99-99"), ("params.yaml: ", "not YAML")),
    ("a number of 10,000 digits", replaced("seed: 0", f"seed: {'9' * 10_000}"), ("params.yaml: ",)),
    (
        "a value of 100,000 letters",
        replaced("source: synthetic", f"source: {'x' * 100_000}"),
        ("data.source", "'local'"),
    ),
    ("a list in a list, 5,000 deep", written(b"data: " + b"[" * 5000), ("params.yaml: ",)),
    (
        "an object of Python's",
        replaced("seed: 0", "seed: !!python/object/apply:os.getcwd []"),
        ("params.yaml: ", "not YAML"),
    ),
    ("a key that is no text", replaced("\nsplit:", "\n1: 2\nsplit:"), ("unknown key '1'",)),
    ("a key that is a list", replaced("\nsplit:", "\n? [a, b]\n: 2\nsplit:"), ("params.yaml: ",)),
    ("an alias to itself", replaced("\nsplit:", "\nmore: &a [*a]\nsplit:"), ("unknown key 'more'",)),
    ("a file that is not there", deleted, ("params.yaml: not found; run at the project's root",)),
    ("a folder of that name", folder, ("params.yaml: ",)),
]
FINE = [
    ("a number in quotes", changed(train__lr="1e-3")),
    ("a whole number for a fraction", changed(train__dropout=0)),
    ("a byte order mark", written(b"\xef\xbb\xbf" + (Path(__file__).parents[3] / "params.yaml").read_bytes())),
]
CASES = [
    *(
        Case(f"{key}: {value}", changed(**{key.replace(".", "__"): value}), ("params.yaml: ", key, words))
        for key, value, words in VALUES
    ),
    *(Case(name, make, words) for name, make, words in TEXTS),
    *(Case(name, make) for name, make in FINE),
]
