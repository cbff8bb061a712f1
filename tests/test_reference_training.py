"""The training loop against one written down in plain PyTorch, with everything switched on."""

import copy
import math

import pytest
import tiny
import torch
from torch.nn.functional import one_hot
from torch.nn.utils import clip_grad_norm_

from dermaline.compute import setup_fabric
from dermaline.data.metadata import MISSING, WIDTH
from dermaline.data.photographs import in_memory
from dermaline.models.network import Network
from dermaline.params.recipe import Phase, Recipe
from dermaline.training.augment import augment
from dermaline.training.balance import sample_epoch_indices
from dermaline.training.checkpoint import ResumeCheckpoint
from dermaline.training.loop import ImageSplit, Trainer
from dermaline.training.mixing import mix

SIZE = (32, 48)
STEPS = (slice(0, 2), slice(2, 4), slice(4, 5))  # of an epoch of five batches, two of them to a step
EVERYTHING = {
    **{"backbone": "test_convnext", "weights": "none", "size": SIZE, "metadata": "concat", "metadata_dropout": 0.3},
    **{
        "batch_size": 8,
        "grad_accum_steps": 2,
        "lr": 0.002,
        "weight_decay": 0.3,
        "warmup": 0.25,
        "clip_grad": 4,
        "ema": 0.8,
    },
    **{
        "loss": "focal",
        "class_weight_power": 0.5,
        "label_smoothing": 0.1,
        "logit_adjustment": 0.5,
        "sampler_power": 0.3,
    },
    **{
        "mixup": 0.4,
        "cutmix": 0.4,
        "no_mix_epochs": 1,
        "random_erasing": 0.5,
        "monitor": "loss",
        "patience": 100,
        "seed": 5,
    },
    "phases": [tiny.phase("head", 2, 0, 3), tiny.phase("all", 3, 0.5, 1)],
}


def examples(labels: list[int], seed: int) -> ImageSplit:
    """Noisy images, whose colours are the three bits of their labels, each with metadata of its own."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 100, (len(labels), 3, *SIZE), generator=generator, dtype=torch.uint8)
    images += 150 * (torch.tensor(labels)[:, None] >> torch.arange(3) & 1).to(torch.uint8)[:, :, None, None]
    return ImageSplit(
        lambda size: images,
        torch.tensor(labels),
        2 * torch.rand(len(labels), WIDTH, generator=generator),
        lambda size, view, crop_from: [in_memory(images)],
    )


TRAIN = examples([0, 1, 1, 2, 2, 2, 3, 4, 4, 4, 4, 6, *[5] * 32], 0)  # five batches of 8, and 4 images more
VAL = examples([0, 1, 2, 3, 4, 5, 6] * 3, 1)


def reference(recipe: Recipe) -> tuple[dict[str, torch.Tensor], list[float]]:
    """What is kept, and the validation losses; of the library are the network, the order and what changes images."""
    torch.manual_seed(recipe.seed)
    network = Network(recipe, pretrained=False)
    average, kept, losses, taken = copy.deepcopy(network).eval(), {}, [], 0
    for phase in recipe.phases:
        optimizer, peaks = adamw(network, recipe, phase)
        for number in range(phase.epochs):
            epoch = len(losses) + 1
            seed = recipe.seed * 100_003 + epoch
            torch.manual_seed(seed)
            generator = torch.Generator().manual_seed(seed)
            network.train().body.train(phase.backbone > 0)
            batches = sample_epoch_indices(TRAIN.labels, recipe.sampler_power, recipe.seed, epoch).split(
                recipe.batch_size
            )
            for step, together in enumerate(STEPS):
                scale = rate(number * len(STEPS) + step, phase.epochs * len(STEPS), recipe.warmup)
                for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                    group["lr"] = peak * scale
                optimizer.zero_grad()
                for chosen in batches[together]:
                    plain = number >= phase.epochs - recipe.no_mix_epochs
                    loss = batch_loss(network, recipe, chosen, generator, plain=plain)
                    (loss / len(batches[together])).backward()
                clip_grad_norm_(network.parameters(), recipe.clip_grad)
                optimizer.step()
                decay = min(recipe.ema, (taken - 1) / taken) if taken else 0
                for old, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
                    old.copy_(decay * old + (1 - decay) * new if new.is_floating_point() else new)
                taken += 1
            with torch.no_grad():
                found = average(VAL.images(SIZE) / 255, VAL.metadata).log_softmax(dim=1)
            losses.append(-found.gather(1, VAL.labels[:, None]).mean().item())
            if losses[-1] == min(losses):
                kept = {name: value.clone() for name, value in average.state_dict().items()}
    return kept, losses


def adamw(network: Network, recipe: Recipe, phase: Phase) -> tuple[torch.optim.Optimizer, list[float]]:
    """Backbone and head at their own rates, weight decay for matrices only; a frozen backbone is not there."""
    network.requires_grad_(True).body.requires_grad_(phase.backbone > 0)
    groups, peaks = [], []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.append({"params": [parameter], "weight_decay": recipe.weight_decay if parameter.ndim > 1 else 0})
            peaks.append(recipe.lr * (phase.backbone if name.startswith("body.") else phase.head))
    return torch.optim.AdamW(groups), peaks


def rate(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up, then half a cosine."""
    rising = round(warmup * steps)
    return (step + 1) / rising if step < rising else 0.5 + 0.5 * math.cos(math.pi * (step - rising) / (steps - rising))


