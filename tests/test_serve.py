"""`python -m dermaline serve`: real HTTP on loopback, small real models, against what `predict` writes."""

import argparse
import base64
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
import tiny
import torch
import uvicorn
from closure import ROOT
from PIL import Image
from safetensors.torch import load_file, save_file
from serving import wait_until
from test_predict_command import DECISION, photograph, save_model
from torch._subclasses.fake_tensor import FakeTensorMode

from dermaline import __main__
from dermaline.base.classes import CLASSES
from dermaline.base.errors import DermalineError
from dermaline.base.files import digest
from dermaline.base.parameters import load
from dermaline.commands import serve
from dermaline.data.decode import BadImageError
from dermaline.data.metadata import MISSING, encode
from dermaline.inference.decision import load as load_decision
from dermaline.models.model_io import save
from dermaline.models.network import Network
from dermaline.params.segment import Segment
from dermaline.segmentation import network as segmentation
from dermaline.segmentation.network import UNet
from dermaline.serving import connections, overlays
from dermaline.serving.app import Limits, create
from dermaline.serving.batching import Batcher
from dermaline.serving.connections import Connection
from dermaline.serving.guard import FILES
from dermaline.serving.service import Asked, Service
from dermaline.serving.uploads import Upload

NUMBERS = range(6)
TOKEN = "correct-horse-battery"
PART = b'Content-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n'
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
KNOWN = {"age": "70", "sex": "f", "localization": "posterior torso"}
SCAN = b"\xff\xda"  # the marker of a JPEG's scan
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Two models and their decision, and photographs in a folder."""
    root = tmp_path_factory.mktemp("served")
    shutil.copy(ROOT / "params.yaml", root)
    for seed, name in enumerate(DECISION.recipes):
        save_model(root / f"models/{name}", seed, {"prepared_size": [48, 64]})
    models = {name: digest(root / f"models/{name}/model.safetensors") for name in DECISION.recipes}
    rule = DECISION.set_rule.model_copy(update={"thresholds": dict.fromkeys(CLASSES, 0.4)})  # sets of one, and of more
    decided = DECISION.model_copy(update={"models": models, "set_rule": rule})
    decided.save(root / "metrics/decision.json")
    (root / "photos").mkdir()
    for number in NUMBERS:
        (root / f"photos/p{number}.jpg").write_bytes(photograph(number))
    return root


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return parser.parse_args([*words, "--device", "cpu"])


@pytest.fixture(scope="module")
def service(project) -> Service:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        return serve.load_service(options("--last-run"))


@contextmanager
def running(service: Service, token: str | None = None, **limits):
    """A client of a real server; the server ends with the block."""
    config = uvicorn.Config(
        create(service, Limits(**limits), token), port=0, log_level="critical", ws="none", http=Connection
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        # Sooner than the server, whose end of an idle connection a request could meet
        idle = httpx.Limits(keepalive_expiry=1)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, limits=idle) as client:
            client.server = server
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def client(service):
    with running(service) as client:
        wait_until(lambda: client.get("/ready").status_code == 200)
        yield client


def held(service: Service, gate: threading.Event) -> Service:
    """The same, but a prediction waits for the gate: a slow machine."""

    def slow(block, metadata):
        gate.wait(20)
        return service.predictor(block, metadata)

    return replace(service, predictor=slow)


def files(*numbers: int) -> list[tuple]:
    return [("images", (f"p{number}.jpg", photograph(number))) for number in numbers]


def halved(pause):
    """The body of a request for one photograph, with a pause within it."""
    body = b"--b\r\n" + PART + photograph(1) + b"\r\n--b--\r\n"
    yield body[:99]
    pause()
    yield body[99:]


def error(response: httpx.Response) -> str:
    """The only thing in an error is a line."""
    (line,) = response.json().values()
    assert list(response.json()) == ["error"]
    assert "\n" not in line
    assert not re.search(r"/\w+/|Traceback|0x[0-9a-f]{6}|\.py", line)
    return line


def shares(image: dict) -> list[float]:
    return [image["probabilities"][name] for name in CLASSES]


@pytest.fixture
def predict(project, monkeypatch, tmp_path):
    """The table that the command `predict` writes of the photographs, with further arguments."""
    monkeypatch.chdir(project)

    def run(*more: str) -> pd.DataFrame:
        words = ["predict", "photos", "--last-run", "--device", "cpu", "--output", str(tmp_path / "out.csv"), *more]
        monkeypatch.setattr(sys, "argv", ["dermaline", *words])
        __main__.main()
        return pd.read_csv(tmp_path / "out.csv")

    return run


def test_what_it_says_is_what_predict_writes(client, predict):
    table = predict()
    answer = client.post("/predict", files=files(*NUMBERS)).json()
    images = answer["images"]
    assert [one["name"] for one in images] == [f"{name}.jpg" for name in table.image_id]
    np.testing.assert_allclose([shares(one) for one in images], table[list(CLASSES)], atol=2e-6)
    for column in ("predicted", "not_sure", "melanoma_suspected"):
        assert [one[column] for one in images] == list(table[column])
    assert [" ".join(one["diagnoses"]) for one in images] == list(table.diagnoses)
    assert [one["confidence"] for one in images] == [one["probabilities"][one["predicted"]] for one in images]
    assert {one["out_of_distribution"] for one in images} == {None}
    assert len(set(table.predicted)) > 1
    assert len(set(table.melanoma_suspected)) == len(set(table.not_sure)) == 2
    model = answer["model"]
    assert model["weights"] == {name: digest(Path(f"models/{name}/model.safetensors")) for name in DECISION.recipes}
    assert model["version"] == f"second+first-{model['hash'][:8]}"
    assert (model["melanoma_threshold"], model["set_coverage"]) == (0.14, 0.9)
    assert answer["known"] == dict.fromkeys(KNOWN)


def test_age_sex_and_place_count_as_in_predict_and_for_the_request_that_brings_them(client, service, predict, tmp_path):
    pd.DataFrame([{"image_id": f"p{number}", **KNOWN} for number in NUMBERS]).to_csv(tmp_path / "known.csv")
    table, alone = predict("--metadata", str(tmp_path / "known.csv")), predict()
    answer = client.post("/predict", files=files(*NUMBERS), data=KNOWN).json()
    np.testing.assert_allclose([shares(one) for one in answer["images"]], table[list(CLASSES)], atol=2e-6)
    assert [one["predicted"] for one in answer["images"]] == list(table.predicted) != list(alone.predicted)
    assert answer["known"] == {"age": 70, "sex": "female", "localization": "back"}
    assert answer["model"]["takes_metadata"] is True
    block = service.decode(Upload("p0.jpg", photograph(0)))
    together = service.predict([Asked(block, encode(pd.DataFrame([KNOWN]))[0]), Asked(block)])  # of two requests
    found = [list(one.probabilities.values()) for one in together]
    np.testing.assert_allclose(found, [table.loc[0, list(CLASSES)], alone.loc[0, list(CLASSES)]], rtol=0, atol=2e-6)


def test_an_explanation_knows_age_sex_and_place_too(client):
    for known in (KNOWN, {}):
        predicted = client.post("/predict", files=files(*NUMBERS), data=known).json()["images"]
        explained = client.post("/explain", files=files(*NUMBERS), data=known).json()["images"]
        assert [one["diagnosis"] for one in explained] == [one["predicted"] for one in predicted]


@pytest.mark.parametrize(
    ("field", "value", "status", "told"),
    [
        ("age", "130", 422, "age '130' is not in years, 0 to 120; correct it or leave it empty"),
        ("sex", "girl", 422, "sex 'girl' is not known; give one of male, female, or leave it out"),
        ("localization", "moon", 422, "localization 'moon' is not known; give one of abdomen, acral, back, chest,"),
        ("localisation", "back", 400, "no field is called 'localisation'; there are images, age, sex, localization"),
        ("diagnosis", "mel", 400, "no field is called 'diagnosis'"),  # which /explain has
    ],
)
def test_a_field_that_says_nothing_known_is_refused(client, field, value, status, told):
    answer = client.post("/predict", files=files(1), data={field: value})
    assert answer.status_code == status
    assert error(answer).startswith(told)


def test_a_model_that_looks_at_the_photograph_alone_says_so(project, monkeypatch):
    monkeypatch.chdir(project)
    with running(serve.load_service(options("--model", "models/first"))) as client:
        known, unknown = (client.post("/predict", files=files(1), data=data).json() for data in (KNOWN, {}))
    assert known["images"] == unknown["images"]
    assert known["model"]["takes_metadata"] is False


def test_what_probabilities_and_sets_rest_on_is_said(project, service, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(project)
    said = service.model
    assert (said.calibrated, said.generated, said.set_by_class) == (True, False, DECISION.set_rule.by_class)
    save_model(tmp_path / "drawn", 1, {"prepared_size": [48, 64], "generated": True})
    said = serve.load_service(options("--model", str(tmp_path / "drawn"))).model
    assert (said.calibrated, said.generated, said.set_by_class) == (False, True, None)
    assert "drawn learned from generated images; what it says of photographs means nothing" in capsys.readouterr().err


def test_the_last_runs_views_are_those_of_its_decision(project, service, monkeypatch):
    """Whatever params.yaml says by now: threshold and sets were fitted on the predictions of those."""
    monkeypatch.chdir(project)
    path = Path("metrics/decision.json")
    kept = path.read_text()
    views = service.ensemble.members[0].options.model_copy(update={"tta": "d4"})
    try:
        load_decision(path).model_copy(update={"views": views}).save(path)
        chosen = serve.load_service(options("--last-run")).ensemble
        assert {member.options.tta for member in chosen.members} == {"d4"}
        asked = serve.load_service(options("--last-run", "--tta", "none")).ensemble
        assert {member.options.tta for member in asked.members} == {"none"}
    finally:
        path.write_text(kept)


def test_requests_at_once_are_one_inference_and_each_has_its_own_answer(client, service):
    alone = [client.post("/predict", files=files(number)).json()["images"][0] for number in NUMBERS]
    sizes = []

    def counted(block, metadata):
        sizes.append(len(block.image_ids))
        return service.predictor(block, metadata)

    together = len(NUMBERS) + 1  # with the first one, that tries the model
    with running(replace(service, predictor=counted), gather_seconds=20, batch_images=together) as other:
        with ThreadPoolExecutor(6) as pool:
            posts = [pool.submit(other.post, "/predict", files=files(number)) for number in NUMBERS]
            answers = [post.result().json()["images"][0] for post in posts]
        text = other.get("/metrics").text
    for one, same in zip(alone, answers, strict=True):
        assert one["name"] == same["name"]
        np.testing.assert_allclose(list(one["probabilities"].values()), list(same["probabilities"].values()), atol=2e-6)
    assert sizes == [together]
    assert 'dermaline_requests_total{path="/predict",status="200"} 6.0' in text
    assert f"dermaline_batch_images_sum {together}.0" in text


def test_a_photograph_that_cannot_be_used_is_named_in_its_place(client):
    broken = ("images", ("cut.jpg", photograph(2)[:-900]))
    text = ("images", ("C:\\home\\me\\notes.jpg", b"no image"))
    answer = client.post("/predict", files=[*files(1), broken, text, *files(3)])
    assert answer.status_code == 200
    one, cut, notes, other = answer.json()["images"]
    assert (one["name"], other["name"]) == ("p1.jpg", "p3.jpg")
    assert "truncated" in cut["error"]
    assert notes == {"name": "notes.jpg", "error": "no JPEG, PNG, WebP, TIFF or BMP"}
    alone = client.post("/predict", files=[broken, text])
    assert alone.status_code == 422
    assert error(alone).startswith("cut.jpg: ")


def pixels(width: int, height: int, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, form)
    return file.getvalue()


def test_the_type_is_told_by_the_content_and_what_is_too_large_or_no_form_is_refused(client):
    def post(name: str, content: bytes, field: str = "images") -> httpx.Response:
        return client.post("/predict", files=[(field, (name, content, "text/plain"))])

    assert post("lesion.txt", photograph(1, "WEBP")).status_code == 200
    assert "no JPEG" in error(post("lesion.jpg", pixels(9, 9, "GIF")))
    assert ".dng files are not read" in error(post("lesion.dng", photograph(1, "TIFF")))
    assert "51 megapixels, more than" in error(post("a.png", pixels(10_000, 5_100)))
    assert (too_large := post("a.jpg", bytes(10_000_001))).status_code == 413
    assert error(too_large).startswith("more than 10 MB")
    chunks = client.post("/predict", content=iter([bytes(10**6)] * 11), headers={"Content-Type": "multipart/form-data"})
    assert chunks.status_code in (400, 413)  # no length was said before
    head = b"--b\r\n" + PART
    assert client.post("/predict", content=iter([head, *[bytes(10**6)] * 11]), headers=FORM).status_code == 413
    assert client.post("/predict", content=head, headers=FORM).status_code == 400
    assert (many := client.post("/predict", files=files(1) * 17)).status_code == 400
    assert "Maximum number of files is 16" in error(many)
    assert error(post("a.jpg", photograph(1), field="other")) == "files belong in the field images"
    assert client.post("/predict", json={}).status_code == 415
    assert error(client.get("/predict")) == "Method Not Allowed"
    assert client.get("/../../params.yaml").status_code == client.get("/%2e%2e/app.py").status_code == 404


def test_a_jpeg_with_more_scans_than_any_camera_writes_is_refused(client):
    file = io.BytesIO()
    Image.new("RGB", (640, 480), "peru").save(file, "JPEG", progressive=True)
    head, last = file.getvalue()[:-2].rsplit(SCAN, 1)
    scans = head.count(SCAN)
    whole, bomb = (head + (SCAN + last) * (count - scans) + file.getvalue()[-2:] for count in (100, 101))
    assert client.post("/predict", files=[("images", ("a.jpg", whole))]).status_code == 200
    refused = client.post("/predict", files=[("images", ("a.jpg", bomb))])
    assert refused.status_code == 422
    assert error(refused) == "a.jpg: a JPEG of 101 scans, more than 100; save it anew"
    film = whole + np.random.default_rng(0).bytes(9_000_000)  # as telephones put one behind a photograph
    assert film.count(SCAN) > 200
    assert client.post("/predict", files=[("images", ("a.jpg", film))]).status_code == 200
    exif = b"\xff\xe1" + (2 + 300).to_bytes(2) + b"\xff\xd9" + SCAN * 149  # a thumbnail's end is not the image's
    inside = [("images", ("a.jpg", of[:2] + exif + of[2:])) for of in (whole, bomb)]
    assert [client.post("/predict", files=[one]).status_code for one in inside] == [200, 422]


def test_what_opens_a_photograph_is_what_it_was_taken_for(service, monkeypatch):
    """Formats that strangers may not send have no try at it, whatever the first look saw."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "peru").save(file, "GIF")
    monkeypatch.setattr(Upload, "read", lambda upload: upload.content)
    with pytest.raises(BadImageError, match="not an image file"):
        service.decode(Upload("a.tif", file.getvalue()))


