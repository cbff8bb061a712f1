"""Every figure is drawn, fits its canvas, reads at half a page, and is the same bytes each time."""

import fakes
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import tiny
from closure import ROOT
from matplotlib.text import Text
from parameters import put_parameters
from PIL import Image

from dermaline.base.classes import CLASSES, DIAGNOSES
from dermaline.base.errors import DermalineError
from dermaline.base.files import write_json
from dermaline.evaluation import series, slices, summary, tables, uncertainty
from dermaline.evaluation.metrics import HEADLINE
from dermaline.figures import dataset, diagnostics, style, training
from dermaline.figures import uncertainty as doubt
from dermaline.params import whole
from stages import evaluate, plot

PALETTE = "colorblind"
OPTIONS = whole.read(ROOT / "params.yaml").evaluate.model_copy(update={"bootstrap": 50})


def draw_all(keep=CLASSES):
    """Every figure from generated data, of which the test split has only some classes."""
    index = fakes.index(700)
    test = fakes.predictions(index).query("split == 'test'")
    test = test[test["dx"].isin(keep)]
    test = tables.decided(test, tables.probabilities(test), tables.probabilities(test).argmax(axis=1))
    train = index[index["split"] == "train"]
    classes = series.per_class_rows(summary.scores(test, OPTIONS), train["dx"].value_counts().to_dict())
    roc, pr = ({name: rows(test, name) for name in CLASSES} for rows in (series.roc_rows, series.precision_rows))
    truth, probabilities = tables.truth(test), tables.probabilities(test)
    scores = {name: float(metric(truth, probabilities, None)) for name, metric in HEADLINE.items()}
    sets = {(kind, promised): probabilities > 0.05 for kind in ("marginal", "by class") for promised in (0.9, 0.95)}
    images = fakes.images(index[:40])
    samples = {name: list(images[number * 4 : number * 4 + 3 + number % 2]) for number, name in enumerate(keep)}
    return {
        "confusion_counts": diagnostics.confusion_matrix(series.confusion_rows(test), share=False),
        "confusion_shares": diagnostics.confusion_matrix(series.confusion_rows(test), share=True),
        "roc": diagnostics.roc(roc, classes, scores["macro_auc"], PALETTE),
        "precision_recall": diagnostics.precision_recall(pr, classes, scores["macro_average_precision"], PALETTE),
        "reliability": diagnostics.reliability(series.reliability_rows(test, 15), scores["ece"], PALETTE),
        "f1_by_class": diagnostics.f1_by_class(classes, PALETTE),
        "f1_by_train_images": diagnostics.f1_by_train_images(classes, PALETTE),
        "risk_coverage": doubt.risk_coverage(uncertainty.risk_rows(test), uncertainty.risk_area(test), PALETTE),
        "set_coverage": doubt.set_coverage(uncertainty.set_rows(test, sets, index), PALETTE),
        "slices": diagnostics.by_slice(slices.slice_rows(test, index, OPTIONS), PALETTE),
        "training": training.history(fakes.history(), "lite0", PALETTE),
        "training_one": training.history(fakes.history(1), "a_recipe_of_one_epoch", PALETTE),
        "class_distribution": dataset.class_distribution(index[index["dx"].isin(keep)], PALETTE),
        "samples": dataset.sample_grid(samples, train["dx"].value_counts()),
        "augmentation": dataset.augmentation(images[:3], [images[3:7], images[7:11] / 255, images[11:15]]),
    }


@pytest.fixture(scope="module")
def figures():
    return draw_all()


