"""The training loop: phases, the average of the weights, validation, early stopping, and coming back after a stop."""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from timm.utils import ModelEmaV3
from tqdm import tqdm

from dermaline.data.batches import shuffled
from dermaline.errors import DermalineError
from dermaline.evaluation import metrics
from dermaline.inference.predict import probabilities
from dermaline.models.network import Network
from dermaline.params import Phase, Recipe
from dermaline.training.augment import augment
from dermaline.training.checkpoint import Scratch
from dermaline.training.loss import make_loss
from dermaline.training.schedule import factor, make_optimizer, set_rates

SELECTED_BY = "val_balanced_accuracy"


@dataclass
class Examples:
    """Images uint8 [N, 3, H, W] and their labels int64 [N]."""

    images: torch.Tensor
    labels: torch.Tensor


class Training:
    """Trains one recipe; `run` gives the weights of the best epoch.

    Every epoch seeds its own random numbers from the recipe's seed and its number, so a training that was stopped
    and came back goes the same way, bit for bit on a CPU, as one that was not.
    """

    def __init__(self, recipe: Recipe, train: Examples, val: Examples, fabric: Fabric, scratch: Scratch) -> None:
        self.recipe, self.train, self.val, self.fabric, self.scratch = recipe, train, val, fabric, scratch
        torch.manual_seed(recipe.seed)
        network = Network(recipe, pretrained=True).to(memory_format=torch.channels_last)
        self.model = fabric.setup_module(network)
        self.network: Network = self.model.module
        self.average = ModelEmaV3(self.network, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        self.loss = make_loss(recipe, train.labels)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, torch.Tensor] = {}

    def run(self) -> dict[str, torch.Tensor]:
        """Train every phase, from the last checkpoint if there is one; the state dict of the best epoch."""
        state = self.scratch.load()
        if state:
            self._restore(state)
            print(f"resumed after epoch {len(self.history)}", flush=True)
        for phase in self.recipe.phases:
            self._run_phase(phase, state)
        return self.best

    def _run_phase(self, phase: Phase, state: dict[str, Any] | None) -> None:
        name = phase.name
        done = sum(row["phase"] == name for row in self.history)
        optimizer = self.fabric.setup_optimizers(make_optimizer(self.network, self.recipe, phase))
        if state and state["phase"] == name:
            optimizer.load_state_dict(state["optimizer"])
        for number in range(done, phase.epochs):
            if self._stale_epochs(name) >= self.recipe.patience or self._is_past(name):
                return
            said = self._run_epoch(phase, number, optimizer)
            self._checkpoint(name, optimizer)
            print(said, flush=True)  # once it is safe: an epoch that was reported is never lost

    def _is_past(self, name: str) -> bool:
        """Whether training has already gone on to a phase after this one (seen when it resumes)."""
        order = [phase.name for phase in self.recipe.phases]
        return bool(self.history) and order.index(self.history[-1]["phase"]) > order.index(name)

    def _stale_epochs(self, name: str) -> int:
        """How many epochs of the phase have passed since its best one."""
        scores = [row[SELECTED_BY] for row in self.history if row["phase"] == name]
        return len(scores) - 1 - scores.index(max(scores)) if scores else 0

    def _run_epoch(self, phase: Phase, number: int, optimizer: torch.optim.Optimizer) -> str:
        """Train and validate once; the line that reports it."""
        epoch, start = len(self.history) + 1, time.perf_counter()
        torch.manual_seed(self.recipe.seed * 100_003 + epoch)
        train_loss, images = self._train_epoch(phase, number, epoch, optimizer)
        seconds = time.perf_counter() - start
        if not math.isfinite(train_loss):
            raise DermalineError(f"the loss is not finite in epoch {epoch}; lower lr or use precision 32-true")
        row = {"epoch": epoch, "phase": phase.name, "lr": optimizer.param_groups[-1]["peak"], "train_loss": train_loss}
        row |= self._validate()
        if not self.history or row[SELECTED_BY] > max(past[SELECTED_BY] for past in self.history):
            self.best = {key: value.detach().cpu().clone() for key, value in self._evaluated().state_dict().items()}
        self.history.append(row)
        scores = "  ".join(f"{key} {value:.4f}" for key, value in row.items() if isinstance(value, float))
        return f"epoch {epoch} ({phase.name})  {scores}  {images / seconds:.0f} images/s"

    def _train_epoch(
        self, phase: Phase, number: int, epoch: int, optimizer: torch.optim.Optimizer
    ) -> tuple[float, int]:
        """The mean loss, and how many images went through."""
        recipe, device = self.recipe, self.fabric.device
        self.network.start_training(backbone_frozen=phase.backbone == 0)
        generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
        batches = list(shuffled(len(self.train.labels), recipe.batch_size, recipe.seed, epoch))
        total = torch.zeros((), device=device)
        for step, chosen in enumerate(tqdm(batches, desc=f"epoch {epoch}", unit="batch", leave=False, disable=None)):
            set_rates(optimizer, factor(number * len(batches) + step, phase.epochs * len(batches), recipe.warmup))
            images = self.train.images[chosen.to(self.train.images.device)].to(device)
            target = self.train.labels[chosen].to(device)
            pixels = augment(images, phase.size or recipe.size, recipe, generator)
            loss = self.loss(self.model(pixels), target)
            self.fabric.backward(loss)
            self.fabric.clip_gradients(self.model, optimizer, max_norm=recipe.clip, error_if_nonfinite=False)
            optimizer.step()
            optimizer.zero_grad()
            if self.average:
                self.average.update(self.network, step=(epoch - 1) * len(batches) + step)
            total += loss.detach()  # read once an epoch: reading it here would wait for the device at every step
        return total.item() / len(batches), len(batches) * len(batches[0])

    def _evaluated(self) -> Network:
        """The network that is validated and kept: the average of the weights, when there is one."""
        return self.average.module if self.average else self.network

    def _validate(self) -> dict[str, float]:
        found = probabilities(self._evaluated().eval(), self.val.images, self.fabric).double().numpy()
        truth = self.val.labels.numpy()
        measured = {"nll": metrics.nll, "accuracy": metrics.accuracy}
        measured |= {"balanced_accuracy": metrics.balanced_accuracy, "macro_auc": metrics.macro_auc}
        names = {"nll": "val_loss"}
        return {names.get(key, f"val_{key}"): metric(truth, found).item() for key, metric in measured.items()}

    def _checkpoint(self, phase: str, optimizer: torch.optim.Optimizer) -> None:
        average = self.average.module.state_dict() if self.average else None
        state = {"network": self.network.state_dict(), "average": average, "optimizer": optimizer.state_dict()}
        self.scratch.save(state | {"phase": phase, "history": self.history, "best": self.best})

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        if self.average:
            self.average.module.load_state_dict(state["average"])
        self.history, self.best = state["history"], state["best"]