def test_an_explanation_is_of_the_photograph_as_the_network_saw_it(client, project, monkeypatch):
    monkeypatch.chdir(project)
    unflipped = serve.load_service(options("--last-run", "--tta", "none"))  # of two patches, flips leave one
    with running(unflipped) as other:
        answer = other.post("/explain", files=files(1, 2), data={"diagnosis": "mel"}).json()
    assert [one["diagnosis"] for one in answer["images"]] == ["mel", "mel"]
    for one in answer["images"]:
        seen, heat = (Image.open(io.BytesIO(base64.b64decode(one[key]))) for key in ("photograph_jpeg", "map_png"))
        assert (seen.format, seen.size, heat.format, heat.mode) == ("JPEG", (64, 48), "PNG", "RGBA")
        assert heat.width / heat.height == pytest.approx(64 / 48, abs=0.2)
        opacity = np.asarray(heat)[..., 3]
        assert 255 >= opacity.max() > opacity.min() >= 0
        assert one["outline_png"] is None
    assert answer["model"]["has_outlines"] is False
    predicted = client.post("/predict", files=files(1, 2)).json()["images"]
    own = client.post("/explain", files=files(1, 2)).json()["images"]
    assert [one["diagnosis"] for one in own] == [one["predicted"] for one in predicted]
    assert "none of akiec, bcc" in error(client.post("/explain", files=files(1), data={"diagnosis": "wart"}))


