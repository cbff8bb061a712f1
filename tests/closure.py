"""Which of the project's files a stage script imports, directly or not, read from the source."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("dermaline", "stages")


def imported_files(script: Path) -> set[str]:
    """The import closure of a script, itself included, as paths from the root.

    The `__init__.py` of a package, the script's own too, counts unless there is nothing in it but a docstring.
    """
    found: set[Path] = set()
    waiting = [script, script.with_name("__init__.py")]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in _imports(path):
            waiting.extend(_files(name))
    return {path.relative_to(ROOT).as_posix() for path in found if has_code(path)}


def code_deps(script: Path) -> list[str]:
    """The import closure as `dvc.yaml` lists it: a room that is imported whole stands for its files.

    DVC reads dvc.yaml and dvc.lock some forty times an experiment, so a line saved is time saved.
    """
    files = imported_files(script)
    for room in sorted({path.parent for path in (ROOT / "dermaline").rglob("*.py")}, key=lambda room: len(room.parts)):
        inside = {path.relative_to(ROOT).as_posix() for path in room.rglob("*.py") if has_code(path)}
        if len(inside) > 1 and inside <= files:
            files = (files - inside) | {room.relative_to(ROOT).as_posix()}
    return sorted(files, key=lambda path: (not path.startswith("stages"), path))


def has_code(path: Path) -> bool:
    """Whether there is more in a file than a docstring."""
    return any(not isinstance(node, ast.Expr) for node in parsed(path).body)


@cache
def parsed(path: Path) -> ast.Module:
    """The source as a tree: every file is read for many stages."""
    return ast.parse(path.read_text())


@cache
def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in PACKAGES}


@cache
def _files(name: str) -> list[Path]:
    """The module that a dotted name means (its last part may be a function) and the packages around it."""
    parts = name.split(".")
    files = [ROOT.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    files += [ROOT.joinpath(*parts[:depth]).with_suffix(".py") for depth in range(1, len(parts) + 1)]
    return [file for file in files if file.is_file()]
