"""The Dataverse source against a server that answers as Dataverse does, with all of HAM10000 in small."""

import hashlib
import json
import re

import pandas as pd
import pytest
from parameters import put_parameters
from ruamel.yaml import YAML

from dermaline import __main__
from dermaline.base.errors import DermalineError
from dermaline.params import whole
from dermaline.params.external import External
from dermaline.sources import dataverse, fetch
from dermaline.sources.dataverse import CHECK, OTHERS
from dermaline.user_files.answers import read_truth
from tests.serving import Reply, Server, contents, dataverse_files, run_download, start_download, table, wait_until

LISTING = "/api/datasets/:persistentId/versions/:latest-published/files"
PART_2 = "HAM10000_images_part_2.zip"
TABLE = "HAM10000_metadata.tab"
SENTENCE = "Your IP address is not welcome here"


class Dataverse(Server):
    """A server with the four files under ids of its own; the table's size and digest are wrong, as on the real one."""

    def __init__(self):
        super().__init__()
        self.listing = []
        self.ids = {}
        for number, (name, content) in enumerate(dataverse_files().items(), start=41):
            self.ids[name] = f"/api/access/datafile/{number}"
            self.files[self.ids[name]] = content
            digest = hashlib.md5(content).hexdigest() if name != TABLE else "f" * 32
            file = {"id": number, "filename": name, "filesize": len(content), "md5": digest}
            file |= {"checksum": {"type": "MD5", "value": digest}, "tabularData": name == TABLE}
            self.listing.append({"label": name, "dataFile": file | ({"filesize": 7} if name == TABLE else {})})
        self.routes[LISTING] = lambda seen: Reply.json({"status": "OK", "data": self.listing})

    @property
    def data(self):
        return {"source": "dataverse", "dataverse": {"server": self.url, "doi": "doi:10.1/HAM"}}

    def fetch(self, folder):
        data = whole.read().data
        asked = data.dataverse.model_copy(update=self.data["dataverse"])
        dataverse.fetch(data.model_copy(update={"dataverse": asked}), folder)


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "PAUSE", 0.001)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with Dataverse() as site:
        yield site


def test_files_are_found_by_name_downloaded_once_and_the_table_is_judged_by_its_content(server, tmp_path, capsys):
    server.fetch(tmp_path / "raw")
    assert "10015 images, 7470 lesions, 10015 masks" in capsys.readouterr().out
    table_of_raw = pd.read_csv(tmp_path / "raw" / "metadata.csv")
    assert len(table_of_raw) == 10_015
    assert set(table_of_raw["dataset"]) == {"vidir"}  # which Kaggle's table has not: a slice to score
    assert server.seen(LISTING)[0].query == {"persistentId": ["doi:10.1/HAM"]}
    server.log.clear()
    server.files[server.ids[TABLE]] = table(10_015, 7469, dataverse=True)
    with pytest.raises(DermalineError, match="10015 images of 7469 lesions, expected 10015 images of 7470"):
        server.fetch(tmp_path / "again")
    assert [request.path for request in server.log] == [LISTING, server.ids[TABLE]]


def test_a_killed_stage_leaves_no_raw_folder_and_the_next_one_goes_on(tmp_path):
    with Dataverse() as server:
        server.stall_on = server.ids[PART_2]
        process = start_download(tmp_path, server.data)
        begun = f".scratch/downloads/dataverse/*/{PART_2}.part"
        wait_until(lambda: any(part.stat().st_size > 2 * fetch.CHUNK for part in tmp_path.glob(begun)))
        process.kill()
        process.communicate(timeout=10)
        assert not (tmp_path / "data").exists()
        server.stall_on = None
        status, lines = run_download(tmp_path, server.data)
        last = server.seen(server.ids[PART_2])[-1]
        assert (status, lines) == (0, [])
        assert last.sent == len(server.files[last.path]) - int(last.range.removeprefix("bytes=").removesuffix("-"))
        assert len(server.seen(server.ids["HAM10000_images_part_1.zip"])) == 1
    assert list(contents(tmp_path / "data" / "raw")) == ["images.zip", "masks.zip", "metadata.csv"]


