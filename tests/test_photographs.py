"""Finding photographs: every format, what can't be read, linked folders, and files of one name."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from closure import ROOT
from PIL import Image

from dermaline.base.errors import DermalineError
from dermaline.data.decode import SUFFIXES, BadImageError
from dermaline.user_files.photographs import decoded, find

links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
OPENED = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".TIFF", ".bmp", ".gif", ".jp2", ".avif", ".ppm", ".tga")


def picture(number: int = 0, suffix: str = ".png") -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, Image.registered_extensions()[suffix.lower()])
    return file.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def ids(*paths: Path) -> list[str]:
    return [one.image_id for one in find(paths)]


def test_every_format_that_pillow_decodes_is_taken(tmp_path):
    files = {f"{number:02}{suffix}": picture(number, suffix) for number, suffix in enumerate(OPENED)}
    (block,) = decoded(find([write(tmp_path, files)]), [(12, 16)], 50)
    assert block.image_ids == [f"{number:02}" for number in range(len(OPENED))]
    assert not block.bad


def test_what_is_no_photograph_for_pillow_is_not_taken():
    assert {suffix.lower() for suffix in OPENED} <= SUFFIXES
    assert not SUFFIXES & {".pdf", ".eps", ".ps", ".mpg", ".h5", ".wmf", ".emf", ".fli", ".ico", ".txt", ""}


@links
def test_an_image_that_can_not_be_read_is_named_and_other_files_are_counted(tmp_path, capsys):
    names = ("a.HEIC", "b.dng", "c.CR2", "notes.txt", "more.TXT", "film.mp4", "README", "scan.pdf", ".DS_Store")
    write(tmp_path, {"good.png": picture(), **dict.fromkeys(names, b"something")})
    (tmp_path / "b.dng").write_bytes(picture(1, ".tif"))  # a raw file has a thumbnail that Pillow would open
    for name in ("gone.jpg", "gone"):
        (tmp_path / name).symlink_to("nowhere.jpg")
    (block,) = decoded(find([tmp_path]), [(12, 16)], 50)
    assert block.image_ids == ["good"]
    assert {Path(name).name: reason.split(";")[0] for name, reason in block.bad.items()} == {
        "a.HEIC": ".HEIC files are not read",
        "b.dng": ".dng files are not read",
        "c.CR2": ".CR2 files are not read",
        "gone.jpg": "a link that leads nowhere",
    }
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith(f"note: passed over in {tmp_path}, being no images: 2 of ")
    assert sorted(note.split(": ")[-1].split(", ")) == ["1 of .mp4", "1 of .pdf", "2 of .txt", "2 of no suffix"]


def test_the_entries_of_a_zip_are_told_apart_as_files_are(tmp_path, capsys):
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("in/a.webp", "in/b.heic", "in/c.zip", "in/notes.txt", "__MACOSX/in/._a.webp", "/d.png"):
            archive.writestr(name, picture(0, ".webp"))
        archive.mkdir("in/folder.jpg")
    (block,) = decoded(find([path]), [(12, 16)], 50)
    assert block.image_ids == ["d", "a"]
    assert list(block.bad) == [f"{path}: in/b.heic"]
    said = capsys.readouterr().err
    assert f"passed over in {path}, being no images: 1 of .txt\n" in said
    assert f"zips in {path} are not opened" in said


def test_a_zip_with_the_slashes_of_windows_has_the_same_ids(tmp_path):
    path = tmp_path / "win.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("in\\a.png", "__MACOSX\\._a.png"):
            archive.writestr(name, picture())
    (block,) = decoded(find([path]), [(12, 16)], 50)
    assert (block.image_ids, block.bad) == (["a"], {})


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_entry_of_a_zip_is_bad_however_it_is_packed(tmp_path, method):
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.png", picture())
        archive.writestr("b.png", picture())
    content = path.read_bytes()
    for start in (35, 50, 90):
        path.write_bytes(content[:start] + bytes([255] * 9) + content[start + 9 :])
        damaged, good = find([path])
        with pytest.raises(BadImageError, match="can't be read"):
            damaged.read()
        assert good.read() == picture()
        path = path.rename(tmp_path / f"{start}.zip")  # a zip is opened once a process


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_an_entry_that_asks_for_more_memory_than_there_is_is_bad_and_the_others_are_read(tmp_path):
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", picture())
        archive.writestr("b.png", picture())
    content = path.read_bytes()
    sizes = content.index(b"a.png") + len("a.png") + 5  # version, length of what follows, lc and its like; dictionary
    path.write_bytes(content[:sizes] + b"\xff\xff\xff\xef" + content[sizes + 4 :])
    program = f"""