def test_maps_are_made_of_few_photographs_at_once_and_are_those_of_each_alone(service, monkeypatch):
    seen, members = [], [*service.ensemble.members]
    torch.manual_seed(1)  # with which the map of nv is not nought everywhere
    network = Network(members[0].recipe.model_copy(update={"metadata": "film"}), pretrained=False).eval()
    torch.nn.init.normal_(network.fusion.layers[-1].weight)
    members[0] = members[0]._replace(network=network)
    sizes, numbers = service.ensemble.prepared_sizes, np.random.default_rng(0)
    images = [torch.from_numpy(numbers.integers(0, 256, (6, 3, *size), np.uint8)) for size in sizes]
    classes, metadata = torch.arange(6), encode(pd.DataFrame({"age": range(10, 70, 10)}))
    hook = members[0].network.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    maps = overlays.strengths(members, images, classes, metadata)
    hook.remove()
    assert set(seen) == {overlays.AT_ONCE, 6 - overlays.AT_ONCE}
    monkeypatch.setattr(overlays, "AT_ONCE", 1)
    np.testing.assert_allclose(maps, overlays.strengths(members, images, classes, metadata), atol=1e-5)
    assert len(np.unique(maps.max((1, 2)).round(4))) > 1  # maps that differ
    unknown = overlays.strengths(members, images, classes, MISSING.expand(6, -1))
    assert np.abs(maps - unknown).max() > 1e-2  # of the network whose features they scale
    block = service.decode(Upload("p1.jpg", photograph(1)))
    served = replace(service, ensemble=service.ensemble._replace(members=members))
    young, old = served.explain([Asked(block, known, "nv") for known in metadata[[0, -1]]])
    assert young.map_png != old.map_png


