"""The training loop: phases, the average of the weights, validation, early stopping, and coming back after a stop."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from lightning_fabric import Fabric
from timm.layers import convert_sync_batchnorm
from timm.utils import ModelEmaV3
from tqdm import tqdm

from dermaline.base.errors import DermalineError
from dermaline.base.parameters import Size
from dermaline.data.metadata import MISSING
from dermaline.data.photographs import Photographs
from dermaline.evaluation import scores
from dermaline.inference import views
from dermaline.inference.predict import probabilities
from dermaline.models.network import Network, input_size
from dermaline.params.predict import Predict
from dermaline.params.recipe import Phase, Recipe, ViewName
from dermaline.training.augment import augment
from dermaline.training.balance import sample_epoch_indices
from dermaline.training.best import BestEpochs
from dermaline.training.checkpoint import ResumeCheckpoint
from dermaline.training.depthwise import quick_depthwise
from dermaline.training.distill import Teachers, distilled
from dermaline.training.loss import LossFn, build_criterion
from dermaline.training.mixing import mix
from dermaline.training.optimizer import build_optimizer
from dermaline.training.schedule import lr_multiplier

VAL_METRICS = {
    "loss": scores.nll,
    "accuracy": scores.accuracy,
    "balanced_accuracy": scores.balanced_accuracy,
    "macro_f1": scores.macro_f1,
    "macro_auc": scores.macro_auc,
}
SCORES = [f"val_{name}" for name in VAL_METRICS]
VAL_GRIDS = {"whole": (1, 1), "crop": (2, 2), "mixed": (1, 1)}  # few windows: of `mixed`, the middle at each scale


@dataclass
class ImageSplit:
    """Photographs with their labels.

    images: gives uint8 [N, 3, H, W], whole photographs of a given height and width.
    labels: int64 [N].
    metadata: float32 [N, M], see `dermaline.data.metadata`.
    to_augment: gives those that views of a size are made of, see `data.batches.training_images`.
    """

    images: Callable[[Size], torch.Tensor]
    labels: torch.Tensor
    metadata: torch.Tensor
    to_augment: Callable[[Size, ViewName, Size | None], Sequence[Photographs]]


class Trainer:
    """Trains one recipe; `run` gives the weights of the best epoch, or the mean of the best few.

    The first process calls `report` with `epochs` when it resumes, and after each epoch.

    Every epoch seeds its own random numbers from the recipe's seed and its number, so a training that was stopped
    and came back goes the same way, bit for bit on a CPU, as one that was not.

    With several processes, each takes its share of every batch and of the validation images: a batch is as large as
    with one. All know all scores; the first alone writes.

    Raises:
        DermalineError: the processes can't share a batch evenly.
    """

    def __init__(
        self,
        recipe: Recipe,
        train: ImageSplit,
        val: ImageSplit,
        fabric: Fabric,
        scratch: ResumeCheckpoint,
        report: Callable[[pd.DataFrame], None] | None = None,
        *,
        compiled: bool = False,
    ) -> None:
        if recipe.batch_size % fabric.world_size:
            raise DermalineError(
                f"recipe: batch_size: {recipe.batch_size} is no multiple of {fabric.world_size} processes"
            )
        self.recipe, self.train, self.val, self.fabric = recipe, train, val, fabric
        self.monitored = f"val_{recipe.monitor}"
        self.scratch, self.report = scratch, report
        self.rank_slice = slice(fabric.global_rank, None, fabric.world_size)
        torch.manual_seed(recipe.seed)
        network = Network(recipe, pretrained=True).to(fabric.device)
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            network = convert_sync_batchnorm(network)  # torch has none for a CPU, where each process counts alone
        self.network: Network = network
        self.average = _average(network, recipe.ema) if recipe.ema else None
        if compiled:
            network.compile(dynamic=False)
        self.size = input_size(recipe)
        sizes = [phase.size or self.size for phase in recipe.phases]
        self.teachers = Teachers(recipe.teachers, fabric.device, sizes) if recipe.teachers else None
        self.images_an_epoch = _full_batches(len(train.labels), recipe.batch_size)
        images = self.images_an_epoch * sum(phase.epochs for phase in recipe.phases)
        silent = None if fabric.is_global_zero else True  # None: shown on a terminal
        self.bar = tqdm(total=images, unit=" images", leave=False, disable=silent)
        self.val_views: list[torch.Tensor] = []  # of the phase
        self.history: list[dict[str, Any]] = []
        self.best = BestEpochs(recipe.mean_of_best)
        self.kept_scores: dict[str, float] = {}  # on validation, of what `run` gives

    def run(self) -> dict[str, torch.Tensor]:
        """Train every phase, from the last checkpoint if there is one; return the state dict that is kept."""
        checkpoint = self.fabric.broadcast(self.scratch.load() if self.fabric.is_global_zero else None)
        if checkpoint:
            self._restore(checkpoint)
            self.bar.initial = self.bar.n = self.images_an_epoch * len(self.history)
            self._say(f"resumed after epoch {len(self.history)}")
        for phase in self.recipe.phases:
            if not self._is_past(phase.name):
                self._run_phase(phase, checkpoint)
        self.bar.close()
        kept = self.best.mean()
        (self.kept_scores,) = (
            self.epochs().loc[lambda row: row["epoch"] == self.best.epochs[0], SCORES].to_dict("records")
        )
        if len(self.best.epochs) > 1:  # a network that no epoch has validated
            self._evaluated().load_state_dict(kept)
            self.val_views = self._val_views(self.recipe.view)
            self.kept_scores = self._validate()
        return kept

    def epochs(self) -> pd.DataFrame:
        """A row for each epoch so far: `epoch`, `phase`, `lr`, losses and scores, and `kept`, 1 for the best ones."""
        table = pd.DataFrame(self.history)
        return table.assign(kept=table["epoch"].isin(self.best.epochs).astype(int))

    def _say(self, line: str) -> None:
        """Report the epochs so far, and print a line above the bar: in the first process alone."""
        if self.fabric.is_global_zero:
            if self.report:
                self.report(self.epochs())
            tqdm.write(line)
            sys.stdout.flush()

    def scores(self, phase: str) -> list[float]:
        """What the epochs of a phase are selected by; higher is better."""
        sign = -1 if self.recipe.monitor == "loss" else 1
        return [sign * row[self.monitored] for row in self.history if row["phase"] == phase]

    def _run_phase(self, phase: Phase, checkpoint: dict[str, Any] | None) -> None:
        state = self.begin(phase)
        if checkpoint and checkpoint["phase"] == phase.name:
            state.optimizer.load_state_dict(checkpoint["optimizer"])
        while (done := len(self.scores(phase.name))) < phase.epochs and not self._is_stale(phase.name):
            line = self._run_epoch(state, done)
            self._checkpoint(phase.name, state.optimizer)
            self._say(line)  # once it is safe: an epoch that was reported is never lost

    def begin(self, phase: Phase) -> "PhaseState":
        """Make ready for the epochs of a phase."""
        self._start_training(phase)
        recipe = self.recipe.in_phase(phase)
        self.val_views = self._val_views(recipe.view)
        model = self.fabric.setup_module(self.network)  # anew: which gradients there are to be shared has changed
        optimizer = self.fabric.setup_optimizers(build_optimizer(self.network, self.recipe, phase))
        return PhaseState(phase, recipe, model, optimizer, self.train, self.size, self.rank_slice)

    def _start_training(self, phase: Phase) -> None:
        self.network.start_training(first_layer=phase.first_layer if phase.backbone else None)

    def _seed(self, epoch: int) -> int:
        """Of an epoch's random numbers; those of another process are others."""
        return self.recipe.seed * 100_003 + epoch + (self.fabric.global_rank << 40)

    def _is_past(self, name: str) -> bool:
        """Whether training has already gone on to a phase after this one (seen when it resumes)."""
        names = [phase.name for phase in self.recipe.phases]
        return bool(self.history) and names.index(self.history[-1]["phase"]) > names.index(name)

    def _is_stale(self, name: str) -> bool:
        """Whether the phase's best epoch lies `patience` epochs back."""
        scores = self.scores(name)
        return bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= self.recipe.patience

    def _run_epoch(self, state: "PhaseState", number: int) -> str:
        """Train and validate once; the line that reports it."""
        epoch, start = len(self.history) + 1, time.perf_counter()
        torch.manual_seed(self._seed(epoch))
        self.bar.set_postfix_str(f"epoch {epoch}, {state.phase.name}", refresh=False)
        train_loss, rate = self.train_epoch(state, number, epoch)
        seconds = time.perf_counter() - start
        if not math.isfinite(train_loss):
            raise DermalineError(f"the loss is not finite in epoch {epoch}; lower lr or use precision 32-true")
        row = {"epoch": epoch, "phase": state.phase.name, "lr": rate, "train_loss": train_loss, **self._validate()}
        if not math.isfinite(row[self.monitored]):
            raise DermalineError(
                f"{self.monitored} is {row[self.monitored]} in epoch {epoch}; monitor another score, or lower lr"
            )
        self.history.append(row)
        if state.recipe.view == self.recipe.view:  # by another view's validation it can't be compared
            self.best.offer(self.scores(state.phase.name)[-1], epoch, self._evaluated())
        scores = "  ".join(f"{key} {value:.4f}" for key, value in row.items() if key.startswith(("train_", "val_")))
        return f"epoch {epoch} ({state.phase.name})  {scores}  {self.images_an_epoch / seconds:.0f} images/s"

    def train_epoch(self, state: "PhaseState", number: int, epoch: int) -> tuple[float, float]:
        """Train epoch `epoch`, which is number `number` of its phase: the mean loss, and the head's largest rate."""
        recipe, phase, optimizer = state.recipe, state.phase, state.optimizer
        self._start_training(phase)
        generator = torch.Generator().manual_seed(self._seed(epoch))
        steps = list(state.steps(epoch))
        mixing = number < phase.epochs - recipe.no_mix_epochs
        criterion = build_criterion(recipe, self.train.labels, number / phase.epochs)
        total = torch.zeros((), device=self.fabric.device)
        first, last, scores = number * len(steps), phase.epochs * len(steps), self.scores(phase.name)
        scales = [lr_multiplier(recipe, first + step, last, scores) for step in range(len(steps))]
        for step, (batches, scale) in enumerate(zip(steps, scales, strict=True)):
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * scale
            for number_in_step, chosen in enumerate(batches, 1):
                with self.fabric.no_backward_sync(state.model, enabled=number_in_step < len(batches)):
                    loss = self._loss(state, criterion, chosen, generator, mixing=mixing) / len(batches)
                    self.fabric.backward(loss)
                total += loss.detach()  # read once an epoch: reading it here would wait for the device at every step
            if recipe.clip_grad:
                self.fabric.clip_gradients(state.model, optimizer, max_norm=recipe.clip_grad, error_if_nonfinite=False)
            optimizer.step()
            optimizer.zero_grad()
            if self.average:
                self.average.update(self.network, step=(epoch - 1) * len(steps) + step)
            self.bar.update(sum(map(len, batches)) * self.fabric.world_size)
        return self.fabric.all_reduce(total).item() / len(steps), max(scales) * optimizer.param_groups[-1]["base_lr"]

    def _loss(
        self,
        state: "PhaseState",
        criterion: LossFn,
        chosen: torch.Tensor,
        generator: torch.Generator,
        *,
        mixing: bool,
    ) -> torch.Tensor:
        """The mean loss of one batch, augmented and mixed."""
        recipe, device = state.recipe, self.fabric.device
        target = self.train.labels[chosen].to(device)
        pixels = augment(state.images, chosen, recipe.size or self.size, recipe, generator, device)
        hidden = torch.rand(len(chosen), 1, generator=generator) < recipe.metadata_dropout
        metadata = torch.where(hidden, MISSING, self.train.metadata[chosen]).to(device)
        pixels, mixed = mix(pixels, recipe, generator) if mixing else (pixels, None)
        metadata = mixed.blend(metadata) if mixed else metadata
        with quick_depthwise(device):
            logits = state.model(pixels, metadata)
        losses = criterion(logits, target)
        if mixed:
            losses = mixed.lam * losses + (1 - mixed.lam) * criterion(logits, target[mixed.partner])
        if self.teachers:
            with self.fabric.autocast():
                soft = self.teachers(pixels, metadata)
            losses = distilled(losses, logits, soft, recipe.distillation)
        return losses.mean()

    def _evaluated(self) -> Network:
        """The network that is validated and kept: the average of the weights, when there is one."""
        return self.average.module if self.average else self.network

    def _validate(self) -> dict[str, float]:
        metadata = self.val.metadata[self.rank_slice]
        network = self._evaluated().eval()
        if self.fabric.world_size > 1:
            for buffer in network.buffers():  # each process has seen statistics of its own; the first one's are kept
                torch.distributed.broadcast(buffer, 0)
        seen = [probabilities(network, images, self.fabric, metadata=metadata) for images in self.val_views]
        found = self._gathered(torch.stack(seen).mean(dim=0))
        truth, found = self.val.labels.numpy(), found.double().numpy()
        return {f"val_{name}": metric(truth, found).item() for name, metric in VAL_METRICS.items()}

    def _val_views(self, view: ViewName) -> list[torch.Tensor]:
        """Few views of the validation images, uint8 [N, 3, H, W] each, to watch the training by."""
        options, seen = Predict(tta="none", grid=VAL_GRIDS[view], scales=3), []
        for scale in views.scales(self.recipe.model_copy(update={"view": view}), options, views.VIEWS[options.tta]):
            images = self.val.images(scale.size)[self.rank_slice]
            seen += [view(images).clone(memory_format=torch.channels_last) for view in scale.views]
        return seen

    def _gathered(self, found: torch.Tensor) -> torch.Tensor:
        """All processes' rows, in the order of the images."""
        if self.fabric.world_size == 1:
            return found
        parts: list[Any] = [None] * self.fabric.world_size
        torch.distributed.all_gather_object(parts, found)
        whole = found.new_empty(len(self.val.labels), found.shape[1])
        for rank, part in enumerate(parts):
            whole[rank :: len(parts)] = part
        return whole

    def _checkpoint(self, phase: str, optimizer: torch.optim.Optimizer) -> None:
        if not self.fabric.is_global_zero:
            return
        average = self.average.module.state_dict() if self.average else None
        weights = {"network": self.network.state_dict(), "average": average, "optimizer": optimizer.state_dict()}
        self.scratch.save(weights | {"phase": phase, "history": self.history, "best": self.best.kept})

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        self.network.load_state_dict(checkpoint["network"])
        if self.average:
            self.average.module.load_state_dict(checkpoint["average"])
        self.history, self.best.kept = checkpoint["history"], checkpoint["best"]


