"""Reading the packed images at the size that a network wants."""

import numpy as np
import pandas as pd
import pytest
import torch

from dermaline.base.classes import CLASSES
from dermaline.data import batches, metadata
from stages import train

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
    assert [found.size for found in batches.training_images(rows, size, "whole", None, CPU)] == [kept]


def test_images_are_made_smaller_by_means_not_by_leaving_out(rows):
    board = np.indices((60, 80)).sum(axis=0) % 2 * np.uint8(255)
    np.save(batches.PREPARED / "images.npy", np.broadcast_to(board[..., None], (2, 60, 80, 3)))
    found = batches.load_images(rows, (12, 16), CPU)[..., 2:-2, 2:-2].float()
    assert (found - 127.5).abs().max() < 16


def test_images_are_enlarged_with_a_warning_when_they_must_be(rows, capsys):
    assert tuple(batches.load_images(rows, (60, 80), CPU).shape) == (2, 3, 60, 80)
    assert capsys.readouterr().out == ""
    found = batches.training_images(rows, (90, 90), "whole", None, CPU)[0].pixels
    assert tuple(found.shape) == (2, 3, 90, 120)
    assert (found[..., :50] == 0).all()
    assert (found[..., 70:] == 255).all()
    assert "packed at 60x80 are enlarged to 90x120" in capsys.readouterr().out


def test_training_and_validation_have_the_images_of_their_own_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    batches.PREPARED.mkdir(parents=True)
    split = ["val", "train", "test", "train", "val", "train", "test", "val"]
    dx = ["mel", "nv", "df", "bcc", "vasc", "mel", "nv", "bkl"]
    table = pd.DataFrame({"row": range(7, -1, -1), "image_id": [f"00{n}" for n in range(8)], "split": split, "dx": dx})
    table = table.assign(lesion_id="a", group="a", age=[10.0 * n for n in range(8)], sex="male", localization="back")
    table.drop(columns="split").to_csv(batches.PREPARED / "index.csv", index=False)
    table[["image_id", "split"]].sample(frac=1, random_state=0).to_csv(batches.SPLIT, index=False)
    numbers = np.arange(8, dtype=np.uint8)[:, None, None, None]
    np.save(batches.PREPARED / "images.npy", numbers * np.ones((24, 32, 3), np.uint8))
    for name, found in zip(("train", "val"), train.examples(CPU), strict=True):
        own = table[table.split == name]
        assert found.images((24, 32))[:, 0, 0, 0].tolist() == own.row.tolist()
        assert [CLASSES[label] for label in found.labels] == own.dx.tolist()
        assert torch.equal(found.metadata, metadata.encode(own))
        for view, size, crop_from in (
            ("whole", (24, 32), None),
            ("crop", (12, 16), (24, 32)),
            ("mixed", (12, 16), (24, 32)),
        ):
            for photographs in found.to_augment(size, view, crop_from):
                assert photographs.pixels[photographs.rows][:, 0, 0, 0].tolist() == own.row.tolist(), view


def test_mixed_views_are_made_of_sizes_half_an_octave_apart(rows):
    found = batches.training_images(rows, (24, 32), "mixed", (60, 80), CPU)
    assert [one.size for one in found] == [(60, 80), (42, 57), (30, 40)]
    assert [one.size for one in batches.training_images(rows, (24, 32), "crop", (48, 64), CPU)] == [(48, 64)]
