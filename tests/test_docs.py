"""The README and the pages of docs/: what they link to is there, and what they tell people to type works."""

import argparse
import importlib
import io
import re
import shlex
import signal
import subprocess
import zipfile
from pathlib import Path

import httpx
import pandas as pd
import pytest
from closure import ROOT
from dvc.cli.parser import get_main_parser
from ruamel.yaml import YAML
from test_pipeline import COPIED, SMALL, Repository

from dermaline.__main__ import COMMANDS
from dermaline.params.recipe import Recipe, recipe_names

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IDS = [path.name for path in PAGES]
BLOCK = re.compile(r"^```(bash|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:dvc|python -m) [^`\n]+)`")
CELL = re.compile(r"(?<!\\)\|")  # a bar that ends a cell, not one with a backslash before it
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
STORAGE = "/tmp/dermaline-storage"


def commands(page: Path, kind: str = "bash|sh") -> list[str]:
    """The commands of a page's code blocks, without comments; those of `bash` are also run below."""
    blocks = [
        block for language, block in BLOCK.findall(page.read_text(encoding="utf-8")) if language in kind.split("|")
    ]
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [shlex.join(words) for words in lines if words]


def all_commands(page: Path) -> list[list[str]]:
    """The words of each command of a page, of code blocks and within sentences, one for each side of `&&`."""
    outside = BLOCK.sub("", page.read_text(encoding="utf-8"))
    inline = [part for text in INLINE.findall(outside) for part in text.replace(r"\|", "|").split("&&")]
    blocks = [part for command in commands(page) for part in command.split("'&&'")]
    words_of = map(shlex.split, [*inline, *blocks])
    return [["1" if word == "N" else word for word in words] for words in words_of if words]


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_leads_somewhere(page):
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            there = page.parent / target
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), target + anchor


def test_the_readme_is_short_and_names_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    assert [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_of_ours_takes_the_words_that_it_is_given(page):
    for words in all_commands(page):
        if words[:3] == ["python", "-m", "dermaline"]:
            assert words[3] in COMMANDS
            parser = argparse.ArgumentParser()
            importlib.import_module(f"dermaline.commands.{words[3]}").add_arguments(parser)
            parser.parse_args(words[4:])  # exits with what is wrong
        if words[:2] == ["python", "-m"] and words[2].startswith(("benchmarks.", "stages.")) and "NAME" not in words[2]:
            place = ROOT / words[2].replace(".", "/")
            assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), words[2]
            if place.is_dir() and words[3] != "NAME":  # each trial is a module of the package
                assert (place / f"{words[3]}.py").exists(), words[3]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_dvc_has_every_command_and_option_that_a_page_names(page):
    parser = get_main_parser()
    for words in all_commands(page):
        if words[0] == "dvc":
            parser.parse_args(words[1:])  # raises for what DVC does not know


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_row_of_a_table_has_the_cells_of_its_head(page):
    widths: list[int] = []  # of the rows above, in this table
    for line in page.read_text(encoding="utf-8").splitlines():
        widths = [*widths, len(CELL.findall(line))] if line.startswith("|") else []
        assert len(set(widths)) <= 1, line


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_no_place_is_left_for_an_output_that_is_to_come(page):
    assert re.findall(r"@[A-Z]+@|```text\n```", page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_parameter_that_is_set_is_there(page):
    params = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text())
    text = page.read_text(encoding="utf-8")
    for setting in re.findall(r"-S '?([^\s'`]+)=", text):
        if setting.startswith("recipes/"):
            name, key = re.fullmatch(r"recipes/(\w+)\.yaml:\+?(\w+)", setting).groups()
            assert key in Recipe.model_fields, setting
            assert name in (*recipe_names(ROOT), "NAME"), setting
            continue
        tree = params
        for part in setting.split("."):
            tree = tree[int(part) if isinstance(tree, list) else part]


@pytest.fixture
def repository(tmp_path) -> Repository:
    """The project as a clone has it after `make`, with small data, and photographs beside it."""
    repository = Repository(tmp_path / "clone")
    repository.folder.mkdir()
    repository.run("git init -q")
    repository.run("dvc init -q")
    for name in (*COPIED, "released", ".dvc/config", ".dvc/plots.html", "metrics", "plots"):
        source, target = ROOT / name, repository.folder / name
        command = ["cp", "-r", str(source), str(target)]
        subprocess.run(command, check=True)
    for old, new in SMALL:
        repository.edit(old, new)
    repository.run("git config user.name t")
    repository.run("git config user.email t@t")
    repository.run("dvc repro -q")
    repository.commit("made")
    table = pd.read_csv(repository.folder / "data/raw/metadata.csv").groupby("dx").head(2)
    (repository.folder / "photos").mkdir()
    with zipfile.ZipFile(repository.folder / "data/raw/images.zip") as archive:
        images = {image_id: archive.read(f"{image_id}.jpg") for image_id in table.image_id}
    *several, zipped, alone = images
    for image_id in several:
        (repository.folder / f"photos/{image_id}.jpg").write_bytes(images[image_id])
    with zipfile.ZipFile(repository.folder / "more.zip", "w") as archive:
        archive.writestr(f"{zipped}.jpg", images[zipped])
    (repository.folder / "lesion.jpg").write_bytes(images[alone])
    table.replace({"image_id": {alone: "lesion"}}).to_csv(repository.folder / "truth.csv", index=False)
    (repository.folder / ".git/info/exclude").write_text("photos\nmore.zip\n*.jpg\n*.csv\n!plots/**/*.csv\n")
    return repository


def serves(command: list[str], repository: Repository) -> None:
    """Ask what never ends by itself for a prediction, and end it."""
    process = subprocess.Popen(
        [*command, "--port", "0"], cwd=repository.folder, env=repository.environment, stdout=subprocess.PIPE, text=True
    )
    try:
        address = re.search(r"http://\S+", process.stdout.readline())[0]
        with (repository.folder / "lesion.jpg").open("rb") as photograph:
            answer = httpx.post(f"{address}/predict", files={"images": photograph}, timeout=60)
        assert answer.json()["images"][0]["name"] == "lesion.jpg"
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM
    finally:
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/experiments.md"])
def test_every_command_works_in_the_order_of_the_page(page, repository, tmp_path):
    printed = io.StringIO()
    for command in commands(ROOT / page, "bash"):
        if command == "python -m dermaline serve":
            serves(command.split(), repository)
            continue
        words = ["bash", "-c", command.replace(STORAGE, str(tmp_path / "storage"))]
        done = subprocess.run(words, cwd=repository.folder, env=repository.environment, capture_output=True, text=True)
        print(f"$ {command}\n{done.stdout}\n{done.stderr}", file=printed)
        assert done.returncode == 0, printed.getvalue()[-6000:]
        if "--name slower" in command or command == "dvc exp apply slower":
            changed = repository.run("git diff HEAD --numstat -- params.yaml recipes").split()
            assert changed == ["1", "1", "params.yaml"], command
        if "small-steps" in command:
            assert repository.run("git diff HEAD --numstat -- params.yaml recipes").split()[:2] == ["1", "0"]
        if command.startswith("dvc exp show"):
            table = done.stdout
            assert {"balanced_accuracy", "train.lr", "train.seed", "slower"} <= set(re.findall(r"[\w.]+", table))
            assert max(map(len, table.splitlines())) <= 160
    assert len(list((tmp_path / "storage").rglob("*"))) > 20
    assert "Data and pipelines are up to date" in repository.run("dvc repro")
