"""How a script ends: in one line, whatever was raised; with the trace for those who ask."""

import errno
import gc
import importlib
import os
import sys

import pytest

import stages
from dermaline import __main__ as commands
from dermaline.base import errors
from dermaline.base.errors import DEBUG, LONGEST, DermalineError
from dermaline.base.files import write_text


@pytest.fixture(autouse=True)
def _no_debug(monkeypatch):
    monkeypatch.setenv(DEBUG, "")  # which is undone, whatever --debug sets


def end(problem: BaseException) -> str:
    """The line that a script ends with that raises `problem`."""

    def main() -> None:
        raise problem

    with pytest.raises(SystemExit) as stopped:
        errors.run(main)
    return stopped.value.code


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (DermalineError("a.csv: no rows; add some"), "error: a.csv: no rows; add some"),
        (DermalineError("a.csv: line 3\nsaw 4\n"), "error: a.csv: line 3 saw 4"),
        (DermalineError("a\x1b[31m\udcff.csv: bad"), "error: a\\x1b[31m\\udcff.csv: bad"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a.csv"),
            "error: a.csv: No such file or directo",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "data/x"),
            "error: data/x: No space left on device; make room",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "a.csv"), "error: a.csv: Permission denied; give the"),
        (
            MemoryError("Unable to allocate 3 GiB"),
            "error: the memory is full, it seems (MemoryError: Unable to allocate",
        ),
        (ModuleNotFoundError("no", name="timm"), f"error: {sys.executable} has no timm; run `source"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_raised_ends_a_script_in_one_line(problem, said):
    line = end(problem)
    assert line.startswith(said)
    assert len(line.splitlines()) == 1
    assert line.isprintable()


def test_a_fault_of_ours_is_told_from_a_refusal_and_names_its_place():
    def main() -> None:
        write_text(None, "")

    with pytest.raises(SystemExit) as stopped:
        errors.run(main)
    line = stopped.value.code
    assert line.startswith("error: unexpected TypeError in dermaline/base/files.py, line ")
    assert f"{DEBUG}=1 shows the trace" in line


@pytest.mark.parametrize("script", ["train", "predict", "explain", "external"])
def test_a_script_without_its_word_says_what_to_type(script, monkeypatch):
    monkeypatch.setattr(sys, "argv", [f"stages/{script}.py"])
    with pytest.raises(DermalineError, match=rf"is missing; give it: python -m stages\.{script} [A-Z]+$"):
        stages.argument("NAME")
    with pytest.raises(DermalineError, match="is missing; give it"):
        importlib.import_module(f"stages.{script}").main()


def test_a_long_line_keeps_its_beginning_and_its_advice():
    line = str(DermalineError(f"a.csv: {'x' * 10**6}; correct it"))
    assert len(line) < LONGEST + 10
    assert line.startswith("a.csv: ")
    assert line.endswith("; correct it")


def test_a_full_disk_is_named_with_the_file_that_was_written(tmp_path):
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("needs /dev/full")
    path = tmp_path / "scores.json"
    (tmp_path / ".scores.json.partial").symlink_to("/dev/full")

    def main() -> None:
        from dermaline.base.files import replacing

        with replacing(path) as partial:
            partial.symlink_to("/dev/full")
            partial.write_text("x" * 10)

    with pytest.raises(SystemExit) as stopped:
        errors.run(main)
    assert stopped.value.code == f"error: {path}: no space left on the disk; make room, then run it again"


def test_the_trace_is_shown_on_demand_with_the_causes_that_are_hidden_else(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for debug in ([], ["--debug"]):
        monkeypatch.setattr(sys, "argv", ["dermaline", *debug, "score", "none.csv", "none.csv"])
        with pytest.raises(SystemExit) as stopped:
            errors.run(commands.main)
        assert stopped.value.code.startswith("error: params.yaml: not found")
        trace = capsys.readouterr().err
        assert ("Traceback" in trace) == bool(debug)
        assert ("FileNotFoundError" in trace) == bool(debug)  # which the refusal was raised from
    monkeypatch.delenv(DEBUG)


def test_garbage_is_collected_again_once_a_script_has_started(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    seen = []
    gc.disable()
    errors.run(lambda: seen.append(gc.isenabled()))
    monkeypatch.setattr(sys, "argv", ["dermaline", "score", "none.csv", "none.csv"])
    with pytest.raises(DermalineError, match=r"params\.yaml"):
        commands.main()
    assert [*seen, gc.isenabled()] == [True, True]
