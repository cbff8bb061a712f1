"""The page of the last run: whole in one file, readable without eyes, and its numbers those of the run's files."""

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import fakes
import pandas as pd
import pytest
from closure import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import confusion_matrix

from dermaline.base.classes import CLASSES, DIAGNOSES
from dermaline.base.errors import DermalineError
from dermaline.params import whole
from dermaline.reporting import results, run, setting, tables
from dermaline.reporting.page import SECTIONS, marked, page
from dermaline.reporting.tables import with_ends, with_flat_ends
from dermaline.segmentation.scores import SCORES, THRESHOLDS
from stages import evaluate, report, split

VOID = {"meta", "img", "br"}
EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'
CHECK = {"own": 0.6, "other": 0.5, "area": 0.3, "value": 0.1, "low": 0.05, "high": 0.15, "passed": True}
MEAN = {"value": 0.8766, "low": 0.8654, "high": 0.8876}
MEANS = dict.fromkeys(SCORES, MEAN) | {"images": 1234, "lesions": 1001}
OUTLINED = {
    "val": MEANS,
    "test": MEANS | {"jaccard": {"value": 0.9012}},
    "by_class": {"nv": MEANS},
    "thresholds": dict.fromkeys(THRESHOLDS, MEAN),
    "better": {"than": "otsu_blue", "value": 0.1234, "low": 0.1122, "high": 0.1345},
}
SHARE = {"lesions": 900, "false_alarms": 0.0123, "low": 0.006, "high": 0.025}
ALARMS = SHARE | {"by_diagnosis": {"bcc": SHARE | {"lesions": 41, "false_alarms": 0.0612}}}
STRANGERS = {
    "val": ALARMS,
    "test": ALARMS,
    "without_lesion": {"noise": {"images": 50, "detected": 0.96, "low": 0.8654, "high": 0.989, "auc": 0.9987}},
    "photographs": {"coffee": 1.0, "moon": 0.2},
}
OPTIONS = whole.read(ROOT / "params.yaml")


