"""What went wrong, in one line a person can act on."""

import sys
from collections.abc import Callable


class DermalineError(Exception):
    """A problem of the input or the set-up. Its message names the file or key and what to do."""


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`; a `DermalineError` ends it with one line on stderr and exit status 1."""
    try:
        main()
    except DermalineError as problem:
        sys.exit(f"error: {problem}")
    except KeyboardInterrupt:
        sys.exit("stopped; run it again to go on")
