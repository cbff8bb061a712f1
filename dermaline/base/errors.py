"""What went wrong, in one line a person can act on: the one place where what libraries raise becomes such a line."""

import errno
import gc
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from dermaline.base.stopping import end_if_stopped, stop_in_one_line

DEBUG = "DERMALINE_DEBUG"  # a variable of the environment: with it, whatever ends a script shows its trace
LONGEST = 800  # letters of a line; of a longer one the middle is left out
UNEXPECTED = "unexpected "  # begins what should have been refused with words of its own
_TRACE = f"{DEBUG}=1 shows the trace"
_HERE = Path(__file__).resolve().parents[2]
_ROOMS = ("dermaline", "stages", "benchmarks")
# What a disk answers, and what to do about it.
FULL = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room, then run it again")
_CLOSED = dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "give the right to it, or work in another folder")
_DISK = FULL | _CLOSED | {errno.ENOENT: "run dvc repro, or give another path"}


class DermalineError(Exception):
    """A problem of the input or the set-up. Its message names the file or key and what to do: one line, always."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: object) -> str:
    """A text of any origin as one line that a terminal can show: no line breaks, no codes, no more than `LONGEST`."""
    line = " ".join(str(text).splitlines()).strip()
    line = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in line)
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def run(main: Callable[[], object]) -> None:
    """Run a script's `main`; what it raises ends it with one line on stderr, see `in_words`, and exit status 1.

    Ctrl-C and SIGTERM end it with one line and status 130 or 143.
    """
    stop_in_one_line()
    gc.enable()  # off in a start: stages/__init__.py
    try:
        main()
    except Exception as problem:
        end_if_stopped()  # of which a library has made an error of its own
        if os.environ.get(DEBUG):
            traceback.print_exception(_with_causes(problem))
        sys.exit(f"error: {in_words(problem)}")
    end_if_stopped()


def in_words(problem: Exception) -> str:
    """Say what was raised: a `DermalineError` by itself; the machine's limits with what to do; else a fault of ours."""
    if isinstance(problem, DermalineError):
        return str(problem)
    name, text = type(problem).__name__, one_line(problem)
    if isinstance(problem, MemoryError) or name in ("OutOfMemoryError", "BrokenProcessPool"):  # torch's; a worker's
        return f"the memory is full, it seems ({name}: {text}); end other programs, or lower sizes and batch_size"
    if isinstance(problem, OSError) and problem.errno and problem.strerror:
        places = [one_line(place) for place in (problem.filename, problem.filename2) if place is not None]
        what = ": ".join([*places[:1], problem.strerror])
        return f"{what}; {_DISK.get(problem.errno, f'mend it and run again ({_TRACE})')}"
    if isinstance(problem, ModuleNotFoundError):
        return f"{sys.executable} has no {problem.name}; run `source .venv/bin/activate` first, or `make`"
    advice = f"a file may be damaged, or this is a fault of Dermaline: {_TRACE}, for a report"
    return f"{UNEXPECTED}{name}{_place(problem)}: {text}; {advice}"


def _place(problem: Exception) -> str:
    """The last line of our own code that it passed."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(problem.__traceback__)]
    ours = [(path.relative_to(_HERE), line) for path, line in frames if path.is_relative_to(_HERE)]
    ours = [f" in {path.as_posix()}, line {line}" for path, line in ours if path.parts[0] in _ROOMS]
    return ours[-1] if ours else ""


def _with_causes(problem: Exception) -> Exception:
    """The same, with what it was raised from: `from None` hides that from those who need no trace."""
    cause: BaseException | None = problem
    while cause is not None:
        cause.__suppress_context__ = False
        cause = cause.__context__
    return problem