@pytest.fixture(scope="module")
def saved(figures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    for name, drawn in figures.items():
        style.save(drawn, folder / f"{name}.png", dpi=75)
    return folder


def test_every_figure_is_drawn_at_half_size(figures, saved):
    for name in figures:
        with Image.open(saved / f"{name}.png") as image:
            assert image.width == int(75 * style.WIDTH)
            assert np.asarray(image.convert("L")).std() > 5
            assert not {"Software", "Creation Time", "date"} & set(image.info)


def test_the_confusion_matrix_has_a_row_for_each_true_class():
    pairs = pd.DataFrame({"actual": ["mel"] * 3 + ["nv"], "predicted": ["nv"] * 2 + ["mel"] * 2})
    mel, nv = CLASSES.index("mel"), CLASSES.index("nv")
    for share, said in ((False, ("2", "1")), (True, ("0.67", "1.00"))):
        cells = [text.get_text() for text in diagnostics.confusion_matrix(pairs, share=share).axes[0].texts]
        assert (cells[len(CLASSES) * mel + nv], cells[len(CLASSES) * nv + mel]) == said


def test_text_is_large_enough_and_nothing_is_cut_off(figures):
    for name, drawn in figures.items():
        assert min(text.get_fontsize() for text in drawn.findobj(Text)) >= 8, name
        box, size = drawn.get_tightbbox(drawn.canvas.get_renderer()), drawn.get_size_inches()
        assert (box.min >= -0.01).all(), name
        assert (box.max <= size + 0.01).all(), name


def test_the_same_bytes_each_time_whatever_the_process_has_set(saved, tmp_path):
    with mpl.rc_context({"font.size": 20, "axes.grid": True, "lines.linewidth": 5}):
        again = draw_all()
    for name, drawn in again.items():
        style.save(drawn, tmp_path / "again.png", dpi=75)
        assert (tmp_path / "again.png").read_bytes() == (saved / f"{name}.png").read_bytes(), name


def test_classes_that_are_missing_leave_a_gap_not_an_error(figures):
    assert list(draw_all(keep=("akiec", "mel", "nv"))) == list(figures)  # on their canvas already


def test_full_names_and_numbers_are_on_the_figures(figures):
    for name in ("confusion_counts", "roc", "f1_by_class", "class_distribution", "samples"):
        words = "\n".join(text.get_text() for text in figures[name].findobj(Text))
        assert all(diagnosis in words for diagnosis in DIAGNOSES.values()), name
    assert "n = " in "".join(text.get_text() for text in figures["roc"].findobj(Text))


def test_slices_are_labelled_with_their_counts_and_those_too_small_say_so(figures):
    words = [text.get_text() for text in figures["slices"].findobj(Text)]
    assert any(word.startswith("all test images, n = ") for word in words)
    assert any(word.startswith("75 and over, n = ") for word in words)
    index = fakes.index(700).assign(localization=lambda table: np.where(table.index % 80 == 7, "ear", "back"))
    test = fakes.predictions(index).query("split == 'test'").assign(predicted="nv")
    found = slices.slice_rows(test, index, OPTIONS)
    words = [text.get_text() for text in diagnostics.by_slice(found, PALETTE).findobj(Text)]
    assert words.count("too few to score") == found["accuracy"].isna().sum() == 1
    assert f"all test images, n = {len(test)}, {len(found['classes'][0].split())} classes" in words


def test_the_epoch_that_was_kept_is_named_whatever_it_was_chosen_by(figures):
    epochs = fakes.history()
    assert epochs["val_balanced_accuracy"].idxmax() != epochs["kept"].idxmax()
    assert any(text.get_text() == "Epoch (kept: 10)" for text in figures["training"].findobj(Text))


def test_augmented_images_are_drawn_for_a_recipe_at_its_backbones_own_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    described = {"recipe": tiny.recipe(size=None).model_dump(mode="json"), "size": [48, 48]}
    write_json(tmp_path / "models/any/recipe.json", described)
    assert plot.variants(fakes.images(fakes.index(70))[:2], "any").shape == (2, plot.VARIANTS, 48, 48, 3)


def test_each_class_has_its_own_colour_line_and_marker():
    for part in ("color", "linestyle", "marker"):
        assert len({look[part] for look in style.looks(PALETTE).values()}) == len(CLASSES)


def test_an_unknown_palette_is_one_line():
    with pytest.raises(DermalineError, match=r"plot\.palette.*'mud'"):
        style.looks("mud")


def test_the_stage_writes_the_folder_whole(tmp_path, monkeypatch):
    fakes.project(tmp_path, ("lite0",), lesions=200)
    put_parameters(tmp_path, {"plot.dpi": 50})
    monkeypatch.chdir(tmp_path)
    evaluate.main()
    fakes.history().to_csv(tmp_path / "plots/training/left.csv", index=False)  # of a recipe that is not in use now
    plot.main()
    assert [path.name for path in (tmp_path / "plots/training").iterdir()] == ["lite0.csv"]
    written = {path.stem for path in (tmp_path / "plots/figures").iterdir()}
    assert len(written) == 14
    assert {"roc", "slices", "training_lite0", "augmentation", "samples"} <= written
    assert not list((tmp_path / "plots").glob(".*"))


def test_a_class_of_nearly_as_many_images_is_drawn_beside_the_other_not_over_it():
    counts = pd.Series({"nv": 944, "bkl": 157, "mel": 156, "df": 17, "vasc": 850})
    across = diagnostics.apart(counts)
    assert across[["df", "mel", "vasc"]].tolist() == counts[["df", "mel", "vasc"]].tolist()
    assert across.sort_values().pct_change().min() > 0.1
    assert (across / counts).max() < 1.15
