"""The members of an ensemble: chosen while they help, and judged where they were not chosen."""

import fakes
import numpy as np
import pandas as pd
import pytest
from closure import ROOT

from benchmarks.members import greedy
from dermaline.base.classes import CLASSES
from dermaline.inference.decided import cross_fitted
from dermaline.params import whole

OPTIONS = whole.read(ROOT / "params.yaml").evaluate.model_copy(update={"metadata": False})
NONE = pd.DataFrame({"dx": []})  # no image was trained on


@pytest.fixture(scope="module")
def members():
    """Two models of the same skill, one of less, and one that knows nothing."""
    table = fakes.index()
    made = {name: fakes.predictions(table, skill, seed) for seed, (name, skill) in enumerate(SKILLS.items())}
    made["none"] = made["good"].assign(**dict.fromkeys(CLASSES, 1 / 7))
    return made


SKILLS = {"good": 2.2, "other": 2.2, "weak": 1.0}


def test_what_helps_is_chosen_and_what_knows_nothing_is_not(members):
    found = greedy(members)
    assert set(found[:2]) == {"good", "other"}
    assert "none" not in found
    assert greedy({name: members[name] for name in ("none", "weak")})[0] == "weak"


def test_a_half_is_decided_by_those_that_were_chosen_on_the_other(members):
    asked = []

    def choose(seen):
        asked.append(set(next(iter(seen.values()))["image_id"]))
        return ["weak"] if len(asked) % 2 else ["good"]

    both = {name: members[name] for name in ("good", "weak")}
    found = cross_fitted(both, NONE, OPTIONS, choose)
    alone = {name: cross_fitted({name: members[name]}, NONE, OPTIONS) for name in both}
    for deal in range(5):
        rows = found[found["image_id"].str.endswith(f"in deal {deal}")]
        for chosen, seen in (("weak", asked[2 * deal]), ("good", asked[2 * deal + 1])):
            others = rows[~rows["image_id"].str.split(" ").str[0].isin(seen)]
            same = alone[chosen].set_index("image_id").loc[others["image_id"]]
            assert np.allclose(others[[*CLASSES]], same[[*CLASSES]])
