"""The notebook runs from top to bottom, from either folder, and is kept without what it printed.

Its cells are run as plain Python, in one namespace: a kernel would take a dozen packages more.
"""

import json
import shutil
import subprocess
import sys

import fakes
import matplotlib.pyplot as plt
import numpy as np
import pytest
import tiny
from closure import ROOT

from dermaline.evaluation import tables
from dermaline.models import model_io
from dermaline.models.network import Network
from stages import evaluate

CELLS = json.loads((ROOT / "notebooks/explore.ipynb").read_text(encoding="utf-8"))["cells"]


def run_notebook():
    """Run each code cell; what one raises, with the cell's number. Returns the names that they leave."""
    names = {}
    for number, cell in enumerate(CELLS):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    return names


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A run of two recipes in a repository, whose source has no outlines; figures are drawn without a screen."""
    table = fakes.project(tmp_path, lesions=400)
    pair = {"a": table["image_id"][0], "b": table["image_id"][9], "similarity": 0.9}
    (tmp_path / "data/prepared/report.json").write_text(json.dumps({"near_duplicates": [pair]}))
    recipe = tiny.recipe()
    model_io.save(tmp_path / "models/lite0", Network(recipe, pretrained=False).state_dict(), recipe, {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # put back, with what the notebook adds
    evaluate.main()
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    commit = "git -c user.name=t -c user.email=t@t commit -qm first"
    for command in ("git init -q", f"{sys.executable} -m dvc init -q", "git add .", commit):
        subprocess.run(command.split(), check=True)
    plt.switch_backend("Agg")
    yield tmp_path
    plt.close("all")


def test_every_cell_runs_and_agrees_with_the_run(project, capsys):
    names = run_notebook()
    assert capsys.readouterr().out.startswith("photographs\n")
    assert names["decision"].likelihood_ratios.power > 0.1  # age counts
    test = names["test"]
    right = (test["dx"] == test["predicted"]).mean()
    assert right == pytest.approx(names["final"]["accuracy"], abs=1e-6)
    surprise = -np.log([row[row["dx"]] for row in test.to_dict("records")]).mean()
    assert surprise == pytest.approx(names["final"]["nll"], abs=1e-5)
    assert (names["now"] == names["committed"]).all()
    assert names["now"]["accuracy"] == pytest.approx(names["experiments"]["accuracy"][0])
    assert {column: len(maps) for column, maps in names["maps"].items()} == {"predicted": 4, "dx": 4}
    found = names["melanomas"][tables.SUSPECTED].mean()
    point = list(json.loads((project / "metrics/details.json").read_text()).values())[-1]["melanoma_operating_point"]
    assert found == pytest.approx(point["melanoma_sensitivity"], abs=1e-6)
    assert names["leaked"](names["index"], names["index"]["split"]) == 0
    assert names["leaked"](names["index"], names["split_images"](names["index"], names["by_image"])) > 0.1


@pytest.mark.slow
def test_it_starts_in_its_own_folder_too_and_draws_outlines_where_there_are_some(project, monkeypatch):
    shape = np.load(project / "data/prepared/images.npy", mmap_mode="r").shape[:3]
    masks = np.zeros(shape, np.uint8)
    masks[:, 10:30, 20:40] = 255
    np.save(project / "data/prepared/masks.npy", masks)
    (project / "notebooks").mkdir()
    monkeypatch.chdir(project / "notebooks")
    run_notebook()
    first = plt.figure(plt.get_fignums()[0])
    assert [len(axes.collections) for axes in first.axes][:6] == [1] * 6


def test_nothing_that_it_printed_is_kept():
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CELLS if "outputs" in cell)
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)