class Page(HTMLParser):
    """The elements of a page, each with its attributes and its text; fails where tags do not match."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.found, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        element = SimpleNamespace(
            tag=tag, text="", inside=[one.tag for one in self.open], **{"given": dict(attributes)}
        )
        self.found.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        for element in self.open:
            element.text += data

    def all(self, *tags):
        return [element for element in self.found if element.tag in tags]

    def loud(self):
        return [element.text for element in self.all("p") if element.given.get("class") == "loud"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """What the stages before the report leave, of two recipes and small fakes of an index."""
    folder = tmp_path_factory.mktemp("report")
    table = fakes.project(folder, lesions=400)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluate.main()
    parts = {name: split.described(part) for name, part in table.groupby("split")}
    write(folder / "metrics/split.json", parts | {"leaked_test_images": 0.0})
    for name in ("lite0", "lite0_ham"):
        known = json.loads((folder / f"models/{name}/recipe.json").read_text())
        facts = {"generated": True, "start": None, "teachers": [], "prepared_size": [48, 64], "torch": "2.11.0+cpu"}
        write(folder / f"models/{name}/recipe.json", known | facts)
        write(folder / f"metrics/explain/{name}.json", {"images": 30, "lesions": 25, "checks": {"inside": CHECK}})
    write(folder / "metrics/segmentation.json", OUTLINED)
    write(folder / "metrics/ood.json", STRANGERS)
    for name in ("figures/roc", "explanations/lite0"):
        (folder / f"plots/{name}.png").parent.mkdir()
        Image.new("RGB", (3, 2)).save(folder / f"plots/{name}.png")
    return folder


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def told(project, monkeypatch):
    monkeypatch.chdir(project)
    return run.read(["lite0", "lite0_ham"], OPTIONS.split, OPTIONS.evaluate)


@pytest.fixture
def read(told):
    return Page(page(told))


def test_everything_is_inside_and_nothing_runs(read):
    assert read.all("script", "link", "iframe", "object", "form") == []
    assert {key for element in read.found for key in element.given if key.startswith("on")} == set()
    links = [element.given[key] for element in read.found for key in ("src", "href") if key in element.given]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert "url(" not in read.all("style")[0].text
    assert "default-src 'none'" in "".join(element.given.get("content", "") for element in read.all("meta"))


def test_patients_are_told_part_by_part():
    index = fakes.index(400)
    parts = {name: split.described(part) for name, part in index.groupby("split")}
    heads, rows = tables.patients(parts)
    assert heads == ["", "training", "validation", "test"]
    told = {name: cells for name, *cells in rows}
    test = index.query("split == 'test'")
    low, middle, high = test["age"].quantile([0.25, 0.5, 0.75])
    assert told["age: median (quartiles)"][2] == f"{middle:g} ({low:g} to {high:g})"
    assert told["sex: female"][2] == f"{(test['sex'] == 'female').mean():.1%}"
    assert told["age: unknown"][2] == "0.0%"
    parts["test"] |= {"age_quartiles": [], "images_per_localization": {"ear": 1, "unknown": 1}}
    told = {name: cells for name, *cells in tables.patients(parts).rows}
    assert told["age: median (quartiles)"][2] == "–"
    assert (told["localization: ear"][0], told["localization: back"][2]) == ("0.0%", "0.0%")


def test_the_contents_name_every_section_in_order(read):
    heads = {element.given["id"]: element.text for element in read.all("h2")}
    links = {a.given["href"][1:]: a.text for a in read.all("a") if "nav" in a.inside}
    assert list(links.items()) == list(heads.items())
    assert len(heads) == len(SECTIONS)
    assert len(read.all("h1")) == len(read.all("main")) == 1


def test_it_can_be_read_without_eyes(read):
    names = [element.given["id"] for element in read.found if "id" in element.given]
    assert len(set(names)) == len(names)
    assert len(read.all("caption")) == len(read.all("table")) > 12
    assert all(caption.text for caption in read.all("caption"))
    assert {element.given["scope"] for element in read.all("th")} == {"col", "row"}
    assert all(element.text for element in read.all("th"))
    assert len(read.all("img")) == 2
    assert all(len(image.given["alt"]) > 30 for image in read.all("img"))
    assert read.all("html")[0].given["lang"] == "en"
    labels = {element.given["aria-labelledby"] for element in read.found if "aria-labelledby" in element.given}
    assert labels <= set(names)


def test_the_numbers_are_those_of_the_files(told, project, read):
    test = json.loads((project / "metrics/details.json").read_text())["ensemble"]["image_level"]
    cells = [element.text for element in read.all("td")]
    final = next(
        block.table for block in results.headline(told).blocks if getattr(block, "caption", "") == "The final model"
    )
    rows = {row[0]: dict(zip(final.heads, row, strict=True)) for row in final.rows}
    for words, key in results.SCORES.items():
        assert with_ends(test, key) in cells
        assert rows[words]["test"] == with_ends(test, key)
        assert rows[words]["validation"] == with_flat_ends(told.final["val"], key)
    for name, own in test["per_class"].items():
        assert f"{DIAGNOSES[name]} ({name})" in [element.text for element in read.all("th")]
        assert with_ends(own, "recall") in cells
    pairs = pd.read_csv(project / "plots/evaluation/confusion.csv")
    (matrix,) = [block.table for block in results.confusion(told).blocks if hasattr(block, "table")]
    counts = [[int(cell.strip("*")) for cell in row[1:]] for row in matrix.rows]
    assert sum(map(sum, counts)) == len(pairs) == test["cases"]
    assert counts == confusion_matrix(pairs["actual"], pairs["predicted"], labels=CLASSES).tolist()


def test_the_operating_point_is_told_in_photographs(told, read):
    point = told.final["melanoma_operating_point"]
    found, called = round(100 * point["melanoma_sensitivity"]), 100 - round(100 * point["melanoma_specificity"])
    assert re.search(
        rf"Of 100 photographs of melanomas, {found} \(.*Of 100 other photographs, {called} \(", page_text(read)
    )
    (table,) = [block.table for block in results.melanoma(told).blocks if hasattr(block, "table")]
    shown = [int(cell.split()[0]) for cell in table.rows[0][1:]]
    said = ("melanomas found", "melanomas missed", "others called melanoma", "others left alone")
    assert table.heads[1:] == list(said)
    assert shown == [found, 100 - found, called, 100 - called]


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_numbers_of_100_and_their_rest_are_100(shares):
    low, value, high = sorted(shares)
    scores = {"score": value, "intervals": {"score": {"low": low, "high": high}}}
    own, rest = (list(map(int, re.findall(r"\d+", results.of_100(scores, "score", which)))) for which in (False, True))
    assert own[1] <= own[0] <= own[2]
    assert [rest[0], rest[2], rest[1]] == [100 - number for number in own]
    assert results.of_100(scores, "other") == "–"
    assert results.of_100({"score": value, "intervals": {}}, "score") == str(own[0])


def test_the_same_run_makes_the_same_bytes(told, read):
    again = run.read(["lite0", "lite0_ham"], OPTIONS.split, OPTIONS.evaluate)
    assert page(again) == page(told)


def test_generated_images_are_said_first_and_only_of_generated_images(told, read):
    assert "Generated images" in setting.about(told).blocks[1].words
    assert sum("Generated images" in words for words in read.loud()) == 2
    photographs = {name: known | {"generated": False} for name, known in told.models.items()}
    other = Page(page(told._replace(models=photographs)))
    assert "Generated images" not in page_text(other)
    assert "licence" in page_text(other)


def test_what_spoils_the_scores_is_said_before_them(told):
    leak = Page(page(told._replace(split=told.split | {"leaked_test_images": 0.347})))
    assert any("34.7 % of the test images" in words for words in leak.loud())
    start = {"model": "other", "digest": "0", "split": "0", "same_split": False}
    seen = told.models | {"lite0": told.models["lite0"] | {"start": start}}
    (words,) = [one for one in Page(page(told._replace(models=seen))).loud() if "lite0" in one]
    assert "may have seen the test" in words


def test_maps_that_failed_are_said_before_they_are_shown(told):
    checks = {"inside": CHECK, "deletion": CHECK | {"passed": False}}
    explained = {
        "lite0": told.explained["lite0"] | {"checks": checks},
        "lite0_ham": {"images": 1, "lesions": 1, "checks": {}},
    }
    section = results.explanations(told._replace(explained=explained))
    failed, unchecked = section.blocks[:2]
    assert failed.loud
    assert "failed 1 of 2 checks on 30 images of 25 lesions: area under the probability" in failed.words
    assert unchecked.loud
    assert "`lite0_ham` were not checked" in unchecked.words
    whole_page = page_text(Page(page(told._replace(explained=explained))))
    assert "no: 1 of 2 checks failed" in whole_page
    assert "The maps of lite0_ham were not checked." in whole_page.split("What is missing")[-1]


def test_what_is_not_there_is_said_to_be_missing(told, read):
    missing = [element.text.strip() for element in read.all("figcaption") if "Missing" in element.text]
    assert "Missing: Reliability on the test (plots/figures/reliability.png is not there)." in missing
    assert not any("roc.png" in words for words in missing)
    without = {key: value for key, value in told.final.items() if key != "melanoma_operating_point"}
    decision = told.decision.model_copy(update={"melanoma_threshold": None, "set_rule": None})
    lost = told._replace(details=told.details | {told.name: without}, decision=decision)
    assert "there is no threshold" in page_text(Page(page(lost)))


def test_outlines_are_told_or_said_to_be_missing(told, read):
    text = page_text(read)
    for words in ("0.901", "0.877 (0.865 to 0.888)", "1,234", "(otsu_blue) by 0.123 (0.112 to 0.135)"):
        assert words in text
    text = page_text(Page(page(told._replace(segmentation={}))))
    assert "The source has no outlines" in text
    assert "otsu_blue" not in text


def test_what_shows_no_lesion_is_told_with_what_was_missed(read):
    text = page_text(read)
    for words in (
        "1.2% (0.6% to 2.5%)",
        "96.0% (86.5% to 98.9%)",
        "0.999",
        "that it takes for lesions: moon.",
        "6.1% (0.6% to 2.5%)",
    ):
        assert words in text


def test_a_diagnosis_that_the_test_lacks_has_dashes_and_is_named(told):
    pairs = told.tables["confusion"].query("actual != 'df' and predicted != 'df'")
    lacking = {"support": 0, "specificity": 1.0, "intervals": {}}
    scores = told.test | {"absent_classes": ["df"], "per_class": told.test["per_class"] | {"df": lacking}}
    final = told.final | {"image_level": scores}
    text = page_text(Page(page(told._replace(details={told.name: final}, tables=told.tables | {"confusion": pairs}))))
    assert "Dermatofibroma (df)0––––" in text
    assert "No test image shows Dermatofibroma (df)" in text


def test_what_a_run_says_can_do_no_harm(told):
    slices = told.tables["slices"].assign(value=EVIL, note=EVIL, accuracy_verdict="worse")
    models = {name: known | {"device": EVIL} for name, known in told.models.items()}
    models["lite0"] = models["lite0"] | {"recipe": models["lite0"]["recipe"] | {"backbone": EVIL}}
    details = {EVIL: told.final}
    evil = told._replace(tables=told.tables | {"slices": slices}, models=models, details=details)
    evil = evil._replace(explained={EVIL: told.explained["lite0"]})
    text = page(evil)
    assert "<script" not in text
    parsed = Page(text)
    assert not any("onerror" in element.given for element in parsed.found)
    assert page_text(parsed).count(EVIL) > 10


MARKS = ("<b>", "</b>", "<a href=x>", "<!--", "`", "*", "**", "[x](y)", "![x](y)", "&lt;", '"', "\\", "\n", "x", " ")


@settings(max_examples=50)
@given(st.lists(st.sampled_from(MARKS), max_size=8).map("".join))
def test_words_stay_words(words):
    parsed = Page(marked(words))
    assert {element.tag for element in parsed.found} <= {"code", "strong", "em"}


def test_no_number_is_shown_that_is_none(told, read):
    assert "nan" not in re.findall(r"\w+", page_text(read).lower())
    sets = told.tables["sets"].assign(single=0.0, single_coverage=float("nan"))
    words = page_text(Page(page(told._replace(tables=told.tables | {"sets": sets}))))
    assert "None of the sets is of one diagnosis." in words
    assert "nan%" not in words


def test_a_file_that_is_missing_or_broken_is_one_line(project, monkeypatch):
    monkeypatch.chdir(project)
    path = project / "metrics/split.json"
    kept = path.read_text()
    try:
        path.write_text("{")
        with pytest.raises(DermalineError, match=r"metrics/split\.json: not JSON"):
            run.read(["lite0"], OPTIONS.split, OPTIONS.evaluate)
        path.unlink()
        with pytest.raises(DermalineError, match=r"metrics/split\.json: not found; run dvc repro"):
            run.read(["lite0"], OPTIONS.split, OPTIONS.evaluate)
    finally:
        path.write_text(kept)


def test_the_stage_writes_the_page_of_the_recipes_in_use(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    for name in ("metrics/explain/left.json", "plots/explanations/left.png"):
        (project / name).write_text("of a recipe that is not in use now")
    report.main()
    assert not (project / "metrics/explain/left.json").exists()
    assert not (project / "plots/explanations/left.png").exists()
    assert re.fullmatch(r"report/index\.html: 0\.\d MB\n", capsys.readouterr().out)
    assert "Dermaline: report of ensemble" in page_text(Page((project / "report/index.html").read_text()))


def page_text(parsed):
    """All words of the page as a browser shows them, roughly."""
    return parsed.all("body")[0].text.replace("\n", "")
