"""Model folders that somebody else made to do harm: what is read of them, what it costs, and how it is refused.

Each try is a process of its own, in a copy of a small sound project with one thing changed. It may be refused in one
line, or work and predict finite probabilities. Lost is anything else: another exception, an answer that is no number,
more than 2 GB of memory, 60 seconds of a CPU, a file outside that was read or written.
"""

import argparse
import io
import json
import os
import pickle
import random
import re
import resource
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmarks.reliability.rows import Row, row
from dermaline.base.errors import DermalineError
from dermaline.base.files import digest
from dermaline.base.parameters import load
from dermaline.commands import serve
from dermaline.exporting import running
from dermaline.inference.ensemble import plain
from dermaline.models import model_io
from dermaline.models.network import Network
from dermaline.ood import detector
from dermaline.ood.density import Density
from dermaline.params.ood import OOD_FOLDER
from dermaline.params.recipe import Recipe, read_recipe
from dermaline.params.segment import Segment
from dermaline.segmentation import network as segmentation
from dermaline.serving.service import Asked
from dermaline.serving.uploads import Upload

ROOT = Path(__file__).parents[2]
MEMORY, SECONDS, PATIENCE = 2 * 10**9, 60, 600  # bytes, of a CPU, and of a clock: other work may be in the way
PLANTED = "outside of the project"
MODEL, NET, DENSITY = "models/small", "models/segmentation", f"models/{OOD_FOLDER}"
JSONS = {
    "recipe": f"{MODEL}/recipe.json",
    "decision": "metrics/decision.json",
    "segmentation": f"{NET}/segmentation.json",
    "detector": f"{DENSITY}/{detector.FACTS}",
}
WEIGHTS = (f"{MODEL}/model.safetensors", f"{NET}/fold_0.safetensors", f"{DENSITY}/{detector.DENSITY}")
VALUES = (None, [], {}, "", -1, 10**30, 1e308, float("nan"), "x" * 10**6, "../../outside", [[]], {"a": 1}, True)
ONNX_REFUSALS = tuple(
    kind
    for kind in vars(import_module("onnxruntime.capi.onnxruntime_pybind11_state")).values()
    if isinstance(kind, type) and issubclass(kind, Exception)
)
Change = Callable[[Path], object]


def photograph() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def small_recipe() -> Recipe:
    known = read_recipe("lite0", ROOT).model_dump()
    small = {"backbone": "resnet10t", "size": (32, 48), "drop_path": 0.0, "weights": "none", "precision": "32-true"}
    return Recipe.model_validate(known | small)


def project(root: Path) -> None:
    """A small random model with its decision, a U-Net and a detector, and a photograph; none of it is of use."""
    shutil.copy(ROOT / "params.yaml", root)
    torch.manual_seed(0)
    recipe = small_recipe()
    facts = {"prepared_size": [48, 64], "split": "0"}
    model_io.save(root / MODEL, Network(recipe, pretrained=False).state_dict(), recipe, facts)
    models = {"small": digest(root / WEIGHTS[0])}
    plain(["small"]).model_copy(update={"models": models}).save(root / JSONS["decision"])
    with chdir(ROOT):
        options = load(Segment, "segment").model_copy(update={"size": (32, 64), "precision": "32-true"})
    segmentation.save(root / NET, [segmentation.UNet(options, pretrained=False).state_dict()], options, {})
    sizes = {"size": [32, 48], "prepared_size": [48, 64]}
    known = {"threshold": 9.0, "fit_images": 9, "val_lesions": 9, "false_alarms": 0.01, "split": "0", **sizes}
    width = detector.extractor((32, 48), torch.device("cpu"))(torch.zeros(1, 3, 48, 64, dtype=torch.uint8)).shape[1]
    detector.save(root / DENSITY, Density(torch.zeros(width), torch.eye(width)), known)
    (root / "lesion.jpg").write_bytes(photograph())


def use(root: Path) -> None:
    """Predict as the commands `predict` and `serve` do; the outlines' networks are loaded, and the model's weights."""
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    options = parser.parse_args(["--last-run", "--tta", "none", "--device", "cpu"])
    with chdir(root):
        service = serve.load_service(options)
        (found,) = service.predict([Asked(service.decode(Upload("lesion.jpg", photograph())))])
        if not abs(sum(found.probabilities.values()) - 1) < 1e-3:
            raise ArithmeticError("probabilities that are none")
        start = small_recipe().model_copy(update={"weights": WEIGHTS[0]})
        Network(start, pretrained=True)


