"""How near the training stage comes to its network's own speed: `python -m benchmarks.resident [RECIPE]`.

An epoch of the stage (read, augment, train, average the weights) against as many steps of the same network on one batch
that is already there. Reads data/prepared and data/split.csv: run `make` first.
"""

import sys

import numpy as np
import torch

from benchmarks.measure import in_turns, keep, row
from benchmarks.step import Step
from dermaline.base import errors
from dermaline.compute import setup_fabric
from dermaline.models.network import input_size
from dermaline.params.recipe import read_recipe
from dermaline.training.augment import augment
from dermaline.training.checkpoint import ResumeCheckpoint
from dermaline.training.loop import PhaseState, Trainer
from stages.train import examples

ROUNDS, STEPS = 5, 11


def main() -> None:
    name = sys.argv[1] if sys.argv[1:] else "lite0"
    recipe = read_recipe(name)
    if torch.cuda.is_available():
        recipe = recipe.model_copy(update={"precision": "auto"})  # `portable` is for a CPU
    device = setup_fabric("auto", recipe.precision)
    training = Trainer(recipe, *examples(device.device), device, ResumeCheckpoint("benchmark"))
    work = training.begin(recipe.phases[-1])
    step, size = Step(recipe), input_size(recipe)
    pixels, target = step.batch(recipe.batch_size, size)
    steps = len(list(work.steps(1)))

    def epoch() -> None:
        training.train_epoch(work, 0, 1)
        step.wait()

    def resident() -> None:
        for _ in range(steps):
            step(pixels, target)
        step.wait()

    found = in_turns([epoch, resident], ROUNDS)
    kind = "GPU" if device.device.type == "cuda" else "CPU"
    target_ratio = ">= 0.90" if kind == "GPU" else ">= 0.95"
    keep(
        [
            row(
                f"an epoch of the training stage / the same steps on one resident batch ({kind}, {name})",
                [theirs / ours for ours, theirs in found],
                target_ratio,
                f"python -m benchmarks.resident {name}",
                device,
                images_per_second=round(steps * recipe.batch_size / min(found[:, 0])),
                rest_in_shares_of_the_epoch=rest(training, work, min(found[:, 0]) / steps),
            )
        ]
    )


def rest(training: Trainer, work: PhaseState, whole: float) -> dict[str, float]:
    """What a step does beside the network, each as a share of a step's seconds."""
    generator = torch.Generator().manual_seed(0)
    chosen = next(iter(work.steps(1)))[0]
    size, device = work.recipe.size or training.size, training.fabric.device
    parts = {
        "augmentation": lambda: augment(work.images, chosen, size, work.recipe, generator, device),
        "average of the weights": lambda: training.average and training.average.update(training.network, step=1000),
        "clipping": lambda: torch.nn.utils.clip_grad_norm_(training.network.parameters(), work.recipe.clip_grad),
    }
    for parameter in training.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return {name: float(np.median(in_turns([part], STEPS))) / whole for name, part in parts.items()}


if __name__ == "__main__":
    errors.run(main)
