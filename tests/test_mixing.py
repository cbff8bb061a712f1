"""MixUp and CutMix: what is mixed is what the loss is told."""

import pytest
import torch

from dermaline.params.recipe import Mixing
from dermaline.training.mixing import mix

OFF = {"mixup": 0, "cutmix": 0, "no_mix_epochs": 0, "metadata_dropout": 0}
BATCH = 64


def mixed(**changes):
    """Images of one number each, mixed; the number says whose pixels they are."""
    flat = torch.arange(BATCH, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 24, 32)
    return mix(flat, Mixing.model_validate(OFF | changes), torch.Generator().manual_seed(0))


def test_mixup_blends_each_image_with_its_partner_by_its_share():
    pixels, mixture = mixed(mixup=0.4)
    own, other = torch.arange(BATCH), mixture.partner
    assert pixels[:, 0, 0, 0] == pytest.approx((mixture.lam * own + (1 - mixture.lam) * other).numpy(), abs=1e-4)
    assert sorted(other.tolist()) == own.tolist()
    assert len(set(mixture.lam.tolist())) == BATCH


def test_shares_follow_the_beta_distribution():
    options, generator = Mixing.model_validate(OFF | {"mixup": 0.4}), torch.Generator().manual_seed(9)
    shares = torch.cat([mix(torch.zeros(BATCH, 1, 1, 1), options, generator)[1].lam for _ in range(100)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert shares.var().item() == pytest.approx(0.25 / (2 * 0.4 + 1), abs=0.01)


def test_cutmix_says_the_share_of_pixels_that_is_left():
    pixels, mixture = mixed(cutmix=1.0)
    own = torch.arange(BATCH).view(-1, 1, 1)
    assert ((pixels[:, 0] == own) | (pixels[:, 0] == mixture.partner.view(-1, 1, 1))).all()
    moved = mixture.partner != torch.arange(BATCH)
    left = (pixels[:, 0] == own).float().mean(dim=(1, 2))
    assert left[moved] == pytest.approx(mixture.lam[moved].numpy(), abs=1e-6)
    assert 0.3 < mixture.lam.mean() < 0.8


def test_switched_off_nothing_is_touched_and_with_both_each_is_drawn():
    pixels, mixture = mixed()
    assert mixture is None
    assert torch.equal(pixels[:, 0, 0, 0], torch.arange(BATCH, dtype=torch.float32))
    generator, flat = torch.Generator().manual_seed(1), torch.rand(8, 3, 24, 32)
    both = Mixing.model_validate(OFF | {"mixup": 1, "cutmix": 1})
    pasted = [torch.isin(mix(flat, both, generator)[0], flat).all().item() for _ in range(40)]
    assert 8 < sum(pasted) < 32