def test_no_file_is_written(client):
    opened, on = [], True

    def watch(event: str, arguments: tuple) -> None:
        if on and event == "open" and (arguments[2] or 0) & WRITING:
            opened.append(arguments[0])

    sys.addaudithook(watch)  # of this whole process, and for good: `on` ends it
    large = photograph(2, "BMP")
    assert len(large) > 2**20  # what Starlette itself puts into a temporary file
    assert client.post("/predict", files=[("images", ("a.bmp", large))]).status_code == 200
    assert client.post("/explain", files=[("images", ("a.bmp", large))]).status_code == 200
    on = False
    assert opened == []


def test_more_than_can_wait_are_told_when_to_come_back(service):
    gate = threading.Event()
    with running(held(service, gate), waiting=2) as client, ThreadPoolExecutor(2) as pool:
        accepted = [pool.submit(client.post, "/predict", files=files(number)) for number in (1, 2)]
        wait_until(lambda: "dermaline_waiting 2.0" in client.get("/metrics").text)
        refused = client.post("/predict", files=files(3))
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) > 0
        assert error(refused).startswith("too many")
        assert client.get("/health").json() == {"status": "ok"}  # which needs no place
        assert error(client.get("/ready")).startswith("not ready")
        gate.set()
        assert [post.result().status_code for post in accepted] == [200, 200]
        assert client.post("/predict", files=files(3)).status_code == 200
        assert client.get("/ready").json() == {"status": "ready"}


