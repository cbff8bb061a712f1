"""The sections on what was made: what this is, the data, the decision, the models, and what is missing."""

from collections.abc import Iterator

import numpy as np

from dermaline.base.classes import CLASSES
from dermaline.base.versions import pinned
from dermaline.data.patients import FINDINGS
from dermaline.evaluation.summary import OPERATING_POINT
from dermaline.explaining.words import WORDS, passed
from dermaline.inference.likelihood_ratios import LikelihoodRatios
from dermaline.models.model_info import clean
from dermaline.reporting import results, tables
from dermaline.reporting.blocks import Captioned, Figure, Figures, Points, Section, Text
from dermaline.reporting.checklist import checklist
from dermaline.reporting.run import FIGURES, Run
from dermaline.reporting.tables import NONE, Table, diagnosis, percent, with_ends

RESEARCH = (
    "**For research only.** This is no medical device, and no clinical study has been made of it. Do not use it to "
    "decide about a patient, with or without a doctor."
)
GENERATED = (
    "**Generated images.** A program drew every image of this run. No number and no figure on this page says anything "
    "about skin: they test the software."
)
BRACKETS = (
    "Brackets hold 95 % intervals over lesions: where the number may lie for other lesions like these. They do not "
    "cover another training, another camera or another clinic. A number stands without an interval, or a dash for a "
    "number, where there are too few cases, or where none is computed. Those of means over diagnoses are rather short "
    "where a diagnosis has few lesions. Near-duplicates, and the lesions of a patient who is known, count as one."
)
USE = [
    "**Intended use**: research on classifiers of pigmented lesions, and teaching.",
    "**Not for**: a decision about a patient, with or without a doctor; lesions of other kinds than the seven; "
    "photographs by a plain camera; screening of whole skin.",
]
LIMITS = [
    "What follows is of HAM10000. Of photographs of your own, say the like: who is in them, of which clinic.",
    "HAM10000's photographs are of two centres, in Vienna and in Queensland. Expect less elsewhere.",
    "Skin types V and VI are almost absent from HAM10000. Nothing here says anything about such skin.",
    "The rare diagnoses have few lesions on the test: see the width of their intervals.",
    "HAM10000 (Tschandl, Rosendahl & Kittler 2018) is CC BY-NC 4.0: for non-commercial use, with attribution. That "
    "holds for models that learned from it, and for this page, which shows some of it.",
]
REBUILD = [
    "`dvc repro`, in a clone at the commit whose `dvc.lock` has this page's MD5, and with its parameters.",
    "The weights are those of the digests above; `dvc pull` brings them from a remote that has them.",
    "What it cost in time stands beside recorded runs (docs/results.md); energy was not measured.",
]
GROUPED = {
    "lesion": "A lesion, with all its photographs and the near-duplicates of them that were found (turned, mirrored or "
    "zoomed ones are not), is in one part only; so is a patient, where the table names them.",
    "image": "Nothing excludes it: the split is by image, so photographs of one lesion are in several parts.",
}
SETTINGS = {  # of a model's recipe, in words
    "backbone": "backbone",
    "weights": "starts from the weights",
    "view": "view of a photograph",
    "metadata": "age, sex and site as input",
    "loss": "loss",
    "batch_size": "batch size",
    "lr": "learning rate",
    "seed": "seed",
}
FACTS = {  # of its training
    "prepared_size": "photographs packed at (height, width)",
    "size": "input of the network (height, width)",
    "epoch": "epoch that was kept",
    "device": "trained on",
    "precision": "precision",
    "torch": "torch",
    "timm": "timm",
}


def about(run: Run) -> Section:
    backbones = [known["recipe"]["backbone"] for known in run.models.values()]
    network = f"The network {backbones[0]}" if len(backbones) == 1 else f"The mean of {len(backbones)} networks"
    beside = ", and what is known of age, sex and place," if run.decision.likelihood_ratios else ""
    words = (
        f"{network} ({', '.join(f'`{name}`' for name in run.models)}) takes one dermatoscopic image{beside} and gives "
        "calibrated probabilities of seven diagnoses, one diagnosis, whether a melanoma is to be suspected, and a set "
        "of diagnoses that is meant to hold the true one. It knows no other diagnosis: "
        "any image is given one of the seven."
    )
    glance = Table(["question", "answer"], [list(row) for row in at_a_glance(run)])
    loud = [Text(warning, loud=True) for warning in warnings(run)]
    return Section("about", "What this is", [*loud, Text(words), Captioned(glance, "At a glance"), Text(BRACKETS)])


