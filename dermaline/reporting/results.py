"""The sections on what was measured of the final model."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dermaline.base.classes import CLASSES
from dermaline.evaluation import rates
from dermaline.evaluation.slices import MACRO, SHARES
from dermaline.evaluation.summary import OPERATING_POINT
from dermaline.explaining.words import WORDS, passed
from dermaline.reporting import tables
from dermaline.reporting.blocks import Captioned, Figure, Figures, Section, Text
from dermaline.reporting.run import FIGURES, MAPS, OUTLINES, Run
from dermaline.reporting.tables import COLUMNS, HEADLINE, NONE, Table, diagnosis, percent, with_ends, with_flat_ends

SCORES = HEADLINE | {
    "melanoma sensitivity of the diagnosis": "melanoma_sensitivity",
    "log loss (less is better)": "nll",
    "Brier score (less is better)": "brier",
}
FEW = f"A diagnosis of fewer than {rates.FEWEST_LESIONS} lesions has no row."
FOUND, LEFT_ALONE = "melanoma_sensitivity", "melanoma_specificity"


def headline(run: Run) -> Section:
    val = run.final["val"]
    scores = [[words, with_ends(run.test, key), with_flat_ends(val, key)] for words, key in SCORES.items()]
    words = (
        "Choose by validation, report the test. Each half of the validation images is scored with the decision that "
        "was fitted on the other half, but the epoch was chosen on all of them, so validation flatters."
    )
    blocks = [
        Text(words),
        Captioned(Table(["score", "test", "validation"], scores), "The final model"),
        Captioned(tables.protocols(run.tables["protocols"]), "The test, counted in other ways"),
    ]
    if len(run.details) > 1:
        blocks.append(Captioned(compared(run.tables["models"]), "Every model on validation, against the reference"))
    return Section("results", "Results", blocks)


def compared(models: pd.DataFrame) -> Table:
    """All models of the run: each score, and whether it is shown to differ from the reference's."""
    rows = [
        [f"`{row['model']}`", *(f"{with_flat_ends(row, key)}, {row[f'{key}_verdict']}" for key in COLUMNS.values())]
        for _, row in models.iterrows()
    ]
    return Table(["model", *COLUMNS], rows)


def by_diagnosis(run: Run) -> Section:
    words = (
        "Sensitivity: of the images that show the diagnosis, the share that is given it. Precision: of the images that "
        "are given the diagnosis, the share that shows it. AUC: how well its probability ranks them above all others."
    )
    table = Captioned(tables.classes(run.test, run.tables["confusion"]), "Test images by diagnosis")
    return Section("diagnoses", "By diagnosis", [Text(words), table])


def melanoma(run: Run) -> Section:
    """The operating point, in numbers of photographs."""
    point, val, rows = run.final.get(OPERATING_POINT), run.final["val"], []
    words = (
        "Validation or the test has no melanoma, so there is no threshold that was tested from which to suspect one."
    )
    if point and FOUND in point:
        threshold, wanted = run.decision.melanoma_threshold, percent(run.options.melanoma_sensitivity)
        missed, called = of_100(point, FOUND, rest=True), of_100(point, LEFT_ALONE, rest=True)
        words = (
            f"A photograph is called suspicious if its probability of melanoma is {threshold:.3f} or more. **Of 100 "
            f"photographs of melanomas, {of_100(point, FOUND)} are called suspicious, and {missed} are missed. Of 100 "
            f"other photographs, {called} are called suspicious.** The threshold was fitted to find {wanted} of the "
            "melanomas of validation."
        )
        rows.append(["suspicious at the threshold, test", *_of_hundreds(point)])
        fitted = {name: val[f"{name}_at_threshold"] for name in (FOUND, LEFT_ALONE)}
        halves = "suspicious, validation, each half at the threshold of the other"
        rows.append([halves, *_of_hundreds(fitted | {"intervals": {}})])
    rows.append(["melanoma is the diagnosis, test", *_of_hundreds(run.test)])
    heads = ["rule", "melanomas found", "melanomas missed", "others called melanoma", "others left alone"]
    table = Captioned(Table(heads, rows), "Of 100 photographs of melanomas, and of 100 others")
    patients = (
        f"These are photographs, not patients. Of the {run.test['cases']:,} of the test, "
        f"{run.test['per_class']['mel']['support']:,} show a melanoma; where melanomas are rarer than that, fewer of "
        "the suspicious photographs show one."
    )
    return Section("melanoma", "Melanoma", [Text(words), table, Text(patients)])


def of_100(scores: Mapping[str, Any], key: str, rest: bool = False) -> str:
    """A share with its interval as numbers of 100 cases; of the `rest` of them, if asked."""
    if key not in scores:
        return NONE
    ends = scores["intervals"].get(key, {})
    value, *interval = [round(100 * share) for share in (scores[key], *ends.values())]
    if rest:
        value, *interval = [100 - number for number in (value, *reversed(interval))]
    return f"{value} ({interval[0]} to {interval[1]})" if interval else str(value)


