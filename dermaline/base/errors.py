"""What went wrong, in one line a person can act on."""

import errno
import sys
from collections.abc import Callable

from dermaline.base.stopping import stop_in_one_line

# What a disk answers, and what to do about it.
FULL = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room, then run it again")
CLOSED = dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "give the right to it, or work in another folder")


class DermalineError(Exception):
    """A problem of the input or the set-up. Its message names the file or key and what to do."""


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`; a `DermalineError` ends it with one line on stderr and exit status 1.

    So does a disk that is full or may not be written; Ctrl-C and SIGTERM end it with one line and status 130 or 143.
    """
    stop_in_one_line()
    try:
        main()
    except DermalineError as problem:
        sys.exit(f"error: {problem}")
    except ModuleNotFoundError as problem:
        sys.exit(f"error: {sys.executable} has no {problem.name}; run `source .venv/bin/activate` first, or `make`")
    except OSError as problem:
        advice = (FULL | CLOSED).get(problem.errno)
        if advice is None:
            raise
        sys.exit(f"error: {problem.filename or 'a file'}: {problem.strerror}; {advice}")
