"""The house keeps its own rules: what stages read, which module may import which, how long a stage script is."""

import ast
import importlib
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from closure import ROOT, code_deps, has_code, imported_files, parsed
from ruamel.yaml import YAML

import stages
from dermaline.base.versions import installed, pinned, warnings
from dermaline.params import whole

STAGES = {
    name: stage.get("do", stage)
    for name, stage in YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
# From the ground up: a module imports from its own floor or from one before it.
FLOORS = (
    "base",
    "params",
    "sources",
    "data",
    "models",
    "evaluation",
    "inference",
    "ood",
    "explaining",
    "exporting",
    "training",
    "segmentation",
    "figures",
    "reporting",
    "user_files",
    "campaigns",
    "serving",
    "commands",
)
CODE = ("dermaline/", "stages/")


@pytest.mark.parametrize("name", STAGES)
def test_code_deps_are_exactly_what_the_script_imports(name):
    listed = [dep for dep in STAGES[name]["deps"] if dep.startswith(CODE) and dep != "stages/requirements.txt"]
    assert listed == code_deps(ROOT / f"stages/{name}.py")


def test_a_room_stands_for_its_files_only_where_all_of_them_are_imported():
    for name in STAGES:
        script, files = ROOT / f"stages/{name}.py", set()
        for dep in code_deps(script):
            inside = (ROOT / dep).rglob("*.py") if (ROOT / dep).is_dir() else [ROOT / dep]
            files |= {path.relative_to(ROOT).as_posix() for path in inside if has_code(path)}
        assert files == imported_files(script)


_distributions = cache(packages_distributions)  # it reads what each package says of itself


def packages(script: Path) -> set[str]:
    """The packages of others that a script imports, directly or not."""
    found = set()
    for path in imported_files(script):
        for node in ast.walk(parsed(ROOT / path)):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.split(".")[0])
    known = _distributions()
    return {known[name][0] for name in found - sys.stdlib_module_names - {"dermaline", "stages"}}


@pytest.mark.parametrize("name", [name for name in STAGES if name not in ("check", "download")])  # the same images
def test_dvc_watches_the_versions_of_the_packages_that_a_stage_computes_with(name):
    assert "stages/requirements.txt" in STAGES[name]["deps"]
    shown = (
        {"matplotlib", "seaborn", "Jinja2", "markdown-it-py"} if "requirements.txt" in STAGES[name]["deps"] else set()
    )
    no_numbers = {"pydantic", "ruamel.yaml", "tqdm"}
    assert packages(ROOT / f"stages/{name}.py") - no_numbers - shown <= set(pinned())


def test_what_is_installed_is_what_is_pinned_and_another_version_is_said(tmp_path, monkeypatch, capsys):
    assert warnings() == []
    (tmp_path / "timm-9.9.dist-info").mkdir()
    (tmp_path / "timm-9.9.dist-info/METADATA").write_text("Name: timm\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed()["timm"] == "9.9"
    (line,) = warnings()
    assert line.startswith("warning: timm 9.9 installed, not as in stages/requirements.txt")
    importlib.reload(stages)  # what every stage script does first
    assert capsys.readouterr().err == f"{line}\n"


def loaded_keys(script: Path) -> set[str]:
    """The keys a script asks `load` for, and what `read_recipe` and `ensemble` (the whole file) read."""
    keys = set()
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "load":
            keys.add(ast.unparse(node.args[1]).strip("f'").replace("{name}", "${key}"))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "whole.ensemble":
            keys.add("params.yaml")
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "read_recipe":
            keys |= {"train", "recipes/${item.recipe}.yaml"}
    return keys


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_reads_exactly_the_parameters_that_dvc_tracks(name):
    read = loaded_keys(ROOT / f"stages/{name}.py")
    sizes = {key for key in tracked(name) if key.endswith(".size") and key.rpartition(".")[0].split(".")[0] in read}
    assert read - sizes == set(tracked(name)) - sizes


def tracked(name: str) -> list[str]:
    """The keys, or files of keys, under a stage's `params`."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in STAGES[name].get("params", [])]


@pytest.mark.parametrize("name", STAGES)
def test_a_size_is_seen_by_the_run_cache(name):
    """DVC leaves every key called `size` out of what it looks a run up by, wherever it stands.

    Of a stage with an output in Git `dvc repro` keeps no run, but `dvc commit` does.
    """
    stage = STAGES[name]
    shipped = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    for key in tracked(name):
        if key.startswith("recipes/"):
            assert key in stage["deps"]
        elif not key.endswith(".size") and name != "check":  # which writes the same whatever it has read
            inside = [f"{key}.{path}" for path in sizes_in(shipped[key.split(".")[0]])] if "." not in key else []
            assert set(inside) <= set(tracked(name))


def sizes_in(tree) -> list[str]:
    """The dotted paths of the keys called `size` in a mapping; those in lists are refused (`params/whole.py`)."""
    found = [key for key in tree if key == "size"] if isinstance(tree, dict) else []
    inside = [(key, sizes_in(value)) for key, value in tree.items()] if isinstance(tree, dict) else []
    return found + [f"{key}.{path}" for key, paths in inside for path in paths]


def test_only_stages_and_the_readers_of_whole_files_read_the_parameters():
    readers = [
        path.name for path in (ROOT / "dermaline").rglob("*.py") if re.search(r"\bload\(\w+, \"", path.read_text())
    ]
    assert readers == ["recipe.py"]


def test_the_parameters_are_valid():
    assert whole.read(ROOT / "params.yaml").ensemble == ["lite0"]


@pytest.mark.parametrize("path", sorted((ROOT / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_a_stage_script_is_short(path):
    assert len(path.read_text().splitlines()) <= 100


@pytest.mark.parametrize("floor", FLOORS)
def test_no_room_imports_from_a_floor_above(floor):
    allowed = FLOORS[: FLOORS.index(floor) + 1]
    for path in (ROOT / "dermaline" / floor).rglob("*.py"):
        for name in re.findall(r"^\s*(?:from|import) dermaline\.(\w+)", path.read_text(), re.MULTILINE):
            assert name in allowed or name not in FLOORS, f"{path.name} imports from {name}"


def test_every_module_is_used_by_a_stage_or_the_command_line():
    scripts = [*(ROOT / f"stages/{name}.py" for name in STAGES), ROOT / "dermaline/__main__.py"]
    scripts += (ROOT / "dermaline/commands").glob("*.py")
    used = set().union(*(imported_files(script) for script in scripts))
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dermaline").rglob("*.py")}
    assert {path for path in modules if not path.endswith("__init__.py")} <= used


def test_every_benchmark_and_trial_can_be_imported(monkeypatch):
    """For most are run by hand, seldom, and code moves under them."""
    monkeypatch.chdir(ROOT)  # where benchmarks/pipeline.py reads dvc.yaml
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # as benchmarks/bootstrap.py sets it: put back afterwards
    for path in sorted((ROOT / "benchmarks").rglob("*.py")):
        importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