def batch_loss(network: Network, recipe: Recipe, chosen: torch.Tensor, generator: torch.Generator, *, plain: bool):
    """The mean loss of a batch; the same random numbers are drawn in the same order as by the loop."""
    pixels = augment([in_memory(TRAIN.images(SIZE))], chosen, SIZE, recipe, generator, torch.device("cpu"))
    metadata, labels = TRAIN.metadata[chosen].clone(), TRAIN.labels[chosen]
    metadata[torch.rand(len(chosen), 1, generator=generator)[:, 0] < recipe.metadata_dropout] = MISSING
    if plain:
        return losses_of(network(pixels, metadata), labels, recipe).mean()
    pixels, mixture = mix(pixels, recipe, generator)
    share, partner = mixture.lam[:, None], mixture.partner
    logits = network(pixels, share * metadata + (1 - share) * metadata[partner])
    own, other = losses_of(logits, labels, recipe), losses_of(logits, labels[partner], recipe)
    return (mixture.lam * own + (1 - mixture.lam) * other).mean()


def losses_of(logits: torch.Tensor, labels: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Focal loss with smoothed labels, class weights and logit adjustment."""
    counts = torch.bincount(TRAIN.labels).float()
    weights = counts**-recipe.class_weight_power
    weights = weights / weights[TRAIN.labels].mean()
    logs = (logits + recipe.logit_adjustment * (counts / counts.sum()).log()).log_softmax(dim=1)
    hot = one_hot(labels, 7)
    smooth = (1 - recipe.label_smoothing) * hot + recipe.label_smoothing / 7
    sure = (hot * logs.exp()).sum(dim=1)
    return weights[labels] * (1 - sure) ** recipe.focal_gamma * -(smooth * logs).sum(dim=1)


def test_the_loop_trains_as_plain_pytorch_does(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    recipe = tiny.recipe(**EVERYTHING)
    training = Trainer(recipe, TRAIN, VAL, setup_fabric("cpu", "32-true"), ResumeCheckpoint("one"))
    best, (kept, losses) = training.run(), reference(recipe)
    assert [row["val_loss"] for row in training.history] == pytest.approx(losses, abs=1e-6)
    assert best.keys() == kept.keys()
    assert losses.index(min(losses)) == 4  # so what is compared has gone through both phases
    # On the mean of each tensor: where a gradient is 0 but for rounding, AdamW makes a whole step of it.
    assert max((best[name] - value).abs().mean().item() for name, value in kept.items()) < 1e-6
