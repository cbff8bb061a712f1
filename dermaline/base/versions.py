"""The packages that numbers depend on: the versions that are pinned, which DVC watches, and those installed."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PINS = Path(__file__).resolve().parents[2] / "stages/requirements.txt"


def pinned() -> dict[str, str]:
    """The version of each package in stages/requirements.txt."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", PINS.read_text(encoding="utf-8"), re.MULTILINE))


def installed() -> dict[str, str]:
    """The version of each of them that is here, with its build, such as `2.11.0+cpu`; `none` without it."""
    return {name: _version(name) for name in pinned()}


def warnings() -> list[str]:
    """A line when others are installed than are pinned (builds of one version are the same to pip, and here)."""
    here = installed()
    other = [f"{name} {here[name]}" for name, pin in pinned().items() if here[name].partition("+")[0] != pin]
    if not other:
        return []
    return [f"warning: {', '.join(other)} installed, not as in stages/requirements.txt: DVC takes the results for its"]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
