"""The page of `serve` in a real browser that reaches nothing else: by keyboard, on a phone, in the dark."""

import io
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from PIL import Image
from serving import wait_until
from test_predict_command import photograph
from test_serve import TOKEN, held, project, running, service  # noqa: F401  fixtures

from dermaline.base.classes import DIAGNOSES
from dermaline.data import words

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

CARDS = "document.querySelectorAll('article').length"
ANSWERED = "document.querySelectorAll('article .verdict').length"
STATUS = "document.querySelector('#status').textContent"
FIRST_IS_LATE = """{
  const own = window.fetch;
  let calls = 0;
  window.fetch = async (...asked) => {
    const isFirst = calls++ === 0;
    const answer = await own(...asked);
    if (isFirst) {
      await new Promise((resolve) => setTimeout(resolve, 3000));
      setTimeout(() => (window.late = true), 500);
    }
    return answer;
  };
}"""
FOCUS = "document.activeElement.id || document.activeElement.name || document.activeElement.className"


@pytest.fixture(scope="module")
def served(service):  # noqa: F811
    with running(service) as client:
        yield client


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("user")) as browser:
        yield browser


@pytest.fixture
def page(served, browser) -> Browser:
    browser.events.clear()
    browser.resize(1100)
    browser.open(str(served.base_url))
    return browser


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / "<i>first.jpg", folder / "second.jpg"]
    for number, path in enumerate(paths):
        path.write_bytes(photograph(number + 1))
    return paths


