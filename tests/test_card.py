"""The released model's card: read as the Hugging Face hub reads it, its numbers those of the recorded run."""

import json
import re
import shutil

import pandas as pd
import pytest
from closure import ROOT
from huggingface_hub import ModelCard

from dermaline.base.errors import DermalineError
from dermaline.commands.card import CARD, HEADLINE, card, slices_table
from dermaline.commands.readme import DATA
from dermaline.inference.decision import load


@pytest.fixture
def project(tmp_path, monkeypatch):
    """What a card is made of, to be changed."""
    for folder in ("released", DATA):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def name():
    recipes = load(ROOT / "released/decision.json").recipes
    return recipes[0] if len(recipes) == 1 else "ensemble"


def test_the_shipped_card_is_of_the_shipped_results(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert CARD.read_text(encoding="utf-8") == card(DATA)


def test_the_hub_finds_licence_and_results(name):
    found = ModelCard((ROOT / CARD).read_text(encoding="utf-8"))
    assert found.data.license == "cc-by-nc-4.0"
    details = json.loads((ROOT / DATA / name / "details.json").read_text())[name]["image_level"]
    results = {result.metric_type: result.metric_value for result in found.data.eval_results}
    assert results == {key: details[key] for key in HEADLINE.values()}
    assert {result.dataset_split for result in found.data.eval_results} == {"test"}


def test_the_card_names_the_sets_of_the_decision(project, name):
    assert "short of 90 %" in card(DATA)
    assert "gives sets that are to hold 90 % of the lesions of each diagnosis" in card(DATA)
    for path in (project / "released/decision.json", project / DATA / name / "decision.json"):
        content = json.loads(path.read_text())
        content["set_rule"] |= {"coverage": 0.95, "by_class": False}
        path.write_text(json.dumps(content))
    assert "gives sets that are to hold 95 % of the lesions. " in card(DATA)
    assert "short of 9" not in card(DATA)


def test_every_link_of_the_card_leads_to_a_file():
    links = re.findall(r"\]\(([^)#]+)", (ROOT / CARD).read_text(encoding="utf-8"))
    assert len(links) > 10
    assert [link for link in links if not (ROOT / "released" / link).exists()] == []


def test_results_of_another_model_are_refused(project, name):
    path = project / DATA / name / "details.json"
    details = json.loads(path.read_text())
    for model in details.values():
        model["image_level"]["accuracy"] += 0.001
    path.write_text(json.dumps(details))
    with pytest.raises(DermalineError, match=f"results/ham10000/{name}: not of the released"):
        card(DATA)


def test_another_decision_than_the_recorded_one_is_refused(project, name):
    path = project / "released/decision.json"
    decision = json.loads(path.read_text())
    decision["set_rule"]["thresholds"]["mel"] += 0.1
    path.write_text(json.dumps(decision))
    with pytest.raises(DermalineError, match=f"results/ham10000/{name}: not of the released decision"):
        card(DATA)


def test_a_run_that_was_not_recorded_is_one_line(project, name):
    (project / DATA / name / "sets.csv").unlink()
    with pytest.raises(DermalineError, match=r"sets\.csv: not found; run record"):
        card(DATA)


def test_only_slices_that_are_shown_to_differ_are_told(name):
    slices = pd.read_csv(ROOT / DATA / name / "slices.csv")
    verdicts = slices.filter(like="_verdict")
    shown = verdicts.isin(["better", "worse"]).sum(axis=None)
    table = slices_table(slices)
    assert table.count("\n") == (shown + 1 if shown else 0)
    plain = slices.assign(**dict.fromkeys(verdicts, "not shown to differ"))
    assert slices_table(plain) == "No group is shown to differ."
    one = plain.assign(accuracy_verdict=["worse" if row == 3 else "" for row in range(len(plain))])
    assert slices_table(one).count("\n") == 2
    assert f"| {slices['variable'][3]}: {slices['value'][3]} |" in slices_table(one)