def test_wrong_bytes_are_not_accepted(server, tmp_path):
    path = server.ids[PART_2]
    server.files[path] = bytes(len(server.files[path]))
    with pytest.raises(DermalineError, match=r"has MD5 .*, expected .*; the damaged download was deleted, run again"):
        server.fetch(tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (
            Reply.json({"status": "ERROR", "message": "No such dataset."}, 404),
            f"404 Not Found: No such dataset.; {CHECK}",
        ),
        (Reply.json({"status": "OK", "data": []}), f"has no file HAM10000_metadata; {CHECK}"),
        (Reply(202, b"<html>are you human?</html>"), f"the server answered 202 Accepted: are you human?; {OTHERS}"),
        (Reply.json({"data": None}), f"the server answered 200 OK; {OTHERS}"),
        (Reply.json([]), f"the server answered 200 OK; {OTHERS}"),
        (Reply(503, b"back at <b>noon</b>"), f"the server answered 503 Service Unavailable: back at noon; {OTHERS}"),
    ],
)
def test_a_strange_listing_is_one_line(server, tmp_path, reply, said):
    server.routes[LISTING] = lambda seen: reply
    with pytest.raises(DermalineError, match=f"^{server.url}: .*{re.escape(said)}$"):
        server.fetch(tmp_path / "raw")


@pytest.mark.parametrize("body", [json.dumps({"message": SENTENCE}), f"<html><p>{SENTENCE}</p></html>", SENTENCE])
@pytest.mark.parametrize("path", [LISTING, "/api/access/datafile/43"])
def test_a_server_that_refuses_is_quoted_and_the_other_sources_are_named(server, tmp_path, path, body):
    server.routes[path] = lambda seen: Reply(403, body.encode())
    with pytest.raises(
        DermalineError, match=f"the server refuses \\(403 Forbidden: {SENTENCE}\\); {OTHERS}$"
    ) as problem:
        server.fetch(tmp_path / "raw")
    assert "params.yaml" not in str(problem.value)
    assert "data.source=kaggle" in str(problem.value)
    assert "data.source=local" in str(problem.value)


def test_a_file_behind_a_guestbook_is_one_line_with_the_server_s_message(server, tmp_path):
    message = "You may not download this file without the required Guestbook response."
    server.routes[server.ids[PART_2]] = lambda seen: Reply.json({"status": "ERROR", "message": message}, 400)
    said = f"^{server.url}{server.ids[PART_2]}: the server answered 400 Bad Request: {message}; {OTHERS}$"
    with pytest.raises(DermalineError, match=said):
        server.fetch(tmp_path / "raw")


def test_a_server_that_bars_requests_own_name_serves_us(server, tmp_path):
    served = server.answer
    server.answer = lambda seen: Reply(403) if "requests" in seen.headers["user-agent"] else served(seen)
    server.fetch(tmp_path / "raw")
    assert len(server.log) == 5
    assert {request.headers["user-agent"] for request in server.log} == {fetch.AGENT}


def test_the_challenge_s_test_photographs_are_brought_by_name(server, tmp_path, monkeypatch, capsys):
    """Beside HAM10000, with the truth as Dataverse hands out tables; what is printed makes valid parameters."""
    content = {
        "ISIC2018_Task3_Test_Images.zip": b"a zip",
        "ISIC2018_Task3_Test_GroundTruth.tab": b"image_id\tdx\nA\tnv\n",
    }
    for number, (name, body) in enumerate(content.items(), start=61):
        server.files[f"/api/access/datafile/{number}"] = body
        file = {"id": number, "filename": name, "filesize": len(body), "md5": hashlib.md5(body).hexdigest()}
        server.listing.append({"label": name, "dataFile": file | {"tabularData": name.endswith(".tab")}})
    monkeypatch.chdir(tmp_path)
    put_parameters(tmp_path, {"data.dataverse": server.data["dataverse"]})
    monkeypatch.setattr("sys.argv", ["dermaline", "challenge", "there"])
    __main__.main()
    assert (tmp_path / "there/images.zip").read_bytes() == b"a zip"
    assert read_truth(tmp_path / "there/truth.csv").table.dx.tolist() == ["nv"]
    said = YAML(typ="safe").load(capsys.readouterr().out.split("params.yaml:\n")[1])
    assert External.model_validate(said["external"]["isic2018"]).truth == "there/truth.csv"
