"""Training of the U-Net: once for each fold of the training images, on the others, so that each image has an outline
by a network that has not seen it."""

import time
from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric import Fabric
from segmentation_models_pytorch.losses import DiceLoss
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from dermaline.data.photographs import Photographs
from dermaline.params.segment import Segment
from dermaline.segmentation.network import UNet
from dermaline.training.augment import augment
from dermaline.training.checkpoint import ResumeCheckpoint
from dermaline.training.depthwise import quick_depthwise

WARMUP = 0.1  # share of the steps in which the rate rises
FEWEST_STEPS = 11  # OneCycleLR divides by zero where the first step is all of the rise
Weights = dict[str, Tensor]


class FoldTraining:
    """The network of one fold, and what its training goes on from after a stop."""

    def __init__(self, options: Segment, fold: int, rows: Tensor, fabric: Fabric) -> None:
        """`rows`: int64, the images that it learns from."""
        self.options, self.fold, self.rows, self.fabric = options, fold, rows, fabric
        self.epoch = 0
        torch.manual_seed(self._seed())
        self.network = UNet(options, pretrained=True).to(fabric.device)
        self.average = ModelEmaV3(self.network, decay=options.ema, use_warmup=True, warmup_power=1)
        rates = {"lr": options.lr, "weight_decay": options.weight_decay}
        optimizer = torch.optim.AdamW(self.network.parameters(), **rates, fused=True)
        self.model, self.optimizer = fabric.setup(self.network, optimizer)
        steps = max(FEWEST_STEPS, options.epochs * len(self._batches()))
        rising = {"pct_start": WARMUP, "cycle_momentum": False}
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, steps, **rising)

    def _seed(self) -> int:
        """Of the random numbers of an epoch, so that a training that was stopped goes on as one that was not."""
        return self.options.seed * 100_003 + self.fold * 1_009 + self.epoch

    def _batches(self) -> list[Tensor]:
        """An epoch's batches, those that are full; or all images where there is none."""
        order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(self._seed()))
        size = self.options.batch_size
        batches = [batch for batch in self.rows[order].split(size) if len(batch) == size]
        return batches or [self.rows[order]]

    def run_epoch(self, images: list[Photographs]) -> float:
        """Train for an epoch; the mean loss."""
        batches, generator = self._batches(), torch.Generator().manual_seed(self._seed())
        torch.manual_seed(self._seed())
        self.epoch += 1
        self.network.train()
        total = torch.zeros((), device=self.fabric.device)
        for chosen in batches:
            views = augment(images, chosen, self.options.size, self.options, generator, self.fabric.device)
            with quick_depthwise(self.fabric.device):
                logits = self.model(views[:, :3]).float()
            loss = loss_of(logits, views[:, 3])
            self.fabric.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.average.update(self.network, step=self.schedule.last_epoch)
            self.schedule.step()
            total += loss.detach()
        return total.item() / len(batches)

    @property
    def parts(self) -> dict[str, Any]:
        """What has a state, by name."""
        whole = {"network": self.network, "average": self.average.module}
        return whole | {"optimizer": self.optimizer, "schedule": self.schedule}

    def state(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts.items()} | {"epoch": self.epoch}

    def restore(self, state: dict[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.epoch = state["epoch"]


def train(
    options: Segment,
    images: list[Photographs],
    folds: Tensor,
    fabric: Fabric,
    scratch: ResumeCheckpoint,
    say: Callable[[str], None],
) -> list[Weights]:
    """Train a network for each fold; from the last checkpoint, if there is one.

    Args:
        options: of the section `segment`.
        images: uint8 [N, 4, H, W], photographs with the outline as fourth channel, 255 inside; of the size that
            `data.photographs.sizes_for` gives for whole views.
        folds: int64 [N], from 0 to `options.folds` - 1; -1 for images that none is to learn from.
        fabric: of one process.
        scratch: where the checkpoint is.
        say: told a line an epoch.

    Returns:
        For each fold the average weights of the network that has not seen it.
    """
    checkpoint = scratch.load() or {"done": [], "training": None}
    done = checkpoint["done"]
    for fold in range(len(done), options.folds):
        rows = torch.nonzero((folds != fold) & (folds >= 0))[:, 0]
        training = FoldTraining(options, fold, rows, fabric)
        if checkpoint["training"]:
            training.restore(checkpoint.pop("training"))
            say(f"resumed after epoch {training.epoch} of fold {fold}")
        checkpoint["training"] = None
        while training.epoch < options.epochs:
            start = time.perf_counter()
            loss = training.run_epoch(images)
            scratch.save({"done": done, "training": training.state()})
            seconds = time.perf_counter() - start
            say(f"fold {fold}, epoch {training.epoch}  loss {loss:.4f}  {len(rows) / seconds:.0f} images/s")
        done.append({name: value.cpu() for name, value in training.average.module.state_dict().items()})
        scratch.save({"done": done, "training": None})
    return done


def loss_of(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the pixels, and the Dice loss of each image (Milletari et al. 2016), in equal parts.

    Args:
        logits: float [B, H, W].
        mask: float [B, H, W] in 0..1.
    """
    dice = DiceLoss("multilabel", smooth=1.0)  # takes what is on its second axis for one mask each, over the batch
    per_image = dice(logits[None], mask[None])
    return nn.functional.binary_cross_entropy_with_logits(logits, mask) + per_image
