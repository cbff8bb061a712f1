"""README and docs say what the results files say."""

import json
import shutil

import pandas as pd
import pytest
from closure import ROOT
from ruamel.yaml import YAML

from dermaline.commands import readme, record, results_summary


def test_the_tables_of_readme_and_docs_are_made_from_the_files(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").mkdir()
    for name in ("results", "campaigns", "benchmarks/summary.json", "params.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("docs", "released"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "README.md", tmp_path)
    readme.write_tables()
    for page in readme.pages():
        assert (tmp_path / page).read_text() == (ROOT / page).read_text(), page


def test_every_speed_has_a_script_a_range_and_is_there_once():
    rows = json.loads((ROOT / "benchmarks/summary.json").read_text())
    for row in rows:
        assert row["low"] <= row["ratio"] <= row["high"], row["claim"]
        assert {"target", "machine"} <= row.keys()
        script = row["command"].split()[2].replace(".", "/")
        assert (ROOT / f"{script}.py").exists(), row["command"]
    claims = [row["claim"] for row in rows]
    assert len(set(claims)) == len(claims) > 10


RECORDED = "results/synthetic/lite0"
RUNS = [row for row in results_summary.summary(ROOT / results_summary.SUMMARY) if row["kind"] != results_summary.TABLE]


@pytest.mark.parametrize("row", RUNS, ids=lambda row: f"{row['data']}-{row['name']}")
def test_every_run_in_the_summary_has_its_own_files_beside_it(row):
    folder = ROOT / "results" / row["data"] / row["name"]
    record.require_one_run(folder)
    assert json.loads((folder / "made.json").read_text()) == row
    details, split = (json.loads((folder / f"{name}.json").read_text()) for name in ("details", "split"))
    test = list(details.values())[-1]["image_level"]
    assert row["n_test"] == test["cases"]
    assert row["split"].endswith(", ".join(record.sides(split)))
    for key in record.SUMMARISED:
        assert row[key] == test[key]
    assert {"accuracy", "balanced_accuracy"} <= set(row["intervals"]) <= set(record.SUMMARISED)
    for key, ends in row["intervals"].items():
        assert ends["low"] <= row[key] <= ends["high"]


def test_the_recorded_default_run_is_the_committed_one():
    recorded, committed = (json.loads((ROOT / path / "test.json").read_text()) for path in (RECORDED, "metrics"))
    assert recorded == committed


def test_every_table_has_a_row_in_the_summary_that_says_how_it_was_made():
    rows = {(row["data"], row["name"]): row for row in results_summary.summary(ROOT / results_summary.SUMMARY)}
    tables = list((ROOT / "results").glob("*/*.csv"))
    assert len(tables) >= 3
    for path in tables:
        row, table = rows[path.parent.name, path.stem], pd.read_csv(path)
        assert row["rows"] == len(table)
        assert set(table["command"]) == {row["command"]}
        assert table["machine"].notna().all()
        assert row["split"] in ("val", "test")


def test_the_docs_say_what_the_leak_was_measured_to_be():
    text = (ROOT / "docs/results.md").read_text()
    leak = json.loads((ROOT / "results/ham10000/leak.json").read_text())
    assert leak["image"]["balanced_accuracy"] > leak["lesion"]["balanced_accuracy"]
    for unit in ("lesion", "image"):
        assert f"{leak[unit]['balanced_accuracy']:.3f}" in text
        assert f"{leak[unit]['balanced_accuracy_sd']:.3f}" in text
    assert 0.30 < leak["image"]["leaked_test_images"] < 0.40  # "a third"
    assert leak["command"] in text


def test_no_figure_in_the_results_shows_a_lesion():
    shown = [path.name for path in (ROOT / "results").rglob("*.png") if path.name in record.SHOWS_LESIONS]
    assert shown == []


def test_the_stage_graph_of_the_readme_has_every_stage():
    text = (ROOT / "README.md").read_text()
    graph = text.split("```mermaid")[1].split("```")[0]
    for stage in YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]:
        assert f"{stage}[" in graph, stage


def test_every_dependency_is_explained():
    files = [(ROOT / folder / "requirements.txt").read_text() for folder in ("", "stages", "tests")]
    lines = [line.split("==") for line in "\n".join(files).splitlines() if "==" in line]
    table = (ROOT / "docs/extending.md").read_text().split("## Dependencies")[1]
    assert [name for name, *_ in lines if name not in table] == []
    assert all("#" in line[1] for line in lines)
