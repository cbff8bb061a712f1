"""A download ends whole and checked, or not at all, whatever the network does."""

import hashlib
import shutil
from collections import namedtuple

import pytest

from dermaline.base import files
from dermaline.base.errors import DermalineError
from dermaline.sources import fetch
from tests.serving import Reply, Server

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()
SIZE = len(CONTENT)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.001)
    with Server() as site:
        site.files["/file"] = CONTENT
        yield site


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_finished_file_is_whole_alone_and_reused(server, tmp_path):
    target = tmp_path / "folder" / "file"
    for _ in range(2):
        assert fetch.download(f"{server.url}/file", target, size=SIZE, md5=MD5) == target
        assert target.read_bytes() == CONTENT
        assert left(target.parent) == ["file"]
    assert len(server.log) == 1


def test_a_broken_connection_costs_only_the_missing_bytes(server, tmp_path):
    server.cuts = [300_000, 400_000]
    fetch.download(f"{server.url}/file", tmp_path / "file", size=SIZE, md5=MD5)
    first, *others = server.log
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert (first.range, [request.headers["if-range"] for request in others]) == (None, ['"one"', '"one"'])
    kept = int(others[0].range.removeprefix("bytes=").removesuffix("-"))
    assert 300_000 - fetch.CHUNK < kept <= 300_000
    assert others[1].sent == SIZE - int(others[1].range.removeprefix("bytes=").removesuffix("-"))
    assert sum(request.sent for request in server.log) < SIZE + 2 * fetch.CHUNK


def test_a_later_run_goes_on_where_the_last_one_gave_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "RETRIES", 1)
    server.cuts = [300_000, 300_000]
    with pytest.raises(DermalineError, match=r"broken off 2 times .* MB are kept, run again"):
        fetch.download(f"{server.url}/file", tmp_path / "file", md5=MD5)
    assert "file" not in left(tmp_path)
    fetch.download(f"{server.url}/file", tmp_path / "file", md5=MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.log[-1].sent < SIZE - 500_000


@pytest.mark.parametrize("honours_if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_begun_anew(server, tmp_path, honours_if_range):
    server.honours_if_range = honours_if_range
    server.cuts = [300_000]
    other = bytes(reversed(CONTENT))
    server.after_each = lambda: (server.files.update({"/file": other}), server.etags.update({"/file": '"two"'}))
    fetch.download(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == other


def test_a_server_without_ranges_is_asked_for_all_again(server, tmp_path):
    server.ranges = False
    server.cuts = [300_000]
    fetch.download(f"{server.url}/file", tmp_path / "file", md5=MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [request.sent for request in server.log] == [300_000, SIZE]


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ({"md5": "0" * 32}, f"has MD5 {MD5}, expected {'0' * 32}"),
        ({"size": SIZE + 1}, f"has {SIZE} bytes, expected {SIZE + 1}"),
        ({"size": SIZE - 1}, f"has {SIZE} bytes, expected {SIZE - 1}"),
    ],
)
def test_a_wrong_file_is_deleted_and_named(server, tmp_path, expected, said):
    with pytest.raises(DermalineError, match=f"^{server.url}/file: {said}; the damaged download was deleted"):
        fetch.download(f"{server.url}/file", tmp_path / "file", **expected)
    assert left(tmp_path) == []


def test_a_damaged_finished_file_is_downloaded_again(server, tmp_path):
    (tmp_path / "file").write_bytes(b"damaged")
    fetch.download(f"{server.url}/file", tmp_path / "file", md5=MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_small_disk_is_told_before_a_byte_is_written(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 500_000))
    with pytest.raises(DermalineError, match=r"folder: 1\.0 MB needed, 0\.5 MB free; make room"):
        fetch.download(f"{server.url}/file", tmp_path / "folder" / "file", size=SIZE)
    assert not any(path.stat().st_size > 100 for path in (tmp_path / "folder").iterdir())


def test_a_refusal_is_final_and_a_hiccup_is_not(server, tmp_path):
    with pytest.raises(DermalineError, match=r"/none: the server answered 404 Not Found"):
        fetch.download(f"{server.url}/none", tmp_path / "none")
    assert len(server.log) == 1
    server.statuses = [503, 429]
    fetch.download(f"{server.url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (
            Reply(403, b"<style>p {}</style><!-- <p>no</p> --><P>A &amp; B\n\x1b[31m stop</P>"),
            "refuses (403 Forbidden: A & B [31m stop)",
        ),
        (Reply.json({"message": "no\r\nway"}, 401), "refuses (401 Unauthorized: no way)"),
        (Reply.json({"message": {"why": "no"}}, 400), "answered 400 Bad Request: {'why': 'no'}"),
        (Reply.json(["no"], 400), "answered 400 Bad Request"),
        (Reply(400, b"\xff" + b"x" * 10**6), "answered 400 Bad Request: \ufffd" + "x" * 199),
        (Reply(404), "answered 404 Not Found"),
    ],
)
def test_a_server_s_own_words_come_as_one_short_line(server, tmp_path, reply, said):
    server.routes["/file"] = lambda seen: reply
    with pytest.raises(DermalineError) as problem:
        fetch.download(f"{server.url}/file", tmp_path / "file", otherwise="ask")
    assert str(problem.value) == f"{server.url}/file: the server {said}; ask"


