"""What the server answers, as typed JSON; OpenAPI is made of it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dermaline.base.classes import CLASSES
from dermaline.data.words import SEXES, SITES

Class = Literal[CLASSES]
RESEARCH = "For research only. Not a medical device; do not use it to decide about a patient."

_MODEL = {
    "version": "lite0_mixed+lite2_mixed-5d41402a",
    "hash": "5d41402abc4b2a76",
    "weights": {"lite0_mixed": "b772e21d4a12734f", "lite2_mixed": "0986e12f143dccbd"},
    "melanoma_threshold": 0.0770165,
    "set_coverage": 0.9,
    "set_by_class": True,
    "calibrated": True,
    "generated": False,
    "takes_metadata": True,
    "looks_for_other_images": True,
    "has_outlines": False,
}
_KNOWN = {"age": 70, "sex": "female", "localization": "back"}
_PREDICTED = {
    "name": "lesion.jpg",
    "predicted": "nv",
    "confidence": 0.6981214,
    "probabilities": dict(zip(CLASSES, (0.0021, 0.0034, 0.0903, 0.0012, 0.2025, 0.6981, 0.0024), strict=True)),
    "diagnoses": ["nv", "mel", "bkl"],
    "not_sure": True,
    "melanoma_suspected": True,
    "out_of_distribution": False,
}


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Model(Answer):
    """Which models answer, and what of them holds for all photographs."""

    version: str = Field(description="names of the networks, and the start of the hash")
    hash: str = Field(description="of weights, settings, views, decision and detector")
    weights: dict[str, str] = Field(description="digest of each network's weights file")
    melanoma_threshold: float | None = Field(description="probability from which on a melanoma is suspected")
    set_coverage: float | None = Field(description="share of lesions whose set is to hold the true diagnosis")
    set_by_class: bool | None = Field(
        description="whether that is the share of each diagnosis, or else of all together"
    )
    calibrated: bool = Field(description="whether probabilities were fitted on validation images")
    generated: bool = Field(description="whether a network learned from generated images, and so nothing of skin")
    takes_metadata: bool = Field(description="whether age, sex and localization count; if not, they are not looked at")
    looks_for_other_images: bool = Field(description="whether out_of_distribution is looked at")
    has_outlines: bool = Field(description="whether /explain outlines the lesion")


class Known(Answer):
    """What was said of the patient and the lesion's place, in the words of HAM10000; null: not known."""

    age: float | None = Field(description="in years")
    sex: Literal[SEXES] | None
    localization: Literal[SITES] | None


class Predicted(Answer):
    """A photograph that was predicted; the numbers are those of the command `predict`."""

    name: str
    predicted: Class = Field(description="by the fitted decision rule")
    confidence: float = Field(description="probability of the predicted diagnosis; calibrated if the model is")
    probabilities: dict[str, float] = Field(description="of each diagnosis; they sum to 1")
    diagnoses: list[Class] | None = Field(description="the conformal set, from the predicted one on; null without one")
    not_sure: bool | None = Field(description="whether the set has more than one; false does not mean sure")
    melanoma_suspected: bool | None = Field(description="whether melanoma_threshold is reached; null without one")
    out_of_distribution: bool | None = Field(description="whether it is no dermatoscopic image; null: not looked at")


class Unusable(Answer):
    """A photograph that could not be used, beside others that could."""

    name: str
    error: str


class Predictions(Answer):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"note": RESEARCH, "model": _MODEL, "known": _KNOWN, "images": [_PREDICTED]}]}
    )

    note: str = RESEARCH
    model: Model
    known: Known
    images: list[Predicted | Unusable] = Field(description="in the order in which they were sent")


class Explained(Answer):
    """Where the networks looked, over the photograph as they saw it; all three pictures have one shape."""

    name: str
    diagnosis: Class = Field(description="that the map speaks for")
    photograph_jpeg: str = Field(description="what the networks saw, turned and cropped, in base64")
    map_png: str = Field(description="Grad-CAM, coloured, with transparency, in base64")
    outline_png: str | None = Field(description="the lesion's outline, with transparency, in base64; null without one")


class Explanations(Answer):
    _shown = {"name": "lesion.jpg", "diagnosis": "nv", "photograph_jpeg": "/9j/4A...", "map_png": "iVBORw0KGg..."}
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"note": RESEARCH, "model": _MODEL, "known": _KNOWN, "images": [{**_shown, "outline_png": None}]}
            ]
        }
    )

    note: str = RESEARCH
    model: Model
    known: Known
    images: list[Explained | Unusable]


class Error(Answer):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"error": "lesion.pdf: no JPEG, PNG, WebP, TIFF or BMP"}]}
    )

    error: str = Field(description="what is wrong, in one line")


class Status(Answer):
    status: str = Field(examples=["ok"])