def _of_hundreds(scores: Mapping[str, Any]) -> list[str]:
    found, missed = (of_100(scores, FOUND, rest) for rest in (False, True))
    left_alone, called = (of_100(scores, LEFT_ALONE, rest) for rest in (False, True))
    return [found, missed, called, left_alone]


def confusion(run: Run) -> Section:
    pairs = run.tables["confusion"]
    counts = pd.crosstab(pairs["actual"], pairs["predicted"]).reindex(index=CLASSES, columns=CLASSES, fill_value=0)
    rows = [
        [diagnosis(dx), *(f"**{count:,}**" if dx == given else f"{count:,}" for given, count in row.items())]
        for dx, row in counts.iterrows()
    ]
    table = Table(["true diagnosis", *(f"`{dx}`" for dx in CLASSES)], rows)
    figure = Figure(
        FIGURES / "confusion_shares.png",
        "The confusion matrix as shares of each true diagnosis. The table above has the counts.",
        "Shares of each true diagnosis",
    )
    caption = "Test images by true diagnosis (rows) and given diagnosis (columns)"
    title = "Confusion matrix: what is taken for what"
    return Section("confusion", title, [Captioned(table, caption), Figures([figure])])


def curves(run: Run) -> Section:
    auc, precision = (with_ends(run.test, key) for key in ("macro_auc", "macro_average_precision"))
    of_melanoma = with_ends(run.test["per_class"]["mel"], "auc")
    roc = Figure(
        FIGURES / "roc.png",
        f"ROC curves of the seven diagnoses, each against the rest. Macro AUC {auc}, melanoma {of_melanoma}.",
        f"ROC, macro AUC {auc}",
    )
    pr = Figure(
        FIGURES / "precision_recall.png",
        f"Precision-recall curves of the seven diagnoses. Macro average precision {precision}.",
        f"Precision and recall, macro average precision {precision}",
    )
    words = Text("Each diagnosis against all others, at every threshold, on the test.")
    return Section("curves", "ROC and precision-recall curves", [words, Figures([roc, pr])])


def calibration(run: Run) -> Section:
    rows = []
    for _, row in run.tables["reliability"].iterrows():
        scored = [f"{row[key]:.3f}" for key in ("confidence", "accuracy")]
        rows.append([f"{percent(row['low'])} to {percent(row['high'])}", f"{row['count']:,.0f}", *scored])
    heads = ["largest probability", "images", "its mean", "share of which that class is right"]
    ece, nll, brier = (with_ends(run.test, key) for key in ("ece", "nll", "brier"))
    words = (
        "Probabilities are calibrated if, of the images whose most probable class is given 80 %, 80 % are of it. "
        f"Expected calibration error {ece}, log loss {nll}, Brier score {brier}."
    )
    figure = Figure(
        FIGURES / "reliability.png",
        "Reliability: how often the most probable class is right, by its probability. The table below has the numbers.",
        "Reliability on the test",
    )
    table = Captioned(Table(heads, rows), "Test images by the probability of their most probable class")
    title = "Calibration: are the probabilities right"
    return Section("calibration", title, [Text(words), Figures([figure]), table])


def doubt(run: Run) -> Section:
    rule, sets, selective = run.decision.set_rule, run.tables["sets"], run.final["selective"]
    words = (
        "The surest images are those with the largest probability of their diagnosis. To leave only the others to a "
        "doctor is no way of working: melanomas are among the surest too. Balanced accuracy is over the diagnoses "
        "that are among them: it falls where a rare one enters that is not found."
    )
    risk = Figure(
        FIGURES / "risk_coverage.png",
        "Accuracy of the surest share of the images, and how many melanomas are among them. The table has the numbers.",
        f"Risk and coverage, area {selective['risk_area']:.3f}",
    )
    coverage = Figure(
        FIGURES / "set_coverage.png",
        "How often sets of diagnoses hold the true one, against what they promise. The tables have the numbers.",
        "What sets promise, and what they hold",
    )
    blocks = [
        Text(words),
        Figures([risk, coverage]),
        Captioned(tables.selective(selective), "The surest share of the test images"),
        Captioned(tables.all_sets(sets), "Sets of diagnoses, fitted on validation, on the test; a lesion counts once"),
    ]
    if rule is not None:
        caption = f"The sets that `predict` gives, by diagnosis; {percent(rule.coverage)} is promised"
        blocks.append(Captioned(tables.chosen_sets(sets, rule), caption))
        bare = tables.bare_sets(run.final.get("sets_without_metadata"))
        single = tables.single_sets(sets, rule)
        said = filter(None, (single, single != tables.NO_SINGLE and "A set of one is no sure diagnosis", bare))
        blocks.append(Text(". ".join(said) + "."))
    return Section("doubt", "How sure it is", blocks)