def test_photographs_are_predicted_explained_compared_and_removed(page, served, photos):
    page.choose("#files", *photos)
    page.wait(f"{ANSWERED} === 2")
    uploads = [("images", (path.name, path.read_bytes())) for path in photos]
    images = served.post("/predict", files=uploads).json()["images"]
    for at, one in enumerate(images):
        article = f"document.querySelectorAll('article')[{at}]"
        text = page.value(f"{article}.textContent").replace("\xa0", " ")
        assert one["name"] in text  # as text, whatever it looks like
        assert f"{DIAGNOSES[one['predicted']]}, probability {100 * one['confidence']:.1f} %" in text
        assert ("Not sure." in text) is one["not_sure"]
        assert ("Melanoma suspected:" in text) is one["melanoma_suspected"]
        held = page.value(f"[...{article}.querySelectorAll('tr.held th')].map((cell) => cell.textContent)")
        assert set(held) == {DIAGNOSES[name] for name in one["diagnoses"]}
        assert page.value(f"{article}.querySelector('[name=outline]').parentElement.hidden")
    assert "90 %" in page.value("document.querySelector('#coverage').textContent")
    page.value("document.querySelector('[name=map]').click()")
    page.wait("document.querySelector('.over')?.naturalWidth > 0")
    assert page.value("document.querySelector('.seen').naturalWidth") == 64  # as the network saw it
    page.value("document.querySelectorAll('[name=pair]').forEach((box) => box.click())")
    assert page.value("document.querySelectorAll('#pair figure').length") == 2
    assert page.value("document.querySelectorAll('#pair tbody tr').length") == 7
    page.value("document.querySelector('[name=map]').click()")
    assert page.value("document.querySelector('.over') === null")
    page.value("document.querySelector('.remove').click()")
    assert page.value(CARDS) == 1
    assert page.value("document.querySelector('#pair').hidden")
    problems = [event for event in page.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    assert problems == []
    asked = [
        event["params"]["request"]["url"] for event in page.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert {url.split(":")[0] for url in asked if not url.startswith(str(served.base_url))} <= {"data", "blob"}


def test_what_is_known_of_the_patient_counts_at_once_and_what_was_said_before_is_gone(page, served, photos):
    page.choose("#files", *photos)
    page.wait(f"{ANSWERED} === 2")
    first = "document.querySelector('article')"
    for column, column_words in (("sex", words.SEXES), ("localization", words.SITES)):
        offered = page.value(f"[...{first}.querySelector('[name={column}]').options].map((one) => one.value)")
        assert set(offered) == {"", *column_words}
    page.value("document.querySelectorAll('[name=pair]').forEach((box) => box.click())")
    page.value(f"{first}.querySelector('[name=map]').click()")
    page.wait("document.querySelectorAll('article .over').length === 1")
    text = page.value(f"{first}.innerText")
    assert "By the photograph alone." in text
    page.value(FIRST_IS_LATE)
    known = {"age": "70", "sex": "female", "localization": "back"}
    for name, value in known.items():  # quicker than the server
        field = f"{first}.querySelector('[name={name}]')"
        page.value(f"{field}.value = '{value}', {field}.dispatchEvent(new Event('change', {{bubbles: true}}))")
    page.wait("window.late === true")  # what came last is of what was asked first
    page.wait(f"{first}.innerText.includes('counts: 70 years, female, back.')")
    upload = [("images", (photos[0].name, photos[0].read_bytes()))]
    (alone,), (one,) = (served.post("/predict", files=upload, data=data).json()["images"] for data in ({}, known))
    shown = page.value(f"{first}.innerText").replace("\xa0", " ")
    assert f"{DIAGNOSES[one['predicted']]}, probability {100 * one['confidence']:.1f} %" in shown
    assert one["probabilities"] != alone["probabilities"]
    assert page.value("document.querySelector('.over') === null")  # it was of what was said before
    assert f"{100 * one['probabilities']['mel']:.1f}" in page.value("document.querySelector('#pair').innerText")
    age = f"{first}.querySelector('[name=age]')"
    page.value(f"{age}.value = '130', {age}.dispatchEvent(new Event('change', {{bubbles: true}}))")
    assert page.value(f"{age}.matches(':invalid')")
    assert "70 years" in page.value(f"{first}.innerText")  # nothing was asked


def test_the_keyboard_reaches_all_in_order_and_works_all(page, photos):
    page.press("Tab")
    assert page.value(FOCUS) == "files"
    page.choose("#files", photos[1])
    page.wait(f"{ANSWERED} === 1")
    assert page.value(STATUS).startswith("second.jpg: ")  # a live region, so a screen reader says it
    seen = []
    for _ in range(6):
        page.press("Tab")
        seen.append(page.value(FOCUS))
        if seen[-1] == "map":
            page.press(" ")
            page.wait("document.querySelector('.over') !== null")
    assert seen == ["age", "sex", "localization", "map", "pair", "remove"]
    assert page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter")
    assert page.value(CARDS) == 0
    assert page.value(FOCUS) == "files"


def test_names_and_roles_are_there_for_a_screen_reader(page, photos):
    page.choose("#files", photos[1])
    page.wait(f"{ANSWERED} === 1")
    nodes = page.do("Accessibility.getFullAXTree")["nodes"]
    seen = [node for node in nodes if not node["ignored"] and node.get("name", {}).get("value")]
    told = {(node["role"]["value"], node["name"]["value"].strip()) for node in seen}
    assert ("image", "The photograph second.jpg") in told
    assert ("checkbox", "where the model looked") in told
    assert {("spinbutton", "Age"), ("combobox", "Sex"), ("combobox", "Place")} <= told
    assert ("button", "Remove second.jpg") in told
    assert {("heading", "Photographs"), ("heading", "Results"), ("heading", "second.jpg")} <= told
    assert ("button", "Choose photographs") in told
    assert ("rowheader", "Melanoma") in told


def test_what_the_server_refuses_is_said_in_its_place(page, tmp_path):
    bad, large = tmp_path / "bad.jpg", tmp_path / "large.jpg"
    bad.write_bytes(b"no image")
    large.write_bytes(bytes(10_000_000))
    page.choose("#files", bad, large)
    page.wait("document.querySelectorAll('.problem:not([hidden])').length === 2")
    text = page.value("document.querySelector('#results').textContent")
    assert "bad.jpg: no JPEG, PNG, WebP, TIFF or BMP" in text
    assert "large.jpg: more than 10 MB" in text
    assert page.value("document.querySelectorAll('.show:not([hidden]), .known:not([hidden])').length") == 0


@pytest.mark.parametrize("width", [360, 1100])
def test_nothing_is_wider_than_the_screen_and_dark_is_dark(page, photos, width):
    page.resize(width, touch=width < 700)
    page.choose("#files", *photos)
    page.wait(f"{ANSWERED} === 2")
    page.value("document.querySelectorAll('[name=pair]').forEach((box) => box.click())")
    assert page.value("document.documentElement.scrollWidth") <= width
    camera = page.value("getComputedStyle(document.querySelector('.phone')).display")
    assert (camera == "none") is (width > 700)
    for dark in (True, False):
        page.dark(dark)
        drawn = Image.open(io.BytesIO(page.picture())).convert("L")
        assert (drawn.getpixel((3, 3)) < 60) is dark


def test_a_token_is_asked_for_and_used(service, browser, photos):  # noqa: F811
    with running(service, TOKEN) as client:
        browser.open(str(client.base_url))
        browser.choose("#files", photos[1])
        browser.wait("!document.querySelector('#access').hidden")
        assert browser.value(FOCUS) == "token"
        browser.do("Input.insertText", text="“quoted”")  # which no header can hold
        browser.press("Enter")
        assert not browser.value("document.querySelector('#token').checkValidity()")
        assert not browser.value("document.querySelector('#access').hidden")
        browser.value("document.querySelector('#token').value = ''")
        browser.do("Input.insertText", text=TOKEN)
        browser.press("Enter")
        browser.wait(f"{ANSWERED} === 1")
        assert browser.value("document.querySelector('#access').hidden")


def test_of_what_is_no_dermatoscopic_photograph_no_diagnosis_is_shown(service, browser, photos):  # noqa: F811
    def strange(block, metadata):
        found = service.predictor(block, metadata)
        return found._replace(out_of_distribution=np.ones(len(found.predicted), bool))

    with running(replace(service, predictor=strange)) as client:
        browser.open(str(client.base_url))
        browser.choose("#files", *photos)
        browser.wait(f"{ANSWERED} === 2")
        browser.value("document.querySelectorAll('[name=pair]').forEach((box) => box.click())")
        assert "not compared" in browser.value("document.querySelector('#pair').innerText")
        assert browser.value("document.querySelector('#pair table') === null")
        shown = browser.value("document.querySelector('article').innerText")
        assert "Not like a dermatoscopic photograph. No diagnosis is given." in shown
        assert "probability" not in shown.lower()
        browser.value("document.querySelector('summary').click()")
        assert "probability" in browser.value("document.querySelector('article').innerText").lower()


def test_what_a_model_rests_on_is_said(service, browser, photos):  # noqa: F811
    drawn = {"calibrated": False, "generated": True, "set_by_class": False}
    for changes in (drawn, drawn | {"generated": False}, {}):
        asked = replace(service, model=service.model.model_copy(update=changes))
        with running(asked) as client:
            browser.open(str(client.base_url))
            browser.choose("#files", photos[1])
            browser.wait(f"{ANSWERED} === 1")
            warned = "A model of generated images." in browser.value("document.body.innerText")
            origin = browser.value("document.querySelector('#origin').textContent")
            coverage = browser.value("document.querySelector('#coverage').textContent")
        assert warned is ("generated images" in origin) is changes.get("generated", False)
        assert origin.startswith("Calibrated") is (changes == {})
        assert ("of each diagnosis" in coverage) is (changes == {})


def test_a_photograph_that_is_removed_is_asked_about_no_more(service, browser, photos):  # noqa: F811
    gate = threading.Event()
    with running(held(service, gate)) as client:
        browser.open(str(client.base_url))
        browser.choose("#files", photos[1])
        wait_until(lambda: "dermaline_waiting 1.0" in client.get("/metrics").text)
        browser.value("document.querySelector('.remove').click()")
        wait_until(lambda: "dermaline_waiting 0.0" in client.get("/metrics").text)
        gate.set()
        wait_until(lambda: client.get("/ready").status_code == 200)
        assert browser.value(STATUS) == "second.jpg is removed."
        assert browser.value(CARDS) == 0


def test_what_went_wrong_with_an_overlay_of_before_is_not_said_of_what_is_there_now(page, photos):
    page.choose("#files", photos[1])
    page.wait(f"{ANSWERED} === 1")
    page.value("""{
      const own = window.fetch;
      window.fetch = async (...asked) => {
        if (asked[0] !== "explain") return own(...asked);
        await new Promise((resolve) => setTimeout(resolve, 1000));
        setTimeout(() => (window.failed = true), 200);
        return new Response('{"error": "the server failed"}', { status: 500 });
      };
    }""")
    page.value("document.querySelector('[name=map]').click()")
    age = "document.querySelector('article [name=age]')"
    page.value(f"{age}.value = '70', {age}.dispatchEvent(new Event('change', {{bubbles: true}}))")
    page.wait("window.failed === true")
    assert page.value("document.querySelector('.problem').hidden")
    assert "counts: 70 years" in page.value("document.querySelector('article').innerText")
