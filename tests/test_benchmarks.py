"""What the benchmarks measure is what they say: the parts of them that compute, on a few images."""

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import feeding, leak
from benchmarks.step import quick_recipe
from dermaline.compute import setup_fabric
from dermaline.data.photographs import channels_first

SIZE = (32, 48)


@pytest.fixture
def recipe():
    return quick_recipe(size=SIZE, batch_size=4)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, 40, 60, 3), dtype=np.uint8)


def test_our_input_path_gives_every_image_once_at_the_networks_size(recipe):
    packed = channels_first(images(8))
    batches = list(feeding.our_batches(packed, recipe, SIZE))
    assert [tuple(pixels.shape) for pixels, _ in batches] == [(4, 3, *SIZE)] * 2
    assert sorted(torch.cat([target for _, target in batches]).tolist()) == [0, 0, 1, 2, 3, 4, 5, 6]
    assert feeding.v2_turns(packed, recipe, SIZE, lambda: None).min() > 0


def test_the_features_that_find_a_lesion_again_are_those_of_the_image(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/prepared").mkdir(parents=True)
    drawn = images(4)
    drawn[3] = drawn[1]
    np.save("data/prepared/images.npy", drawn)
    index = pd.DataFrame({"row": range(4), "image_id": list("abcd")})
    known = leak.features(index, recipe, setup_fabric("cpu", "32-true"))
    alike = known @ known.T
    assert np.linalg.norm(known, axis=1) == pytest.approx(1, abs=1e-5)
    assert alike[1, 3] == pytest.approx(1, abs=1e-5)
    assert alike[0, 1] < 0.999
