"""The measurement of the leak, on features that give lesions away."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import leak
from dermaline.params.split import Split

SPLIT = Split(seed=0, val=0.15, test=0.15, folds=5, fold=None, unit="lesion")


def test_what_finds_the_lesion_again_gains_by_image_and_not_by_lesion():
    """Features that say which lesion it is and nothing of the diagnosis: chance by lesion, sure when images leak."""
    lesion = np.repeat(np.arange(420), 3)
    index = pd.DataFrame({"image_id": [f"i{row:04}" for row in range(1260)], "lesion_id": lesion.astype(str)})
    index["group"], index["dx"] = (
        index.lesion_id,
        np.array(["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"])[lesion % 7],
    )
    known = np.random.default_rng(0).normal(size=(420, 64))[lesion]
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    apart = leak.score(index, known, SPLIT)
    assert apart["leaked_test_images"] == 0
    assert apart["accuracy"] == pytest.approx(1 / 7, abs=0.08)
    dealt = leak.score(index, known, SPLIT.model_copy(update={"unit": "image"}))
    assert dealt["leaked_test_images"] > 0.8
    assert dealt["accuracy"] >= dealt["leaked_test_images"]
    assert leak.summary([apart, dealt])["accuracy"] == pytest.approx((apart["accuracy"] + dealt["accuracy"]) / 2)