def groups(run: Run) -> Section:
    slices, keys, rows = run.tables["slices"], (*SHARES, *MACRO), []
    for _, row in slices.iterrows():
        counts = [f"{row[key]:,}" for key in ("images", "lesions", "melanomas")]
        note = "" if pd.isna(row["note"]) else row["note"]
        name = "**all test images**" if row["variable"] == "all" else f"{row['variable']}: {row['value']}"
        over = NONE if pd.isna(row["balanced_accuracy"]) else str(len(row["classes"].split()))
        rows.append([name, *counts, *(with_flat_ends(row, key) for key in keys), over, note])
    differ = tables.differing_slices(slices)
    verdict = Captioned(differ, "Groups that are shown to differ from all other test images")
    said = "**No group is shown to differ from all other test images.** Most are too small to show it."
    none = Text(said if len(slices) > 1 else "Of age, sex and place nothing is known that tells groups apart.")
    words = (
        "The intervals of differences are corrected for the number of comparisons. Balanced accuracy and AUC of a "
        "group are over the diagnoses that it has enough lesions of, so they compare only roughly. "
        f"{tables.MORE_NEVI}: a better one is no better finding of melanoma."
    )
    figure = Figure(
        FIGURES / "slices.png",
        "Scores of each group of patients with their intervals. The table below has the numbers.",
        "Scores by group",
    )
    table = Table(["group", "images", "lesions", "melanomas", *tables.words(keys), "of diagnoses", "note"], rows)
    blocks = [
        verdict if differ.rows else none,
        Text(words),
        Figures([figure]),
        Captioned(table, "Test images by group"),
    ]
    return Section("groups", "On whom it differs", blocks)


def explanations(run: Run) -> Section:
    """Verdicts first: nobody is to look at maps that failed unwarned."""
    words = (
        "A map (Grad-CAM) marks what in the photograph speaks for a diagnosis. Maps that pass are no proof that the "
        "model reasons as a doctor does (docs/explanations.md)."
    )
    shown = [
        Figure(
            MAPS / f"{name}.png",
            f"Of each diagnosis, a test image that {name} predicts right, with its map, and one that it predicts "
            "wrong, with its maps for the predicted and for the true diagnosis. A white line is the lesion's outline.",
            f"Maps of `{name}`: what speaks for a diagnosis",
            wide=True,
        )
        for name in run.explained
    ]
    checks = tables.explained(run.explained)
    blocks = [*(map_verdict(name, told) for name, told in run.explained.items()), Text(words)]
    blocks += [Captioned(checks, "Checks of the maps on test images")] if checks.rows else []
    return Section("explanations", "Where it looked", [*blocks, Figures(shown)])


def map_verdict(name: str, told: Mapping[str, Any]) -> Text:
    checks = told["checks"]
    failed = [WORDS[key] for key, one in checks.items() if not one["passed"]]
    counted = f"on {told['images']:,} images of {told['lesions']:,} lesions"
    if not checks:
        return Text(f"**The maps of `{name}` were not checked.** Do not believe them.", loud=True)
    if failed:
        words = f"failed {len(failed)} of {len(checks)} checks {counted}: {'; '.join(failed)}."
        return Text(f"**Do not believe the maps of `{name}`.** They {words}", loud=True)
    return Text(f"The maps of `{name}`, {counted}: {passed(checks)}.")


def outlines(run: Run) -> Section:
    told, title = run.segmentation, "Where the lesion is"
    if not told:
        return Section("outlines", title, [Text("The source has no outlines: none was learned, and none is measured.")])
    better = told["better"]
    words = (
        "A U-Net outlines the lesion of each photograph; the networks that outline one have not seen it. The Jaccard "
        "index is the share of what is inside either outline that is inside both; thresholded, what is under 0.65 "
        "counts as 0. The distance of the boundaries is a share of the image's diagonal (less is better). On the test, "
        f"ours is better than the better plain threshold (`{better['than']}`) by {tables.mean(better)}. {FEW}"
    )
    figure = Figure(
        OUTLINES,
        "How the Jaccard index is spread over the images of each diagnosis, and the photographs where it is least.",
        "Outlines of the test images",
        wide=True,
    )
    blocks = [Text(words), Captioned(tables.outlines(told), "Outlines against the known ones"), Figures([figure])]
    return Section("outlines", title, blocks)


def strangers(run: Run) -> Section:
    missed = [name for name, share in run.ood["photographs"].items() if share < 0.5]
    words = (
        "A detector tells what is no dermatoscopic image: a face, a page, noise. It is meant to call few lesions so, "
        f"and everything else. It does not tell another disease, nor whether a diagnosis is right. {FEW}"
    )
    said = f"Photographs of packages that it takes for lesions: {', '.join(missed) or 'none'}."
    table = Captioned(tables.out_of_distribution(run.ood), "Called out of distribution")
    return Section("strangers", "What is no dermatoscopic image", [Text(words), table, Text(said)])
