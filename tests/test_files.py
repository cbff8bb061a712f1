"""Replacing files: whole or not at all, and through links."""

import errno
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dermaline.base.errors import DermalineError
from dermaline.base.files import replacing, require_file, write_text

links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")


@links
@pytest.mark.parametrize("steps", [1, 3])
def test_a_link_is_written_through(tmp_path, steps):
    target = tmp_path / "elsewhere/real.txt"
    target.parent.mkdir()
    target.write_text("old")
    link = target
    for step in range(steps):
        (tmp_path / f"{step}.txt").symlink_to(os.path.relpath(link, tmp_path))
        link = tmp_path / f"{step}.txt"
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == link.read_text() == "new"
    assert [one.name for one in target.parent.iterdir()] == ["real.txt"]


@links
def test_a_link_to_what_is_not_there_yet_makes_it(tmp_path):
    (tmp_path / "link.txt").symlink_to(tmp_path / "new/real.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "new/real.txt").read_text() == "new"
    assert (tmp_path / "link.txt").is_symlink()


@links
def test_a_linked_folder_is_replaced_where_it_is(tmp_path):
    (tmp_path / "large disk/raw").mkdir(parents=True)
    (tmp_path / "large disk/raw/old.txt").write_text("old")
    (tmp_path / "raw").symlink_to("large disk/raw")
    with replacing(tmp_path / "raw") as partial:
        partial.mkdir()
        (partial / "new.txt").write_text("new")
    assert (tmp_path / "raw").is_symlink()
    assert [one.name for one in (tmp_path / "large disk/raw").iterdir()] == ["new.txt"]


@links
def test_what_failed_leaves_link_and_target_alone(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with pytest.raises(TypeError), replacing(tmp_path / "link.txt") as partial:
        partial.write_text(b"no text")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


@links
def test_a_file_that_may_not_be_written_is_let_be_as_in_the_cache_of_dvc(tmp_path):
    (tmp_path / "cached").write_text("old")
    (tmp_path / "cached").chmod(0o444)
    (tmp_path / "link.txt").symlink_to("cached")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "cached").read_text() == "old"
    assert (tmp_path / "link.txt").read_text() == "new"


@links
def test_a_link_to_itself_is_replaced(tmp_path):
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    write_text(tmp_path / "loop.txt", "new")
    assert (tmp_path / "loop.txt").read_text() == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="no such files there")
def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link"):
        if path.name == "link":
            path.symlink_to(os.devnull)
        with pytest.raises(DermalineError, match="is no regular file; give the name of a file"):
            require_file(path)
    with pytest.raises(DermalineError, match="is a folder; give the name of a file"):
        require_file(tmp_path)
    require_file(tmp_path / "new.csv")


@pytest.mark.skipif(sys.platform != "linux", reason="what a number stands for is read from /proc")
def test_a_loss_of_power_finds_the_old_or_the_new_as_what_takes_the_place_is_on_the_disk_before(tmp_path, monkeypatch):
    done = []

    def watched(name):
        real = getattr(os, name)

        def call(first, *others):
            path = Path(f"/proc/self/fd/{first}").readlink() if isinstance(first, int) else str(first)
            done.append((name, os.path.relpath(path, tmp_path)))
            return real(first, *others)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, watched(name))
    for content in ("first", "second"):
        done.clear()
        with replacing(tmp_path / "folder") as partial:
            (partial / "inside").mkdir(parents=True)
            (partial / "inside/file.txt").write_text(content)
    partial = ".folder.partial"
    synced = {path for name, path in done[: done.index(("replace", partial))] if name == "fsync"}
    assert synced == {partial, f"{partial}/inside", f"{partial}/inside/file.txt"}
    assert done[-1] == ("fsync", ".")
    assert (tmp_path / "folder/inside/file.txt").read_text() == "second"
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]


def test_what_was_stopped_between_the_two_steps_of_replacing_a_folder_is_put_back(tmp_path):
    for name in (".folder.old", ".folder.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.txt").write_text(name)
    with pytest.raises(TypeError), replacing(tmp_path / "folder") as partial:
        partial.write_text(b"no text")
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder/file.txt").read_text() == ".folder.old"


@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("write failed")])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, monkeypatch, problem):
    write_text(tmp_path / "file.txt", "old")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))

    def write() -> None:
        with replacing(tmp_path / "file.txt") as partial:
            partial.write_text("half")
            raise problem

    with pytest.raises(DermalineError, match=r"file\.txt: no space left on the disk; make room"):
        write()
    assert (tmp_path / "file.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