def test_photographs_count_beside_requests(service):
    """Sixteen of each request would not be answered in time; one request alone may have as many as it likes."""
    gate = threading.Event()
    with running(held(service, gate), photographs=3) as client, ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/predict", files=files(1, 2))
        wait_until(lambda: "dermaline_waiting 1.0" in client.get("/metrics").text)
        time.sleep(0.3)  # until it is read
        refused = client.post("/predict", files=files(3, 4))
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
        assert error(refused).startswith("too many photographs")
        second = pool.submit(client.post, "/predict", files=files(3))
        time.sleep(0.3)
        gate.set()
        assert [post.result().status_code for post in (first, second)] == [200, 200]
        assert client.post("/predict", files=files(1, 2, 3, 4)).status_code == 200


def test_a_client_that_has_gone_leaves_its_place_and_is_not_predicted(service):
    gate, seen = threading.Event(), []

    def slow(block, metadata):
        gate.wait(20)
        seen.extend(block.image_ids)
        return service.predictor(block, metadata)

    with running(replace(service, predictor=slow), waiting=1) as client:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{client.base_url}/predict", files=files(1), timeout=0.5)
        wait_until(lambda: "dermaline_waiting 0.0" in client.get("/metrics").text, 5)
        gate.set()
        wait_until(lambda: client.get("/ready").status_code == 200)
        assert client.post("/predict", files=files(2)).status_code == 200
    assert seen == ["blank", "p2.jpg"]


@pytest.mark.parametrize("asked", [1, 40], ids=["one", "many in one breath"])
def test_a_client_that_does_not_read_is_given_up(service, monkeypatch, asked):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1)
    monkeypatch.setattr(connections, "READ_SECONDS", 1)
    monkeypatch.setattr(Connection, "connection_made", small(Connection.connection_made))
    with running(service) as client, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deaf.connect((client.base_url.host, client.base_url.port))
        deaf.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * asked)
        wait_until(lambda: len(client.server.server_state.connections) == 1, 5)
        wait_until(lambda: not client.server.server_state.connections, 10)
        assert client.get("/health").status_code == 200


def small(connection_made):
    """Connections whose system keeps little for them: what is not read stays with the server."""

    def made(self, transport):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        connection_made(self, transport)

    return made


def test_what_is_not_done_in_time_is_given_up_and_its_place_is_free(service):
    gate = threading.Event()
    with running(held(service, gate), waiting=1, seconds=1.5) as client:
        late = client.post("/predict", files=files(1))
        assert (late.status_code, late.headers["Retry-After"]) == (503, "5")
        assert error(late).startswith("not answered in time")
        gate.set()
        wait_until(lambda: client.post("/predict", files=files(1)).status_code == 200)

        def dripping():
            yield b"--b\r\n"
            time.sleep(4)

        assert client.post("/predict", content=dripping(), headers=FORM).status_code == 408


@pytest.mark.parametrize(("unhurried", "status", "own_status"), [(60, 429, 400), (0.1, 200, 408)])
def test_an_upload_that_does_not_end_makes_room_for_others_in_time(service, unhurried, status, own_status):
    ended = threading.Event()

    def dripping():
        while not ended.wait(0.05):
            yield b"--b\r\n"

    with running(service, waiting=1, unhurried_seconds=unhurried) as client, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.post, "/predict", content=dripping(), headers=FORM)
        wait_until(lambda: "dermaline_waiting 1.0" in client.get("/metrics").text)
        assert client.post("/predict", files=files(1)).status_code in (429, status)
        wait_until(lambda: client.post("/predict", files=files(1)).status_code == status)
        ended.set()
        assert slow.result().status_code == own_status
        assert "dermaline_waiting 0.0" in client.get("/metrics").text