def run_onnx(root: Path) -> None:
    """An exported file, as the stage `export` reads it back."""
    found = running.run(running.session(root / "model.onnx"), {"x": np.zeros((1, 4), np.float32)})
    raise ArithmeticError(f"what lies outside was read: {found}")


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def hostile_weights() -> Iterator[tuple[str, bytes]]:
    class Program:
        def __reduce__(self) -> tuple:
            return os.system, (f"echo {PLANTED} > ../outside/run",)

    file = io.BytesIO()
    torch.save({"body.x": torch.zeros(2)}, file)
    yield from {"pickle": pickle.dumps(Program()), "torch.save": file.getvalue(), "empty": b""}.items()
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    headers = {
        "negative offset": {"a": {**tensor, "data_offsets": [-8, 0]}},
        "offset beyond": {"a": {**tensor, "data_offsets": [0, 2**40], "shape": [2**38]}},
        "reversed offsets": {"a": {**tensor, "data_offsets": [8, 0]}},
        "overlap": {"a": tensor, "b": tensor},
        "hole": {"a": tensor, "b": {**tensor, "data_offsets": [16, 24]}},
        "shape overflows": {"a": {**tensor, "shape": [2**32, 2**32]}},
        "negative shape": {"a": {**tensor, "shape": [-2]}},
        "unknown dtype": {"a": {**tensor, "dtype": "F99"}},
        "wrong dtype": {"a": {**tensor, "dtype": "I64", "shape": [1]}},
        "name that is a path": {"../../outside/run": tensor},
        "metadata of numbers": {"__metadata__": {"a": 1}, "a": tensor},
        "a list": [],
    }
    for name, header in headers.items():
        yield name, safetensors(header, bytes(24 if name == "hole" else 8))
    for length in (2**63, 2**40, 99_999_999, 0):
        yield f"header of {length} bytes", safetensors({"a": tensor}, bytes(8), length)
    yield "header nested deeply", safetensors(b'{"a":' * 200_000)
    yield "header of no text", safetensors(b"\xff\xfe" * 40)


def filled(value: float, weights: dict[str, torch.Tensor]) -> None:
    for one in weights.values():
        if one.is_floating_point():
            one.fill_(value)


