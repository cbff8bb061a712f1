"""The exported model says what `predict` says: part by part against PyTorch, and whole, in a program without it."""

import argparse
import io
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pandas as pd
import pytest
import test_predict_command as photographed
import test_serve as served
import tiny
import torch
from browser import CHROMIUM, Browser
from closure import ROOT
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torchvision.transforms.v2.functional import resize

from dermaline import __main__
from dermaline.base.classes import CLASSES, DIAGNOSES, MELANOMA
from dermaline.base.errors import DermalineError
from dermaline.base.files import digest
from dermaline.commands import export as command
from dermaline.commands import serve
from dermaline.compute import setup_fabric
from dermaline.data.decode import decode
from dermaline.data.patients import MISSING, encode
from dermaline.exporting import comparing
from dermaline.exporting.onnx_model import build
from dermaline.exporting.parts import Decide, Views, by_shape
from dermaline.exporting.precision import halved
from dermaline.exporting.resizing import Resize
from dermaline.exporting.running import InferenceSession
from dermaline.inference import views
from dermaline.inference.decision import load
from dermaline.inference.ensemble import Ensemble, Prediction, load_ensemble, plain
from dermaline.inference.member import Member
from dermaline.params.predict import Predict
from dermaline.params.whole import read
from stages import export as stage

EXAMPLE = ROOT / "docs/predict_with_onnx.py"
DECISION = photographed.DECISION
SIZE = (48, 64)
SIDES = st.integers(16, 90)


