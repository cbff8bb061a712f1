"""How a process is stopped: by Ctrl-C or SIGTERM with one line, and together with the process that started it."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LINE = b"stopped; run it again to go on\n"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
STATUSES = tuple(128 + number for number in SIGNALS)  # of a process that was stopped
_told: list[int] = []  # the status with which this process is to end, once it was stopped
PR_SET_PDEATHSIG = 1  # of Linux' prctl.h


def end_in_one_line() -> None:
    """From now on, let Ctrl-C and SIGTERM end this process at once, with one line and status 130 or 143.

    For the time in which libraries are imported, some of which catch whatever is raised and go on without a part.
    """
    for number in SIGNALS:
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, LINE)
    os._exit(128 + number)


def stop_in_one_line() -> None:
    """From now on, let Ctrl-C and SIGTERM end this process with one line and status 130 or 143, cleaning up.

    A second one does not wait for that.
    """
    for number in SIGNALS:
        signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.write(2, LINE)  # `print` may be what was interrupted
    _told.append(128 + number)
    raise SystemExit(128 + number)


def end_if_stopped() -> None:
    """End this process if it was stopped: a library may have caught what the signal raised, and gone on."""
    if _told:
        raise SystemExit(_told[0])


@contextmanager
def held_back() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM wait: for what must not be left half begun, the start of a process above all."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python answers signals in the main thread alone
        return
    came: list[int] = []
    answers = {}
    try:
        for number in SIGNALS:
            answers[number] = signal.getsignal(number)
            signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number, answer in answers.items():
            signal.signal(number, answer)
        for number in came:
            signal.raise_signal(number)


def end_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when its parent is killed; elsewhere than on Linux nothing does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