import resource
from pathlib import Path
from dermaline.user_files.photographs import BadImageError, find
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
for one in find([Path({str(path)!r})]):
    try:
        print(len(one.read()))
    except BadImageError as problem:
        print(problem)
"""
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    said = "can't be read (it asks for more memory than there is)"
    assert done.stdout.splitlines() == [said, str(len(picture()))], done.stderr


@links
def test_a_linked_folder_is_entered_once_and_loops_end(tmp_path):
    write(tmp_path, {"far/away/b.png": picture(1), "here/a.png": picture(2), "here/in/c.png": picture(3)})
    (tmp_path / "here/linked").symlink_to(tmp_path / "far")
    (tmp_path / "here/again").symlink_to(tmp_path / "far/away")
    (tmp_path / "here/in/loop").symlink_to(tmp_path / "here")
    (tmp_path / "far/away/self").symlink_to(".")
    (tmp_path / "here/knot").symlink_to("knot")
    assert sorted(ids(tmp_path / "here")) == ["a", "b", "c"]
    (tmp_path / "named").symlink_to(tmp_path / "here")
    assert sorted(ids(tmp_path / "named", tmp_path / "here/in")) == ["a", "b", "c"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such files there")
def test_a_pipe_is_not_waited_for(tmp_path):
    write(tmp_path, {"a.png": picture()})
    os.mkfifo(tmp_path / "b.png")
    (block,) = decoded(find([tmp_path]), [(12, 16)], 50)
    assert block.image_ids == ["a"]
    assert list(block.bad.values()) == ["no regular file"]


def test_files_of_one_name_get_ids_with_their_folders(tmp_path, capsys):
    files = {"p1/IMG_1.png": picture(1), "p2/IMG_1.png": picture(2), "p2/other.png": picture(3)}
    assert ids(write(tmp_path, files)) == ["p1/IMG_1", "p2/IMG_1", "other"]
    assert capsys.readouterr().err == "note: 2 images are named as others; their ids name a folder, as p1/IMG_1\n"


def test_ids_have_as_much_of_the_path_as_tells_them_apart(tmp_path):
    write(tmp_path, {"a/x/IMG.png": picture(1), "b/x/IMG.png": picture(2), "b/y/IMG.png": picture(3)})
    assert ids(tmp_path) == ["a/x/IMG", "b/x/IMG", "b/y/IMG"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/IMG.png", picture(4))
    assert ids(tmp_path / "a", tmp_path / "a.zip") == ["a/x/IMG", "a.zip/x/IMG"]


def test_two_formats_of_one_name_keep_their_suffix(tmp_path):
    write(tmp_path, {"p/IMG.png": picture(1), "p/IMG.bmp": picture(1, ".bmp"), "p/IMG.cr2": b"raw"})
    assert ids(tmp_path) == ["p/IMG.bmp", "IMG", "p/IMG.png"]
    (tmp_path / "p/IMG.bmp").unlink()
    (block,) = decoded(find([tmp_path]), [(12, 16)], 50)
    assert block.image_ids == ["IMG"]


def test_a_copy_is_taken_once(tmp_path, capsys):
    write(tmp_path, {"p1/IMG.png": picture(1), "p2/IMG.png": picture(1), "p2/other.png": picture(1)})
    found = find([tmp_path])
    assert [(one.image_id, one.path.parent.name) for one in found] == [("IMG", "p1"), ("other", "p2")]
    assert "note: left out, being copies of files of the same name: 1\n" in capsys.readouterr().err
    write(tmp_path, {"p3/IMG.png": picture(2)})
    assert ids(tmp_path) == ["p1/IMG", "other", "p3/IMG"]


def test_a_file_that_is_named_twice_is_taken_once(tmp_path, monkeypatch):
    write(tmp_path, {"a.png": picture(), "broken.png": b"not an image"})
    monkeypatch.chdir(tmp_path)
    assert ids(Path("a.png"), Path("a.png"), tmp_path / "a.png", Path(), tmp_path) == ["a", "broken"]


def test_no_image_is_an_error(tmp_path):
    write(tmp_path, {"notes.txt": b"nothing"})
    with pytest.raises(DermalineError, match="no image there; name others"):
        find([tmp_path])