@example((71, 17), (17, 17), 67)  # float32 says another pixel of these two
@example((79, 79), (79, 16), 92)
@settings(max_examples=15)
@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(0, 99))
def test_resizing_gives_torchvisions_very_pixels(of, to, seed):
    images = torch.randint(0, 256, (2, 3, *of), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    assert torch.equal(Resize(of, to)(images), resize(images, list(to), antialias=True))


def looked_at(view: str, tta: str) -> list[views.Scale]:
    recipe = tiny.recipe(size=(24, 32), crop_from=SIZE, view=view)
    return views.scales(recipe, Predict(tta=tta, grid=(3, 3), scales=3), views.VIEWS[tta])


@pytest.mark.parametrize("tta", ["none", "flips", "d4"])
@pytest.mark.parametrize("view", ["whole", "crop", "mixed"])
def test_the_weighted_views_are_those_that_a_model_is_shown(view, tta):
    scales = looked_at(view, tta)
    images = torch.randint(0, 256, (2, *SIZE, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    shapes = by_shape(scales)
    stacks = Views(list(shapes.values()), SIZE)(images)
    given = {scale.size: resize(images.permute(0, 3, 1, 2), list(scale.size), antialias=True) for scale in scales}
    expected = [(one(given[scale.size]), 1 / len(scales) / len(scale.views)) for scale in scales for one in scale.views]
    found = [
        (shown, seen.weight)
        for stack, seens in zip(stacks, shapes.values(), strict=True)
        for shown, seen in zip(stack, seens, strict=True)
    ]
    assert len(found) == len(expected)
    assert sum(weight for _, weight in found) == pytest.approx(1)
    for shown, weight in expected:  # the same ones, in any order
        same = [n for n, (one, own) in enumerate(found) if own == weight and torch.equal(one, shown)]
        del found[same[0]]


@settings(max_examples=15)
@given(st.integers(0, 9999), st.sampled_from([0.0, 0.6, 1.0]), st.booleans(), st.booleans())
def test_the_decision_is_that_of_decision_apply(seed, tau, has_threshold, has_sets):
    """Each member is shown two views of one shape and one of another."""
    random = np.random.default_rng(seed)
    changes = {"tau": tau} | ({} if has_threshold else {"melanoma_threshold": None})
    changes |= {"temperatures": dict(zip(DECISION.recipes, random.uniform(0.3, 3, 2), strict=True))}
    changes |= {"factors": dict(zip(CLASSES, random.uniform(0.1, 4, 7), strict=True))}
    thresholds = dict(zip(CLASSES, random.uniform(0, 0.9, 7), strict=True))
    rule = DECISION.set_rule.model_copy(update={"thresholds": thresholds})  # often over the prediction's probability
    decision = DECISION.model_copy(update=changes | {"set_rule": rule if has_sets else None})
    shown = [list(by_shape([views.Scale((8, 12), views.VIEWS["d4"][3:6])]).values())] * 2
    seen = [random.dirichlet(np.full(7, 0.4), (len(one), 50)).astype(np.float32) for one in [*shown[0], *shown[1]]]
    raw = [np.concatenate(seen[start : start + 2]).mean(axis=0, dtype=float) for start in (0, 2)]
    known = encode(pd.DataFrame({"age": random.integers(0, 100, 50), "sex": random.choice(["male", "?"], 50)}))
    part = Decide(decision, shown)
    found = dict(zip(part.outputs, part([torch.from_numpy(one) for one in seen], torch.from_numpy(known)), strict=True))
    probabilities, predicted = decision.apply(raw, known)
    np.testing.assert_allclose(found["probabilities"], probabilities, atol=2e-6)
    confidences = np.sort(decision.confidences(probabilities))
    clear = confidences[:, -1] > confidences[:, -2] + 1e-5  # others are ties, but for a rounding
    assert (found["diagnosis"].numpy() == predicted)[clear].all()
    assert ("melanoma_suspected" in found) is has_threshold
    assert ("set" in found) is has_sets
    if has_threshold:
        suspected = found["melanoma_suspected"].numpy() == decision.suspects_melanoma(probabilities)
        assert suspected[np.abs(probabilities[:, MELANOMA] - decision.melanoma_threshold) > 1e-5].all()
    if has_sets:
        near = np.abs(probabilities - list(thresholds.values())) < 1e-5
        assert ((found["set"].numpy() == decision.sets(probabilities)) | near)[clear].all()


class Brightness(nn.Module):
    """A network as small as can be: it sees where it is bright, and what is known of the patient."""

    def __init__(self, fusion) -> None:
        super().__init__()
        self.backbone, self.fusion = "brightness", fusion
        self.layer = nn.Conv2d(3, 7, 8, 8)

    def forward(self, images, metadata=None):
        known = 0 if self.fusion is None else metadata[:, :1]
        return self.layer(images).relu().amax(dim=(2, 3)) * (8 + known)


@pytest.fixture(scope="module")
def ensemble():
    """Two members, one of which is shown views of two shapes, and looks at metadata."""
    torch.manual_seed(0)
    first, second = Brightness("film").eval(), Brightness(None).eval()
    shown = [looked_at("mixed", "d4"), looked_at("whole", "flips")]
    fabric = setup_fabric("cpu", "32-true")
    nets = zip((first, second), shown, strict=True)
    members = [
        Member(net, tiny.recipe(), fabric, scales, Predict(tta="d4", grid=(3, 3), scales=3)) for net, scales in nets
    ]
    return Ensemble(members, [SIZE, SIZE], DECISION)


def test_the_whole_is_the_ensemble_whatever_the_batch(ensemble):
    content = build(ensemble).SerializeToString()
    assert str(ROOT).encode() not in content  # nothing of this machine: the bytes are the same on another
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (5, *SIZE, 3), dtype=np.uint8)
    known = {"age": [None, 5, 39, 40, 85], "sex": "male", "localization": ["ear", "back", None, "", "neck"]}
    metadata = encode(pd.DataFrame(known))
    model = InferenceSession(content, providers=["CPUExecutionProvider"])
    expected = ensemble({SIZE: images}, torch.from_numpy(metadata))
    for rows in (slice(0, 5), slice(3, 4)):
        probabilities, diagnosis, suspected, sets = model.run(
            None, {"images": images[rows], "metadata": metadata[rows]}
        )
        np.testing.assert_allclose(probabilities, expected.probabilities[rows], atol=1e-5)
        assert (diagnosis == expected.predicted[rows]).all()
        assert (suspected == expected.is_melanoma_suspect[rows]).all()
        assert (sets == expected.sets[rows]).all()


def test_models_for_photographs_of_different_sizes_are_refused(ensemble):
    with pytest.raises(DermalineError, match=r"photographs of \(48, 64\) and \(96, 128\); export each on its own"):
        build(ensemble._replace(prepared_sizes=[SIZE, (96, 128)]))


ALONE = """
import runpy, sys
from pathlib import Path
ALLOWED = {"numpy", "onnxruntime", "PIL"}
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED | set(sys.stdlib_module_names):
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Nothing())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def odd_photographs() -> dict[str, bytes]:
    """Twenty files, by name: of odd shapes, modes and codings."""
    found: dict[str, bytes] = {}

    def add(name: str, image: Image.Image, **how) -> None:
        file = io.BytesIO()
        image.save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(name[-3:], name[-3:]), **how)
        found[name] = file.getvalue()

    plain = [Image.open(io.BytesIO(photographed.photograph(number))) for number in range(4)]
    found |= {f"{number}.jpg": photographed.photograph(number) for number in range(4)}
    for side, size in (
        ("tiny", (8, 8)),
        ("tall", (8, 300)),
        ("wide", (400, 9)),
        ("small", (12, 9)),
        ("square", (99, 99)),
    ):
        add(f"{side}.png", plain[3].resize(size))
    for orientation in (3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        add(f"turned{orientation}.jpg", plain[1], exif=exif)
    add("portrait.png", plain[2].transpose(Image.Transpose.ROTATE_90))
    see_through = plain[0].convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize(see_through.size))
    add("transparent.png", see_through)
    for mode, name in (("L", "grey.png"), ("P", "palette.png"), ("1", "bits.png"), ("CMYK", "print.tif")):
        add(name, plain[1].convert(mode))
    add("progressive.jpg", plain[2], progressive=True)
    add("other.bmp", plain[2])
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A project with one small model and its decision, its model.onnx by the command, and photographs of all kinds."""
    folder = tmp_path_factory.mktemp("exported")
    photographed.save_model(folder / "models/first", 1, {}, view="mixed", crop_from=(96, 128))
    alone = {"models": {"first": digest(folder / "models/first/model.safetensors")}, "temperatures": {"first": 0.8}}
    DECISION.model_copy(update=alone).save(folder / "metrics/decision.json")
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (folder / "photos").mkdir()
    for name, content in odd_photographs().items():
        (folder / "photos" / name).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["dermaline", "export", "--last-run"])
        __main__.main()
    return folder


def test_with_onnxruntime_numpy_and_pillow_alone_it_says_what_predict_says(exported):
    photos = sorted((exported / "photos").iterdir())
    words = [sys.executable, "-c", ALONE, str(EXAMPLE), "model.onnx", *map(str, photos)]
    done = subprocess.run(words, cwd=exported, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    alone, params = pd.read_csv(io.StringIO(done.stdout)), read(ROOT / "params.yaml")
    how = (load(exported / "metrics/decision.json"), "cpu", params.predict, params.prepare.size)
    images = np.stack([decode(path.read_bytes(), params.prepare.size, 50) for path in photos])
    prediction = load_ensemble([exported / "models/first"], *how)({params.prepare.size: images}, None)
    ours = prediction.table([path.stem for path in photos])
    assert len(ours) == len(alone) == 20
    np.testing.assert_allclose(alone[list(CLASSES)], ours[list(CLASSES)], atol=1e-5)
    for column in ("predicted", "melanoma_suspected"):
        assert list(alone[column]) == list(ours[column])
    assert [set(names.split()) for names in alone["set"]] == [set(names.split()) for names in ours["diagnoses"]]
    assert ours["predicted"].nunique() > 1


def test_predict_the_file_the_server_and_the_page_say_the_same_of_twenty_odd_photographs(
    exported, monkeypatch, tmp_path
):
    monkeypatch.chdir(exported)
    words = ["photos", "--last-run", "--device", "cpu", "--output", "predicted.csv"]
    monkeypatch.setattr(sys, "argv", ["dermaline", "predict", *words])
    __main__.main()
    predicted = pd.read_csv("predicted.csv").set_index("image_id")
    session, _ = runpy.run_path(str(EXAMPLE))["load"]("model.onnx")
    photos = {path.stem: path for path in sorted(Path("photos").iterdir())}
    assert list(predicted.index) == list(photos)
    size = read(ROOT / "params.yaml").prepare.size
    images = np.stack([decode(path.read_bytes(), size, 50) for path in photos.values()])
    given = {"images": images, "metadata": np.tile(MISSING, (len(images), 1))}
    shares, diagnosis = session.run(["probabilities", "diagnosis"], given)
    np.testing.assert_allclose(predicted[list(CLASSES)], shares, atol=1e-5)
    assert list(predicted.predicted) == [CLASSES[number] for number in diagnosis]
    with served.running(serve.load_service(served.options("--last-run"))) as client:
        for name, path in photos.items():
            (said,) = client.post("/predict", files={"images": path.read_bytes()}).json()["images"]
            row = predicted.loc[name]
            assert said["predicted"] == row.predicted
            assert [said["probabilities"][one] for one in CLASSES] == pytest.approx(list(row[list(CLASSES)]), abs=5e-6)
            assert said["diagnoses"] == row.diagnoses.split()
            assert said["melanoma_suspected"] == row.melanoma_suspected
        if CHROMIUM is not None:
            with Browser(tmp_path) as page:
                page.open(str(client.base_url))
                page.choose("#files", *(path.absolute() for path in photos.values()))
                page.wait("document.querySelectorAll('article .verdict').length === 20")
                for at, row in enumerate(predicted.itertuples()):
                    text = page.value(f"document.querySelectorAll('article')[{at}].textContent").replace("\xa0", " ")
                    assert photos[row.Index].name in text
                    (percent,) = re.findall(rf"{DIAGNOSES[row.predicted]}, probability ([\d.]+) %", text)
                    assert float(percent) == pytest.approx(100 * getattr(row, row.predicted), abs=0.051)


def test_the_example_decodes_as_the_pipeline_does(exported):
    example = runpy.run_path(str(EXAMPLE))
    for path in sorted((exported / "photos").iterdir()):
        for size in (SIZE, (100, 70)):
            assert (example["decode"](path, size) == decode(path.read_bytes(), size, 50)).all(), path


@pytest.mark.parametrize(
    "code",
    [
        "import dermaline.exporting.running",
        pytest.param("import benchmarks.load", marks=pytest.mark.slow),
        f"import runpy; runpy.run_path({str(EXAMPLE)!r})",
    ],
    ids=["dermaline", "benchmark", "example"],
)
def test_onnxruntime_lays_no_identifier_into_the_home_and_reports_nothing(code, tmp_path):
    """It would when it is imported, but not where CI or a test is said to run."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    assert list(tmp_path.rglob("*onnxruntime*")) == []


def test_the_file_says_what_it_is(exported):
    _, facts = runpy.run_path(str(EXAMPLE))["load"](str(exported / "model.onnx"))
    assert facts["classes"] == list(CLASSES)
    assert facts["size"] == list(read(ROOT / "params.yaml").prepare.size)
    assert facts["melanoma_threshold"] == DECISION.melanoma_threshold
    assert facts["decision"] == json.loads((exported / "metrics/decision.json").read_text())
    assert len(EXAMPLE.read_text().splitlines()) <= 90


def test_int8_is_calibrated_on_validation(exported, monkeypatch):
    class Enough(Exception):
        """Once it is known what is shown."""

    def changed(precision, shown):
        assert set(shown["side"]) == {"val"}
        raise Enough

    monkeypatch.chdir(exported)
    monkeypatch.setattr(stage, "read_split", lambda side: pd.DataFrame({"side": [side] * 9}))
    monkeypatch.setattr(stage, "given", lambda rows: rows)
    monkeypatch.setattr(stage, "changed", changed)
    with pytest.raises(Enough):
        stage.main()


def test_int8_is_refused_of_a_network_that_takes_what_photographs_do_not_tell(exported, monkeypatch):
    monkeypatch.chdir(exported)
    given = argparse.Namespace(precision="int8", calibration=[Path("photos")], output=Path("a.onnx"))
    given.model, given.decision, given.last_run = [], None, True
    taking = SimpleNamespace(members=[SimpleNamespace(network=SimpleNamespace(fusion=nn.Identity()))])
    monkeypatch.setattr(command, "load_chosen", lambda *how: taking)
    with pytest.raises(DermalineError, match="--precision int8: a network takes age, sex and place"):
        command.main(given)


def test_int8_is_refused_without_photographs_to_calibrate_on(exported, monkeypatch):
    monkeypatch.chdir(exported)
    for more in (["--precision", "int8"], ["--calibration", "photos"]):
        monkeypatch.setattr(sys, "argv", ["dermaline", "export", "--last-run", *more])
        with pytest.raises(DermalineError, match="photographs are needed for --precision int8, and for it alone"):
            __main__.main()


@pytest.mark.parametrize(
    ("precision", "close", "smaller"), [pytest.param("fp16", 0.002, 1.9, marks=pytest.mark.slow), ("int8", 0.06, 3.0)]
)
def test_other_precisions_are_smaller_and_say_nearly_the_same(exported, monkeypatch, capsys, precision, close, smaller):
    monkeypatch.chdir(exported)
    words = ["--last-run", "--precision", precision, "--output", f"{precision}.onnx"]
    Path("phone.heic").write_bytes(b"an image")
    more = ["--calibration", "photos", "phone.heic"] if precision == "int8" else []
    monkeypatch.setattr(sys, "argv", ["dermaline", "export", *words, *more])
    __main__.main()
    assert ("skipped phone.heic: .heic files are not read" in capsys.readouterr().err) == (precision == "int8")
    first, other = exported / "model.onnx", exported / f"{precision}.onnx"
    assert first.stat().st_size > smaller * other.stat().st_size
    size = read(ROOT / "params.yaml").prepare.size
    images = np.stack([decode(path.read_bytes(), size, 50) for path in sorted((exported / "photos").iterdir())])
    given = {"images": images, "metadata": np.tile(MISSING, (len(images), 1))}
    one, two = (InferenceSession(path).run(["probabilities"], given)[0] for path in (first, other))
    assert np.abs(one - two).mean() < close  # of a random network, whose largest difference is each CPU's own


def test_weights_are_kept_as_float16_where_that_holds_them():
    weights = {"small": np.array([0.5, 1 / 3], np.float32), "large": np.array([1e6, 1], np.float32)}
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    nodes = [onnx.helper.make_node("Add", ["small", "large"], ["sum"])]
    output = onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, [2])
    opset = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "sum", [], [output], tensors), opset_imports=opset, ir_version=10
    )
    half = halved(model)
    kept = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert kept == {"small/half": onnx.TensorProto.FLOAT16, "large": onnx.TensorProto.FLOAT}
    (found,) = InferenceSession(half.SerializeToString()).run(None, {})
    assert found.tolist() == [1e6 + 0.5, np.float32(1) + np.float16(1 / 3)]


def test_what_is_lost_is_measured_with_its_interval():
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"dx": np.repeat(CLASSES, 20), "group": [f"l{n // 2}" for n in range(140)]})
    truth = np.repeat(np.arange(7), 20)
    ours = 0.3 * np.eye(7)[truth] + 0.1
    said = Prediction(ours, truth, None, None, ours)
    same = comparing.compared(rows, said, {"probabilities": ours - 3e-5, "diagnosis": truth}, 0)
    nothing = {"value": 0, "low": 0, "high": 0}
    assert same == {
        "images": 140,
        "largest_difference_up_to": 1e-4,
        "same_diagnosis": 1,
        "balanced_accuracy_lost": nothing,
    }
    wrong = np.where((truth == MELANOMA) & (random.random(140) < 0.5), 5, truth)
    worse = comparing.compared(rows, said, {"probabilities": np.eye(7)[wrong], "diagnosis": wrong}, 0)
    lost = worse["balanced_accuracy_lost"]
    assert worse["largest_difference_up_to"] == 1
    assert worse["same_diagnosis"] == pytest.approx((wrong == truth).mean())
    assert lost["value"] == pytest.approx((wrong != truth).sum() / 20 / 7)
    assert 0 < lost["low"] < lost["value"] < lost["high"]


def test_a_plain_mean_is_exported_too():
    part = Decide(plain(["a"]), [[by_shape([views.Scale((8, 12), views.VIEWS["none"])])[(8, 12)]]])
    assert part.outputs == ["probabilities", "diagnosis"]
