"""Reading the packed images at the size that a network wants."""

import numpy as np
import pandas as pd
import pytest
import torch

from dermaline.data import batches

CPU = torch.device("cpu")


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Two packed images of 60 x 80, the right half white."""
    monkeypatch.chdir(tmp_path)
    batches.PREPARED.mkdir(parents=True)
    images = np.zeros((2, 60, 80, 3), np.uint8)
    images[:, :, 40:] = 255
    np.save(batches.PREPARED / "images.npy", images)
    return pd.DataFrame({"row": [1, 0]})


@pytest.mark.parametrize(
    ("size", "kept"),
    [((42, 56), (48, 64)), ((21, 28), (24, 32)), ((60, 80), (60, 80)), ((42, 42), (48, 64)), ((56, 56), (60, 80))],
)
def test_training_images_are_a_seventh_larger_and_keep_their_shape(rows, size, kept):
    assert tuple(batches.training_images(rows, size, CPU).shape) == (2, 3, *kept)


def test_images_are_enlarged_with_a_warning_when_they_must_be(rows, capsys):
    assert tuple(batches.load_images(rows, (60, 80), CPU).shape) == (2, 3, 60, 80)
    assert capsys.readouterr().out == ""
    found = batches.training_images(rows, (90, 90), CPU)
    assert tuple(found.shape) == (2, 3, 90, 120)
    assert (found[..., :50] == 0).all()
    assert (found[..., 70:] == 255).all()
    assert "packed at 60x80 are enlarged to 90x120" in capsys.readouterr().out
