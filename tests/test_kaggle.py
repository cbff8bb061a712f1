"""The Kaggle source: the real client, run by the real stage in a process of its own, against a loopback server."""

import base64
import json

import pytest

from dermaline.sources import kaggle
from tests.serving import Reply, Server, contents, kaggle_archive, run_download

REQUEST = "/api/v1/datasets.DatasetApiService/DownloadDataset"
INTROSPECT = "/api/v1/security.OAuthService/IntrospectToken"
STORAGE = "/storage/archive.zip"
DATA = {"source": "kaggle", "kaggle": {"version": 2}}
KEY = {"KAGGLE_USERNAME": "someone", "KAGGLE_KEY": "secret"}
BASIC = "Basic " + base64.b64encode(b"someone:secret").decode()


class Kaggle(Server):
    """Kaggle's API and the storage it redirects to, which the client reaches through a proxy: its address is fixed."""

    def __init__(self):
        super().__init__()
        self.files[STORAGE] = kaggle_archive()
        self.routes[REQUEST] = self.redirect
        self.routes[INTROSPECT] = self.introspect
        self.storage = f"http://{kaggle.STORAGE}"

    def redirect(self, seen):
        if seen.headers.get("authorization") not in (BASIC, "Bearer good"):
            return Reply.json({"code": 401, "message": "Unauthenticated"}, 401)
        if json.loads(seen.body).get("datasetVersionNumber") != 2:
            return Reply.json({"code": 404, "message": "Not found"}, 404)
        return Reply(302, b"", {"Location": self.storage + STORAGE})

    def introspect(self, seen):
        good = json.loads(seen.body)["token"] == "good"
        return Reply.json({"active": good, "username": "someone" if good else ""})

    def download(self, folder, data=DATA, **environment):
        proxy = {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "http_proxy": self.url, "no_proxy": ""}
        return run_download(folder, data, **proxy, **environment)


@pytest.fixture
def server():
    with Kaggle() as site:
        yield site


def test_the_pinned_version_is_downloaded_once_also_over_a_broken_connection(server, tmp_path):
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle" / "access_token").write_text("good\n")
    server.cuts = [1_000_000]
    assert server.download(tmp_path) == (0, [])
    asked = json.loads(server.seen(REQUEST)[0].body)
    assert (asked["ownerSlug"], asked["datasetSlug"]) == ("kmader", "skin-cancer-mnist-ham10000")
    assert asked["datasetVersionNumber"] == 2
    *_, last = server.seen(STORAGE)
    assert last.sent == len(kaggle_archive()) - int(last.range.removeprefix("bytes=").removesuffix("-"))
    raw = contents(tmp_path / "data" / "raw")
    assert list(raw) == ["images.zip", "metadata.csv"]
    server.log.clear()
    (tmp_path / ".kaggle" / "access_token").unlink()
    assert server.download(tmp_path) == (0, [])
    assert server.log == []
    assert contents(tmp_path / "data" / "raw") == raw


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "error: Kaggle: no valid credentials found; make a token at kaggle.com -> Settings -> API"),
        ({"KAGGLE_API_TOKEN": "bad"}, "error: Kaggle: no valid credentials found; make a token at"),
        (
            KEY | {"KAGGLE_KEY": "wrong"},
            "refused (401: Unauthenticated), the credentials are wrong or expired, or have no right to it; make a",
        ),
    ],
    ids=["none", "wrong token", "wrong key"],
)
def test_missing_or_wrong_credentials_are_one_line(server, tmp_path, environment, said):
    status, lines = server.download(tmp_path, **environment)
    assert (status, len(lines)) == (1, 1)
    assert said in lines[0]
    assert "KAGGLE_USERNAME and KAGGLE_KEY" in lines[0]
    assert not (tmp_path / "data").exists()


def test_an_unknown_version_is_one_line(server, tmp_path):
    status, lines = server.download(tmp_path, DATA | {"kaggle": {"version": 99}}, **KEY)
    what = "kmader/skin-cancer-mnist-ham10000 version 99: no such data set or version"
    assert (status, lines) == (1, [f"error: Kaggle: {what}; check data.kaggle in params.yaml"])


def test_what_is_no_zip_is_one_line(server, tmp_path):
    server.files[STORAGE] = b"<html>down for maintenance</html>" * 100
    status, lines = server.download(tmp_path, **KEY)
    assert (status, len(lines)) == (1, 1)
    assert "what came is not the whole zip; it was deleted, run again" in lines[0]
    assert list(tmp_path.glob(".scratch/downloads/kaggle/*")) == []


def test_a_redirect_to_another_host_than_kaggle_s_storage_is_refused(server, tmp_path):
    server.storage = "http://storage.example"
    status, (line,) = server.download(tmp_path, **KEY)
    assert status == 1
    assert "redirected to http://storage.example, which is not trusted" in line
    assert "authorization" not in server.seen(STORAGE)[0].headers
    assert not (tmp_path / "data").exists()
    assert list(tmp_path.glob(".scratch/downloads/kaggle/*")) == []


def test_what_an_address_is_signed_with_is_not_said(server, tmp_path):
    server.routes[REQUEST] = lambda seen: Reply(302, b"", {"Location": f"{server.storage}/gone?X-Signature=planted"})
    status, (line,) = server.download(tmp_path, **KEY)
    assert status == 1
    assert "planted" not in line