def test_connections_that_say_nothing_do_not_keep_others_out(service, monkeypatch):
    monkeypatch.setattr(connections, "MOST_SILENT", 3)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 2)
    with running(service) as client:
        host, port = client.base_url.host, client.base_url.port
        silent = [socket.create_connection((host, port), timeout=5) for _ in range(5)]
        assert silent[0].recv(1) == b""  # the oldest of more than three
        silent[-1].sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        assert client.get("/health").status_code == 200
        begun = time.monotonic()
        assert silent[-1].recv(1) == b""  # its head never ended
        assert time.monotonic() - begun < 4
        with httpx.Client(base_url=client.base_url, timeout=30) as other:  # whose connection is not about to be closed
            answer = other.post("/predict", content=halved(lambda: time.sleep(2.5)), headers=FORM)
        assert answer.status_code == 200  # it has said what it wants
        for one in silent:
            one.close()


def test_what_lies_within_a_request_of_two_lengths_is_no_request(client):
    within = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    lengths = b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(within))
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=5) as one:
        one.sendall(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n" + lengths + within)
        answer = b"".join(iter(lambda: one.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_token_guards_all_but_the_page_and_the_probes(service):
    with running(service, TOKEN) as client:
        for path in ("/", "/app.js", "/style.css", "/health"):
            assert client.get(path).status_code == 200
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer é".encode()}):
            refused = client.post("/predict", files=files(1), headers=given)
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "token" in error(refused)
            assert client.get("/metrics", headers=given).status_code == 401
        own = {"Authorization": f"Bearer {TOKEN}"}
        assert client.post("/predict", files=files(1), headers=own).status_code == 200
        assert 'status="401"' in client.get("/metrics", headers=own).text


def test_other_sites_may_not_ask_and_every_answer_says_what_a_browser_may_do(client):
    other = client.post("/predict", files=files(1), headers={"Sec-Fetch-Site": "cross-site"})
    assert other.status_code == 403
    for response in (other, client.get("/"), client.get("/nowhere"), client.post("/predict", files=files(1))):
        assert response.headers["Content-Security-Policy"].startswith("default-src 'self'; ")
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in response.headers
    assert error(client.get("/nowhere")) == "Not Found"


def test_a_link_on_another_site_opens_the_page_and_nothing_else(client):
    site = {"Sec-Fetch-Site": "cross-site"}
    for path in FILES:
        assert client.get(path, headers=site).status_code == 200
        assert client.post(path, headers=site).status_code == 403
    for path in ("/metrics", "/openapi.json", "/ready", "/nowhere"):
        assert client.get(path, headers=site).status_code == 403


def test_without_a_token_only_this_machines_own_names_are_answered(service, client):
    for host in ("localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000"):
        assert client.get("/health", headers={"Host": host}).status_code == 200
    foreign = ("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "")
    for host in foreign:
        for refused in (client.get("/", headers={"Host": host}), client.get("/health", headers={"Host": host})):
            assert refused.status_code == 403
            assert "localhost" in error(refused)
    assert client.post("/predict", files=files(1), headers={"Host": foreign[0]}).status_code == 403
    with running(service, TOKEN) as other:
        assert other.get("/health", headers={"Host": foreign[0]}).status_code == 200


def test_a_failure_of_the_server_is_one_line_without_a_trace(service):
    def failing(block, metadata):
        raise RuntimeError(f"secret of {Path.home()}/models")

    with running(replace(service, predictor=failing)) as client:
        answer = client.post("/predict", files=files(1))
        assert answer.status_code == 500
        assert error(answer) == "the server failed; its log says why"
        assert answer.headers["connection"] == "close"  # as the server does: the next request has another
        assert client.get("/ready").status_code == 503


def test_openapi_describes_forms_answers_and_errors_with_examples(client):
    api = client.get("/openapi.json").json()
    assert {"/predict", "/explain", "/health", "/ready", "/metrics"} == set(api["paths"])
    for path in ("/predict", "/explain"):
        post = api["paths"][path]["post"]
        assert "images" in post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
        assert {"200", "400", "401", "403", "408", "413", "415", "422", "429", "500", "503"} == set(post["responses"])
    for name in ("Predictions", "Explanations"):
        (example,) = api["components"]["schemas"][name]["examples"]
        assert set(example) == {"note", "model", "known", "images"}
    seen = client.post("/predict", files=files(1)).json()
    (shown,) = api["components"]["schemas"]["Predictions"]["examples"]
    assert (shown["model"].keys(), shown["images"][0].keys()) == (seen["model"].keys(), seen["images"][0].keys())


def test_what_was_accepted_is_answered_before_the_end(service):
    gate = threading.Event()
    with running(held(service, gate)) as client, ThreadPoolExecutor(1) as pool:
        post = pool.submit(client.post, "/predict", files=files(1))
        wait_until(lambda: "dermaline_waiting 1.0" in client.get("/metrics").text)
        client.server.should_exit = True
        wait_until(lambda: not client.server.servers[0].is_serving())
        with pytest.raises(httpx.TransportError):
            httpx.get(client.base_url.join("/health"))
        gate.set()
        assert post.result().json()["images"][0]["name"] == "p1.jpg"


def answers(address: str) -> bool:
    """Whether a server can be reached."""
    try:
        return httpx.get(f"{address}/health", timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def test_the_command_serves_until_sigterm(project, tmp_path):
    gate = threading.Event()
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    words = ["--last-run", "--device", "cpu", "--port", "0", "--token-file", str(tmp_path / "token"), "--tta", "none"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "dermaline", "serve", *words]
    process = subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        metrics = partial(httpx.get, f"{address}/metrics", timeout=60)
        with ThreadPoolExecutor(1) as pool:
            body = halved(lambda: gate.wait(20))
            post = pool.submit(httpx.post, f"{address}/predict", content=body, headers=headers | FORM, timeout=60)
            wait_until(lambda: "dermaline_waiting 1.0" in metrics(headers=headers).text)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: not answers(address))
            gate.set()
            assert post.result().json()["images"][0]["name"] == "a.jpg"
        assert process.wait(20) == -signal.SIGTERM
    finally:
        process.kill()
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        *(("--max-waiting", value, "give a whole number from 1 on") for value in ("0", "-1", "1.5", "x")),
        *(("--timeout", value, "give a number above 0") for value in ("0", "-3", "nan", "inf", "x")),
    ],
)
def test_a_limit_that_lets_nothing_through_is_refused(option, value, wanted, capsys):
    with pytest.raises(SystemExit):
        options(option, value)
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"argument {option}: '{value}': {wanted}")


def test_others_are_served_only_with_a_token_and_a_warning(project, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(project)
    path = tmp_path / "token"
    with pytest.raises(DermalineError, match=r"--host 0\.0\.0\.0: others can reach it, so give --token-file"):
        serve.main(options("--last-run", "--host", "0.0.0.0"))
    for text in ("short", "two words of some length"):
        path.write_text(text)
        with pytest.raises(DermalineError, match="token: no token; write one word of 16"):
            serve.main(options("--last-run", "--token-file", str(path)))
    path.write_text(TOKEN)
    with pytest.raises(DermalineError, match=r"can't be listened on .*; try others"):
        serve.main(options("--last-run", "--token-file", str(path), "--host", "192.0.2.1"))
    assert "no TLS here" in capsys.readouterr().err


def test_the_batcher_keeps_order_tells_of_failures_and_leaves_out_what_was_given_up():
    def doubled(items):
        return [2 * item for item in items]

    def failing(items):
        raise ValueError(len(items))

    batcher, sizes = Batcher(60, 4, lambda count: sizes.append(count)), []
    futures = [batcher.submit(doubled, [1, 2]), batcher.submit(failing, [0]), batcher.submit(doubled, [3])]
    given_up = batcher.submit(doubled, [4])
    given_up.cancel()
    assert [futures[at].result(20) for at in (0, 2)] == [[2, 4], [6]]
    with pytest.raises(ValueError, match="1"):
        futures[1].result(20)
    last = batcher.submit(doubled, [5])
    batcher.close()
    assert last.result(0) == [10]
    assert sizes == [3, 1]


def test_in_onnxruntime_it_predicts_in_fp32_and_explains(project, monkeypatch, tmp_path):
    """One photograph, and more at once than the first request had."""
    with FakeTensorMode():  # this thread lives on, those of the servers end: see OnnxNetwork
        pass
    monkeypatch.chdir(project)
    for name, precision in (("half", "bf16-mixed"), ("full", "32-true")):
        save_model(tmp_path / name, 2, {"prepared_size": [48, 64]}, precision=precision)
    found = {}
    for name, backend in (("full", "torch"), ("half", "torch"), ("half", "onnx")):
        served = serve.load_service(options("--model", str(tmp_path / name), "--backend", backend))
        with running(served) as client:
            answers = [client.post("/predict", files=files(*numbers)).json() for numbers in ((NUMBERS[0],), NUMBERS)]
            explained = client.post("/explain", files=files(NUMBERS[0]))
        images = [image for answer in answers for image in answer["images"]]
        found[name, backend] = np.array([[image["probabilities"][dx] for dx in CLASSES] for image in images])
    assert (explained.status_code, explained.json()["images"][0]["diagnosis"]) == (200, images[0]["predicted"])
    np.testing.assert_allclose(found["half", "onnx"], found["full", "torch"], atol=1e-5)
    assert np.abs(found["half", "torch"] - found["full", "torch"]).max() > 1e-4


def test_a_network_without_maps_says_so(project, monkeypatch, tmp_path):
    recipe = tiny.recipe(backbone="mixer_s32_224", drop_path=0.0, weights="none", size=(224, 224))
    save(tmp_path / "mixer", Network(recipe, pretrained=False).state_dict(), recipe, {})
    monkeypatch.chdir(project)
    with running(serve.load_service(options("--model", str(tmp_path / "mixer"), "--tta", "none"))) as client:
        answer = client.post("/explain", files=files(1), data={"diagnosis": "nv"})
    assert answer.status_code == 422
    assert error(answer) == "mixer_s32_224: its last layer gives no maps, so there is nothing to show"


def test_with_networks_for_outlines_beside_the_models_an_explanation_has_the_outline(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project)
    shutil.copytree("models/first", tmp_path / "first")
    options_of = load(Segment, "segment").model_copy(update={"size": (32, 64), "precision": "32-true"})
    torch.manual_seed(0)
    unet = UNet(options_of, pretrained=False).state_dict()
    segmentation.save(tmp_path / "segmentation", [unet], options_of, {})
    with running(serve.load_service(options("--model", str(tmp_path / "first"), "--tta", "none"))) as client:
        answer = client.post("/explain", files=files(1), data={"diagnosis": "nv"}).json()
    assert answer["model"]["has_outlines"] is True
    line = Image.open(io.BytesIO(base64.b64decode(answer["images"][0]["outline_png"])))
    assert (line.size, line.mode) == ((64, 48), "RGBA")


@pytest.mark.parametrize("facts", ["{", '{"segment": {"of": "an older version"}, "networks": 1}'])
def test_broken_networks_for_outlines_are_noted_and_the_rest_is_served(project, monkeypatch, tmp_path, capsys, facts):
    monkeypatch.chdir(project)
    shutil.copytree("models/first", tmp_path / "first")
    (tmp_path / "segmentation").mkdir()
    (tmp_path / "segmentation" / segmentation.FACTS).write_text(facts)
    found = serve.load_service(options("--model", str(tmp_path / "first")))
    assert (found.outliner, found.model.has_outlines) == (None, False)
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith(f"note: explanations have no outlines: {tmp_path / 'segmentation'}: no trained U-Nets")


def test_a_model_that_wants_photographs_larger_than_any_memory_is_refused(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project)
    shutil.copytree("models/first", tmp_path / "first")
    known = json.loads((tmp_path / "first/recipe.json").read_text())
    (tmp_path / "first/recipe.json").write_text(json.dumps(known | {"prepared_size": [10**6, 10**6]}))
    with pytest.raises(DermalineError, match=r"first/recipe\.json: prepared_size\.0: 1000000 is outside 16 to 4096"):
        serve.load_service(options("--model", str(tmp_path / "first")))


def test_a_network_whose_sums_overflow_is_not_ready_and_says_so(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project)
    shutil.copytree("models/first", tmp_path / "first")
    weights = {name: value * 1e30 for name, value in load_file(tmp_path / "first/model.safetensors").items()}
    save_file(weights, tmp_path / "first/model.safetensors")
    service = serve.load_service(options("--model", str(tmp_path / "first"), "--tta", "none"))
    with pytest.raises(DermalineError, match="first: its probabilities are no numbers; train it anew"):
        service.predict([service.blank()])


def test_models_of_one_name_are_refused_for_answers_could_not_tell_them_apart(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project)
    other = shutil.copytree("models/second", tmp_path / "first")
    with pytest.raises(DermalineError, match="two are called first"):
        serve.load_service(options("--model", "models/first", str(other)))


def test_other_views_have_another_hash(project, monkeypatch):
    monkeypatch.chdir(project)
    asked = ((), ("--tta", "d4"), ("--quick",), ())
    hashes = [serve.load_service(options("--model", "models/first", *views)).model.hash for views in asked]
    assert hashes[0] == hashes[3]
    assert len(set(hashes)) == 3


def test_the_outline_is_a_white_line_on_the_border_with_black_around_it():
    rows, columns = np.indices((80, 100))
    distance = np.hypot(rows - 40, columns - 50) - 25
    pixels = np.asarray(overlays.outline(distance < 0))
    white, clear = (pixels == 255).all(axis=2), pixels[..., 3] == 0
    assert np.abs(distance[white]).max() < 1.5
    assert white[np.abs(distance) < 0.5].all()
    assert clear[np.abs(distance) > 4.5].all()
    assert not clear[np.abs(distance) < 2].any()
