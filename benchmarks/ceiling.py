"""How much of the hardware a training step uses: `python -m benchmarks.ceiling`, on a GPU or a CPU.

ResNet-50 and EfficientNet-Lite0 at 224x224: images a second, and their arithmetic as a share of what a large matrix
product reaches on the same device in the same minute (model FLOP utilisation). torch's FLOP counter counts the forward
pass, and a step as three of them; it counts the gradients of depthwise convolutions as if all channels met.
"""

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import in_turns, keep, row
from benchmarks.step import Step, quick_recipe
from dermaline.base import errors

BACKBONES, SIZE, ROUNDS = ("resnet50_v1", "tf_efficientnet_lite0"), (224, 224), 5
BATCH = {"cpu": 32, "cuda": 256, "mps": 64}
SIDE = {"cpu": 4096, "cuda": 16384, "mps": 4096}  # of the matrices


def main() -> None:
    rows = []
    for backbone in BACKBONES:
        recipe = quick_recipe(backbone=backbone, size=SIZE)
        step = Step(recipe)
        device = step.fabric.device
        kind = device.type
        pixels, target = step.batch(BATCH[kind], SIZE)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            step.model(pixels)
        side = torch.rand(SIDE[kind], SIDE[kind], device=device, dtype=torch.bfloat16)

        def product(side: torch.Tensor = side, step: Step = step) -> None:
            side @ side
            step.wait()

        def train(step: Step = step, pixels: torch.Tensor = pixels, target: torch.Tensor = target) -> None:
            step(pixels, target)
            step.wait()

        found = in_turns([train, product], ROUNDS, warm_up=3)
        reached, ceiling = 3 * counter.get_total_flops() / found[:, 0], 2 * SIDE[kind] ** 3 / found[:, 1]
        speed = {"images_per_second": round(BATCH[kind] / float(np.median(found[:, 0])))}
        speed |= {"tera_flop_per_second": float(np.median(reached)) / 1e12, "ceiling": float(np.median(ceiling)) / 1e12}
        claim = f"FLOP/s of training {backbone} at 224x224 / of a bf16 matrix product ({kind})"
        rows.append(row(claim, reached / ceiling, "", "python -m benchmarks.ceiling", step.fabric, **speed))
    keep(rows)


if __name__ == "__main__":
    errors.run(main)
