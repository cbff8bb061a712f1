"""The pages of `dvc plots`, opened in a browser that reaches no network."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from closure import ROOT
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OFFLINE = ["--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9", "--disable-background-networking"]
COPIED = ("dvc.yaml", "params.yaml", "recipes", "metrics", "plots/evaluation", "plots/training", ".dvc/plots.html")
# Counts the pixels of each drawing that are not grey, and says how wide each image is, where `--dump-dom` shows it.
LOOK = """<script>setTimeout(() => {
  for (const canvas of document.querySelectorAll("canvas")) {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let coloured = 0;
    for (let i = 0; i < pixels.length; i += 4)
      coloured += Math.max(...pixels.slice(i, i + 3)) - Math.min(...pixels.slice(i, i + 3)) > 40;
    canvas.dataset.coloured = coloured;
  }
  for (const image of document.images) image.dataset.width = image.naturalWidth;
}, 3000)</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A repository with the project's plots in two revisions: the last commit, and other curves in the workspace."""
    folder = tmp_path_factory.mktemp("plots")
    run(folder, "git init -q")
    run(folder, f"{sys.executable} -m dvc init -q")
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    (folder / "plots/figures").mkdir()
    Image.new("RGB", (321, 200), "red").save(folder / "plots/figures/figure.png")
    run(folder, "git add -A")
    run(folder, "git -c user.name=t -c user.email=t@t commit -q -m first")
    for path in (folder / "plots").rglob("*.csv"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    return folder


def run(folder: Path, command: str) -> None:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(command.split(), cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def opened(page: Path) -> str:
    """The document of a page once it is drawn."""
    before, end, after = page.read_text(encoding="utf-8").rpartition("</body>")
    page.write_text(f"{before}{LOOK}{end}{after}", encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={page.parent}/user"]
    command = [CHROMIUM, *options, *OFFLINE, "--virtual-time-budget=10000", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize("command", ["show", "diff"])
def test_every_plot_is_drawn_without_a_network(repository, command):
    run(repository, f"{sys.executable} -m dvc plots {command}")
    page = repository / "dvc_plots/index.html"
    plots = page.read_text(encoding="utf-8").count("vegaEmbed('#")
    document = opened(page)
    coloured = [int(count) for count in re.findall(r'data-coloured="(\d+)"', document)]
    assert len(coloured) == plots >= 6
    assert min(coloured) > 300  # axes and letters are grey
    assert 'data-width="321"' in document


def test_the_shares_in_the_confusion_matrix_are_of_the_actual_class(repository):
    run(repository, f"{sys.executable} -m dvc plots show -o shares")
    page = (repository / "shares/index.html").read_text(encoding="utf-8")
    # Of the predicted class they would be precision, and a network that misses most melanomas would look good.
    assert re.findall(r'"sum_y"\}\], "groupby": \["(\w+)"\]', page) == ["actual"]


def test_dvcs_own_page_needs_the_network_that_is_off_here(repository):
    (repository / "plain.html").write_text("<html><head>{scripts}</head><body>{plot_divs}</body></html>")
    run(repository, f"{sys.executable} -m dvc plots show -o plain --html-template plain.html")
    assert "<canvas" not in opened(repository / "plain/index.html")
