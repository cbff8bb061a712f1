"""What a request says of the patient and of the lesion's place."""

from collections.abc import Mapping

import pandas as pd
import torch
from starlette.exceptions import HTTPException

from dermaline.base.errors import DermalineError
from dermaline.data import words
from dermaline.data.metadata import encode
from dermaline.serving.answers import Known

FORM = {  # OpenAPI of the fields, `words.COLUMNS`
    "age": {"type": "number", "minimum": 0, "maximum": 120, "description": "of the patient, in years"},
    "sex": {"enum": list(words.SEXES), "description": "of the patient"},
    "localization": {"enum": list(words.SITES), "description": "of the lesion"},
}


def understood(fields: Mapping[str, str]) -> tuple[Known, torch.Tensor]:
    """What the fields of a form say, and the same as `data.metadata.encode` makes it, [M]; empty ones say nothing.

    Raises:
        HTTPException: 422, an age that is none, or a word that `data.words` does not know.
    """
    rows = pd.DataFrame([{name: fields.get(name, "") for name in words.COLUMNS}])
    try:
        known = words.known(rows)
    except DermalineError as problem:
        raise HTTPException(422, str(problem)) from None
    for word in words.strange(rows).index:
        taken = FORM[word.split()[0]]["enum"]
        raise HTTPException(422, f"{word} is not known; give one of {', '.join(taken)}, or leave it out")
    said = {name: None if pd.isna(value) else value for name, value in known.iloc[0].items()}
    return Known(**said), encode(known)[0]