def test_a_hiccup_that_lasts_is_quoted_and_we_say_who_asks(server, tmp_path):
    server.routes["/file"] = lambda seen: Reply(503, b"<title>down until noon</title>")
    with pytest.raises(DermalineError, match=r"broken off 7 times \(the server answered 503 .*: down until noon\); 0"):
        fetch.download(f"{server.url}/file", tmp_path / "file")
    assert {request.headers["user-agent"] for request in server.log} == {fetch.AGENT}
    assert fetch.AGENT.startswith("dermaline (")


def test_a_redirect_is_followed_on_its_own_host_or_to_the_storage_and_nowhere_else(server, tmp_path):
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    server.routes["/here"] = lambda seen: Reply(302, b"", {"Location": "/file?signature=planted"})
    server.routes["/there"] = lambda seen: Reply(302, b"", {"Location": f"{elsewhere}/file?signature=planted"})
    assert fetch.download(f"{server.url}/here", tmp_path / "here").read_bytes() == CONTENT
    stored = fetch.download(f"{server.url}/there", tmp_path / "there", session=fetch.Session("localhost"))
    assert stored.read_bytes() == CONTENT
    asked = len(server.seen("/file"))
    with pytest.raises(DermalineError) as problem:
        fetch.download(f"{server.url}/there", tmp_path / "refused")
    said = f"{server.url}/there: redirected to http://localhost, which is not trusted; take another data.source"
    assert str(problem.value) == said
    assert len(server.seen("/file")) == asked
    assert left(tmp_path) == ["here", "there"]


def test_a_redirect_from_encryption_to_none_is_refused():
    fetch.require_trusted("http://a.example/x", "https://a.example/x", None)
    with pytest.raises(DermalineError, match=r"redirected to http://a\.example, which is not trusted"):
        fetch.require_trusted("https://a.example/x", "http://a.example/x?signature=planted", "a.example")


def test_what_an_address_is_signed_with_is_in_no_error(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "RETRIES", 0)
    with Server() as gone:
        pass
    server.routes["/gone"] = lambda seen: Reply(302, b"", {"Location": f"{gone.url}/file?signature=planted"})
    with pytest.raises(DermalineError, match="broken off 1 times") as problem:
        fetch.download(f"{server.url}/gone", tmp_path / "file")
    assert "planted" not in str(problem.value)


def test_a_server_that_is_not_there_is_one_line(server, tmp_path):
    with Server() as gone:
        pass
    with pytest.raises(DermalineError, match=f"^{gone.url}/file: broken off 7 times") as problem:
        fetch.download(f"{gone.url}/file", tmp_path / "file")
    assert "\n" not in str(problem.value)
    with pytest.raises(DermalineError, match=r"cannot be downloaded .*; check the address"):
        fetch.download("nonsense", tmp_path / "file")


def test_downloads_lie_in_the_main_checkout(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert files.scratch("a", "b") == tmp_path / ".scratch" / "a" / "b"