def changed_weights(name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    """Another content in a sound file, with the digests that the files beside it want."""

    def apply(root: Path) -> None:
        weights = {key: value.clone() for key, value in load_file(root / name).items()}
        change(weights)
        save_file(weights, root / name)
        renew(root)

    return apply


def renew(root: Path) -> None:
    """Enter digests of the weights, as an attacker would."""
    for key, entry in (("decision", lambda one, new: one["models"].update(small=new)), ("detector", _named)):
        path, weights = root / JSONS[key], root / (WEIGHTS[0] if key == "decision" else WEIGHTS[2])
        known = json.loads(path.read_text())
        entry(known, digest(weights))
        path.write_text(json.dumps(known))


def _named(known: dict, new: str) -> None:
    known["density"] = new


def written(name: str, content: bytes, *, anew: bool = True) -> Change:
    def apply(root: Path) -> None:
        (root / name).write_bytes(content)
        if anew:
            renew(root)

    return apply


def linked(name: str, target: str) -> Change:
    def apply(root: Path) -> None:
        (root / name).unlink()
        (root / name).symlink_to(target)

    return apply


def weights_tries() -> Iterator[Change]:
    for name in WEIGHTS:
        for _, content in hostile_weights():
            yield written(name, content)
        yield lambda root, name=name: os.truncate(root / name, (root / name).stat().st_size // 2) or renew(root)
        for value in (float("nan"), float("inf"), -3e38):
            yield changed_weights(name, partial(filled, value))
        yield changed_weights(name, lambda weights: weights.clear())
        yield changed_weights(name, lambda weights: weights.update(next_one=torch.zeros(3)))
        yield changed_weights(
            name, lambda weights: weights.update({key: weights[key].flatten()[:0] for key in weights})
        )
        yield changed_weights(name, lambda weights: weights.update({key: weights[key].char() for key in weights}))


def paths_in(tree: object) -> Iterator[tuple]:
    """The keys that lead to each value of a mapping or list."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield (key,)
        yield from ((key, *rest) for rest in paths_in(value))


def replaced(name: str, path: tuple, value: object) -> Change:
    def apply(root: Path) -> None:
        tree = inside = json.loads((root / name).read_text())
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = value
        (root / name).write_text(json.dumps(tree))

    return apply


def json_tries(root: Path, count: int) -> Iterator[Change]:
    """Values of other kinds and sizes, drawn; and whole files that are no such JSON."""
    draw = random.Random(0)
    for name in JSONS.values():
        for text in (b"", b"{", b"null", b"[]", b"[" * 10**6, b'{"a":' * 10**6, b"1" * 10**5, b"\xff\xfe", b"NaN"):
            yield written(name, text, anew=False)
    every = [(name, path) for name in JSONS.values() for path in paths_in(json.loads((root / name).read_text()))]
    for name, path in draw.choices(every, k=count):
        yield replaced(name, path, draw.choice(VALUES))


def link_tries() -> Iterator[Change]:
    for name in (*JSONS.values(), *WEIGHTS):
        for target in ("/dev/zero", "/dev/tty", name.rpartition("/")[2], "/proc/self/mem", "../../../outside/secret"):
            yield linked(name, target)
        yield lambda root, name=name: ((root / name).unlink(), os.mkfifo(root / name))
    for backbone in ("local-dir:../outside", "hf-hub:someone/something", "../outside", "resnet10t.../x"):
        yield replaced(JSONS["recipe"], ("recipe", "backbone"), backbone)
    yield replaced(JSONS["decision"], ("models",), {"../../outside": "0"})
    yield replaced(JSONS["decision"], ("models",), {"/etc": "0"})


def onnx_tries() -> Iterator[Change]:
    for place in ("../outside/secret", "{outside}/secret", "a/../../outside/secret", "link"):

        def apply(root: Path, place: str = place) -> None:
            outside = root.parent / "outside"
            (root / "link").symlink_to(outside / "secret")
            tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in {"location": place.format(outside=outside), "length": "16"}.items():
                tensor.external_data.add(key=key, value=value)
            x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
            graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [tensor])
            made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
            (root / "model.onnx").write_bytes(made.SerializeToString())

        yield apply


def attempt(root: Path, action: Callable[[Path], None], answer: Connection, allowed: tuple[type, ...]) -> None:
    """In a process of its own: what came of it, in words; nothing where all is well."""
    held = 1024 * int(re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))[1])
    resource.setrlimit(resource.RLIMIT_DATA, (held + 12 * 10**9,) * 2)  # this machine is others' too
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        action(root)
        said = ""
    except allowed:
        said = ""
    except BaseException as problem:
        said = f"{type(problem).__name__}: {' '.join(str(problem).split())[:150]}"
    used = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    answer.send(said or (f"{used / 1e9:.1f} GB" if used > MEMORY else ""))


def lost(
    sound: Path, changes: list[Change], action: Callable[[Path], None], allowed: tuple[type, ...] = (DermalineError,)
) -> list[str]:
    """What each harmful try did, in words."""
    fork, found = get_context("fork"), []
    for number, change in enumerate(changes):
        with tempfile.TemporaryDirectory() as folder:
            root, outside = Path(folder, "project"), Path(folder, "outside")
            shutil.copytree(sound, root)
            outside.mkdir()
            (outside / "secret").write_text(PLANTED)
            change(root)
            ours, theirs = fork.Pipe()
            process = fork.Process(target=attempt, args=(root, action, theirs, allowed))
            process.start()
            theirs.close()
            try:
                said = ours.recv() if ours.poll(PATIENCE) else "no end"
            except EOFError:
                said = f"a crash, or {SECONDS} s"
            process.kill()
            process.join()
            if [path.name for path in outside.iterdir()] != ["secret"] or len(list(Path(folder).iterdir())) != 2:
                said = "a file was written outside"
            if said:
                found.append(f"{number}: {said}")
                print(found[-1], flush=True)
    return found


def main(options: list[str]) -> list[Row]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability hostile_files")
    parser.add_argument("--json", type=int, default=200, help="values that are replaced; default: %(default)s")
    given = parser.parse_args(options)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder)
        project(sound)
        use(sound)  # the sound one works, and what it imports is there for all tries
        kinds = {
            "weights files made to do harm (pickles, headers of safetensors, truncated, not finite)": weights_tries(),
            "recipe.json, decision.json, detector.json, segmentation.json broken or of other values": json_tries(
                sound, given.json
            ),
            "links, devices, pipes and names that lead out of a model folder": link_tries(),
        }
        told = "lost: no one-line refusal, probabilities that are none, over 2 GB or 60 s, a file outside"
        rows = []
        for words, tries in kinds.items():
            changes = list(tries)
            rows.append(row(f"{words}; {told}", len(changes), len(lost(sound, changes, use))))
        changes = list(onnx_tries())
        read = lost(sound, changes, run_onnx, (onnx.checker.ValidationError, *ONNX_REFUSALS))
        words = "an ONNX file whose data lies outside of its folder; lost: it was read"
        rows.append(row(words, len(changes), len(read)))
    return rows
