"""A recipe's file: keys that are misspelt, mistyped, out of range or contradict each other, and what is no YAML."""

from benchmarks.reliability.bad_input import Case
from benchmarks.reliability.cases.parameters import changed, written

FILE = "recipes/lite0.yaml"
NET = b"backbone: tf_efficientnet_lite0\n"
BAD: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("an empty recipe", b"# nothing\n", ("dictionary",)),
    ("a list for a recipe", b"- lr\n", ("dictionary",)),
    ("no backbone", b"lr: 1e-3\n", ("backbone: Field required",)),
    ("a backbone misspelt as a key", b"backbon: vit\n", ("unknown key 'backbon'; did you mean 'backbone'?",)),
    ("a key misspelt in a recipe", NET + b"lrr: 1\n", ("unknown key 'lrr'; did you mean 'lr'?",)),
    ("a key of another section in a recipe", NET + b"bootstrap: 10\n", ("unknown key 'bootstrap'",)),
    ("a section in a recipe", NET + b"train:\n  lr: 1\n", ("unknown key 'train'",)),
    ("a dotted key", NET + b"train.lr: 1\n", ("unknown key 'train.lr'",)),
    ("lr out of range", NET + b"lr: -1\n", ("lr: -1", "1e-12 to")),
    ("lr in words", NET + b"lr: small\n", ("lr: ", "1e-12 to")),
    ("a yes for a number", NET + b"batch_size: true\n", ("batch_size: ", "2 to 65536")),
    ("an empty value", NET + b"dropout:\n", ("dropout: ", "0 to 0.95")),
    ("an unknown loss", NET + b"loss: hinge\n", ("loss: ", "'focal'")),
    ("no phase", NET + b"phases: []\n", ("phases: ", "there must be one")),
    (
        "a phase misspelt",
        NET + b"phases: [{name: a, epoch: 1, backbone: 1, head: 1}]\n",
        ("phases.0", "'epoch'", "'epochs'"),
    ),
    (
        "a phase without an end",
        NET + b"phases: [{name: a, backbone: 1, head: 1}]\n",
        ("phases.0.epochs: Field required",),
    ),
    (
        "a phase of no epoch",
        NET + b"phases: [{name: a, epochs: 0, backbone: 1, head: 1}]\n",
        ("phases.0.epochs: ", "1 to"),
    ),
    (
        "a window larger than its photograph",
        NET + b"view: crop\ncrop_from: [64, 64]\n",
        ("crop_from: no window of 96x128",),
    ),
    (
        "a view that no phase has",
        NET + b"view: crop\ncrop_from: [300, 400]\nphases: [{name: a, epochs: 1, backbone: 1, head: 1, view: whole}]\n",
        ("view: crop is no phase's",),
    ),
    ("a size of one number", NET + b"size: 96\n", ("size: ",)),
    ("a size out of range", NET + b"size: [5, 96]\n", ("size.0: 5", "16 to 4096")),
    (
        "balancing that ends before it begins, in a recipe",
        NET + b"class_weight_from: 0.9\nclass_weight_to: 0.2\n",
        ("class_weight_to: 0.2", "0.9"),
    ),
    ("a key twice in a recipe", NET + b"lr: 1\nlr: 2\n", ("not YAML", "lr")),
    ("no YAML in a recipe", NET + b"lr: [\n", ("not YAML",)),
    ("a recipe in UTF-16", NET.decode().encode("utf-16"), ()),
    ("a picture for a recipe", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ()),
    ("a number for a key", NET + b"1: 2\n", ("1",)),
    ("a date that is none in a recipe", NET + b"lr: 2001-99-99\n", ("not YAML",)),
]
CASES = [
    *(Case(name, written(content, FILE), (f"{FILE}: ", *words)) for name, content, words in BAD),
    Case("a recipe that states nothing but its backbone", written(NET, FILE)),
    Case("a recipe that is not there", changed(ensemble=["none"]), ("recipes/none.yaml: not found", "known: ")),
]
