"""What TRIPOD+AI (Collins et al. 2024) asks a report of a prediction model for, item by item, and where it is told."""

from dermaline.reporting.tables import Table

ITEMS = {
    "Title, objectives": "at the top",
    "Background, care pathway": "not done",
    "Source of data, participants, centres, dates": "docs/data.md; dates of the photographs are not known",
    "Data preparation, near-duplicates, exclusions": "docs/data.md",
    "Outcome and how it was assessed": "by histology, follow-up, consensus or confocal microscopy, as HAM10000 states; "
    "not assessed again",
    "Predictors": "the image; age, sex and site too where `evaluate.metadata` or the recipe's `metadata` says so",
    "Sample size": "all there is; no calculation was made",
    "Missing data": "an image that can't be read stops the run, unless `prepare.bad_images` is drop; missing age, sex "
    "and site are said to the model as missing",
    "Analytical methods, tuning, internal validation": "docs/recipes.md, docs/results.md",
    "Class imbalance": "by the recipe: class weights or a sampler, docs/recipes.md",
    "Fairness": "by sex, age and site; by skin type not done, for the data do not have it",
    "Training against evaluation data": "one source, split as said above; no other is scored here",
    "Model output, thresholds": "above, and docs/using-a-model.md",
    "Ethics, consent": "of HAM10000's authors; none of our own was needed",
    "Protocol, registration": "not done",
    "Data, code and model available": "data at the Dataverse, code and released weights in the repository",
    "Patient and public involvement": "not done",
    "Performance with intervals, by groups": "above",
    "Calibration": "expected calibration error and reliability curve",
    "Model updating, external validation, clinical utility": "not here; docs/using-a-model.md says how to validate",
    "Interpretation, limitations, usability": "above: where it looks, and its limits",
}


def checklist() -> Table:
    return Table(["item", "where, or not done"], [list(row) for row in ITEMS.items()])