def warnings(run: Run) -> Iterator[str]:
    """What is to be known before any number is read."""
    yield RESEARCH
    if run.generated:
        yield GENERATED
    if share := run.split["leaked_test_images"]:
        what = f"{percent(share)} of the test images show a lesion that training images show too"
        yield f"**The split leaks.** {what}. No score on this page can be expected of new lesions."
    for name, known in run.models.items():
        if not clean(known):
            what = "It started or learned from a model that is not known to be of this split"
            yield f"**`{name}` may have seen the test.** {what}. No score of it is a measurement."


def at_a_glance(run: Run) -> Iterator[tuple[str, str]]:
    """The questions that a reader comes with, and short answers."""
    test, point = run.split["test"], run.final.get(OPERATING_POINT)
    yield "What images?", "generated by a program" if run.generated else "photographs"
    yield "Tested on how many?", f"{test['images']:,} images of {test['lesions']:,} lesions"
    yield "Mean of the diagnoses' sensitivities (balanced accuracy)?", with_ends(run.test, "balanced_accuracy")
    if point:
        yield "Of 100 photographs of melanomas, how many are called suspicious?", results.of_100(point, results.FOUND)
        called = results.of_100(point, results.LEFT_ALONE, rest=True)
        yield "Of 100 other photographs, how many are called suspicious?", called
    for name, told in run.explained.items():
        failed = [key for key, one in told["checks"].items() if not one["passed"]]
        verdict = f"{'yes' if len(told['checks']) == len(WORDS) else 'in part'}: {passed(told['checks'])}"
        if failed:
            verdict = f"no: {len(failed)} of {len(told['checks'])} checks failed"
        yield f"Can the maps of `{name}` be believed?", verdict if told["checks"] else "no: not checked"
    differ = tables.differing_slices(run.tables["slices"]).rows
    told = [f"{group} ({score} {verdict})" for group, _, score, _, verdict, _ in differ if score != "accuracy"]
    question = "Which groups of patients are shown to differ in balanced accuracy, or in melanomas found?"
    yield question, "; ".join(told) or "none"


def data(run: Run) -> Section:
    options, split = run.split_options, run.split
    drawn = f"fold {options.fold} of {options.folds}" if options.fold is not None else "by shares"
    leaked = f"{percent(split['leaked_test_images'])} of the test images show a lesion that a training image shows"
    blocks = [
        Text(GENERATED, loud=True)
        if run.generated
        else Text("The images are photographs (docs/data.md). Their licence holds for this page, which shows some."),
        Captioned(tables.parts(split), "Images of each part by diagnosis"),
        Captioned(tables.patients(split), "Patients of each part by image: one with more images counts as often"),
        Text(
            "The networks learn from training. Validation chooses the epoch and fits the decision. The test is scored."
        ),
        Text(
            f"**How a leak is excluded.** {GROUPED[options.unit]} {leaked}. The split is stratified by diagnosis, "
            f"{drawn}, with seed {options.seed}."
        ),
        Figures(
            [
                Figure(
                    FIGURES / "class_distribution.png",
                    "Images and lesions of each diagnosis in each part. The first table has the images.",
                    "Images and lesions by diagnosis",
                ),
                Figure(FIGURES / "samples.png", "Training images, a row for each diagnosis.", "Training images"),
            ]
        ),
    ]
    return Section("data", "Which data", blocks)


def decision(run: Run) -> Section:
    given, rule, threshold = run.decision, run.decision.set_rule, run.decision.melanoma_threshold
    ratios = given.likelihood_ratios
    promised = "for each diagnosis" if rule and rule.by_class else "for all of them together"
    chosen = "the largest probability p" if not given.tau else f"the largest p / prior^{given.tau:g}"
    rows = [
        ["calibration", run.options.calibration],
        ["temperature", f"{given.temperature:.4f}"],
        *([f"temperature of `{name}`", f"{value:.4f}"] for name, value in given.temperatures.items()),
        ["power of the likelihood ratios of age, sex and place", f"{ratios.power:.4f}" if ratios else NONE],
        ["diagnosis", chosen],
        ["melanoma is suspected from a probability of", NONE if threshold is None else f"{threshold:.4f}"],
        ["which is to find of the melanomas of validation", percent(run.options.melanoma_sensitivity)],
        ["sets are to hold the truth", f"of {percent(rule.coverage)} of the lesions, {promised}" if rule else NONE],
        ["fitted on", f"{given.val_images:,} images of validation, {given.val_melanomas:,} of melanomas"],
    ]
    classes = [
        [
            diagnosis(dx),
            f"{given.prior[dx]:.4f}",
            f"{given.factors[dx]:.4f}",
            f"{rule.thresholds[dx]:.4f}" if rule else NONE,
        ]
        for dx in CLASSES
    ]
    heads = ["diagnosis", "prior: share in training", "factor of calibration", "in the set from a probability of"]
    words = Text("Fitted on validation alone, and applied to the test and to new images as it stands.")
    whole = Captioned(Table(["what", "value"], rows), "From probabilities to a diagnosis")
    blocks = [words, whole, Captioned(Table(heads, classes), "By diagnosis")]
    if ratios:
        blocks.append(Captioned(findings(ratios), "By how much a finding multiplies the probability of each diagnosis"))
    return Section("decision", "The decision", blocks)