def _full_batches(images: int, batch_size: int) -> int:
    """The images of the batches that are full, or all of them where there is none."""
    return images // batch_size * batch_size or images


def _average(network: Network, decay: float) -> ModelEmaV3:
    """The average of the weights: of all steps alike at first, and from step 1 / (1 - decay) on with that decay."""
    return ModelEmaV3(network, decay=decay, use_warmup=True, warmup_power=1)


class PhaseState:
    """What one phase works with: the recipe as it is there, its optimizer, and the images that its views are made of.

    `rank_slice` picks this process's images of every batch.
    """

    def __init__(
        self,
        phase: Phase,
        recipe: Recipe,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        train: ImageSplit,
        size: tuple[int, int],
        rank_slice: slice,
    ) -> None:
        self.phase, self.recipe, self.model, self.optimizer = phase, recipe, model, optimizer
        self.labels, self.rank_slice = train.labels, rank_slice
        self.images = train.to_augment(recipe.size or size, recipe.view, recipe.crop_from)

    def steps(self, epoch: int) -> Iterator[list[torch.Tensor]]:
        """An epoch's steps: our share of `grad_accum_steps` batches of indices each; without a last one not full."""
        chosen = sample_epoch_indices(self.labels, self.recipe.sampler_power, self.recipe.seed, epoch)
        batches = [batch for batch in chosen.split(self.recipe.batch_size) if len(batch) == self.recipe.batch_size]
        batches = [batch[self.rank_slice] for batch in batches or [chosen]]
        for start in range(0, len(batches), self.recipe.grad_accum_steps):
            yield batches[start : start + self.recipe.grad_accum_steps]