def findings(given: LikelihoodRatios) -> Table:
    """By how much each finding multiplies the probability of each diagnosis, before they sum to 1 again."""
    rows = zip(FINDINGS, np.exp(given.logarithms()), strict=True)
    return Table(["finding", *CLASSES], [[name, *(f"{factor:.2f}" for factor in row)] for name, row in rows])


def models(run: Run) -> Section:
    known = run.models.values()
    rows = [[words, *(_cell(one["recipe"].get(key)) for one in known)] for key, words in SETTINGS.items()]
    rows.append(["epochs, at most", *(str(sum(phase["epochs"] for phase in one["recipe"]["phases"])) for one in known)])
    rows += [[words, *(_cell(one.get(key)) for one in known)] for key, words in FACTS.items()]
    rows.append(["digest of the weights (BLAKE2b)", *(f"`{digest}`" for digest in run.decision.models.values())])
    sections = {"split": run.split_options.model_dump(), "evaluate": run.options.model_dump()}
    options = [[f"`{name}.{key}`", _cell(value)] for name, one in sections.items() for key, value in one.items()]
    figures = [
        Figure(
            FIGURES / f"training_{name}.png",
            f"Loss and scores of {name} on validation, epoch by epoch.",
            f"Training of `{name}`",
        )
        for name in run.models
    ]
    heads = ["what", *(f"`{name}`" for name in run.models)]
    blocks = [
        Captioned(Table(heads, rows), "The models; `params.yaml` and `recipes/` have all settings"),
        Figures(figures),
        Captioned(Table(["parameter", "value"], options), "How the images were split and the models scored"),
        Captioned(Table(["package", "version"], [list(pin) for pin in pinned().items()]), "What the numbers depend on"),
    ]
    return Section("models", "Models, recipes, versions", blocks)


def _cell(value: object) -> str:
    """A value of a parameter in words."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    if value is None or isinstance(value, bool):
        return {None: NONE, True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def use(run: Run) -> Section:
    limits = LIMITS if not run.generated else ["Of skin nothing can be learned from generated images."]
    words = "A lesion that is none of the seven diagnoses is given one of them all the same."
    return Section("use", "For what it is, and its limits", [Points(USE), Text(words), Points(limits)])


def rebuild(run: Run) -> Section:
    return Section("rebuild", "How to have it again", [Points(REBUILD)])


def reporting(run: Run) -> Section:
    none = Text("TRIPOD+AI asks about patients. The images of this run are generated, so there are none.")
    asked = Captioned(checklist(), "What TRIPOD+AI asks for, of a run on HAM10000")
    return Section("checklist", "TRIPOD+AI, item by item", [none if run.generated else asked])


def missing(run: Run) -> Section:
    """What a reader may look for in vain."""
    slices, absent = run.tables["slices"], run.test["absent_classes"]
    few = int(slices["note"].notna().sum())
    points = [f"No test image shows {diagnosis(dx)}: no mean has it in it." for dx in absent]
    points += [f"The maps of `{name}` were not checked." for name, told in run.explained.items() if not told["checks"]]
    points += [f"{few} of {len(slices) - 1} groups of patients have too few lesions to be scored."] if few else []
    points += [
        "Photographs of elsewhere: none are scored on this page (docs/using-a-model.md, External validation).",
        "Other seeds and folds: this is one training on one split (docs/cross-validation.md).",
        "Skin type: the data do not tell it, so nobody knows how the scores depend on it.",
        "Doctors: no doctor's diagnosis was compared with the model's, with its help or without.",
    ]
    return Section("missing", "What is missing", [Points(points)])
