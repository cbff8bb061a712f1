"""What each option of a training step is worth on this machine: `python -m benchmarks.options [BACKBONE]`.

Each row is the step without the option divided by the step with it, everything else as the pipeline has it.
"""

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks.measure import Row, in_turns, keep, printed_by, row, seconds
from benchmarks.step import Step, quick_recipe
from dermaline.base import errors
from dermaline.params.recipe import Recipe

SIZE, BATCH, ROUNDS, STEPS = (96, 128), 32, 7, 2
OF_THE_PROCESS = {"memory kept, in pages of 2 MiB": "keep_memory", "pages of 2 MiB": "use_huge_pages"}


def main() -> None:
    backbone = sys.argv[1] if sys.argv[1:] else "tf_efficientnet_lite0"
    recipe = quick_recipe(backbone=backbone, size=SIZE)
    frozen = recipe.model_copy(update={"phases": [recipe.phases[-1].model_copy(update={"backbone": 0})]})
    ours = Step(recipe)
    kind, precision = ours.fabric.device.type, ours.fabric.strategy.precision.precision
    batch = ours.batch(BATCH, SIZE)

    def compare(option: str, without: Callable[[], None], within: Callable[[], None] | None = None) -> Row:
        found = in_turns([without, within or partial(steps, ours, batch)], ROUNDS)
        return named(option, found[:, 0] / found[:, 1])

    def named(option: str, ratios: np.ndarray, **detail: object) -> Row:
        claim = f"a step without / with {option} ({backbone}, {SIZE[0]}x{SIZE[1]}, {kind})"
        return row(claim, ratios, "", f"python -m benchmarks.options {backbone}", ours.fabric, **detail)

    def of(step: Step) -> Callable[[], None]:
        return partial(steps, step, batch)

    rows = [
        compare("bf16 in place of fp32", of(Step(recipe.model_copy(update={"precision": "32-true"})))),
        compare("channels_last", of(Step(recipe, channels_last=False))),
        compare("the backbone frozen", of(ours), of(Step(frozen))),
    ]
    if kind == "cpu":
        rows += [
            compare(f"quick depthwise gradients, {precision}", of(Step(recipe, quick=False))),
            compare("all cores in place of one thread", partial(on_one_thread, of(ours))),
            *(named(option, alone(backbone, function)) for option, function in OF_THE_PROCESS.items()),
        ]
    keep([*rows, compiled(recipe, ours, batch, named)])


def steps(step: Step, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    for _ in range(STEPS):
        step(*batch)
    step.wait()


def alone(backbone: str, function: str) -> np.ndarray:
    """Of `steps`, the seconds without a function of `compute` divided by those with it, of three pairs of processes."""
    return np.array([own_process(backbone, [function]) / own_process(backbone, []) for _ in range(3)])


def own_process(backbone: str, without: list[str]) -> float:
    """Seconds of `steps` in a process of its own: what malloc was told once can't be taken back."""
    code = f"""if True:
        import sys; sys.argv[1:] = ["{backbone}"]
        from dermaline import compute
        for name in {without}: setattr(compute, name, lambda *_: None)
        from benchmarks.options import BATCH, ROUNDS, SIZE, Step, in_turns, np, partial, quick_recipe, steps
        step = Step(quick_recipe(backbone="{backbone}", size=SIZE))
        print(np.median(in_turns([partial(steps, step, step.batch(BATCH, SIZE))], ROUNDS)))"""
    return printed_by(code)


def on_one_thread(action: Callable[[], None]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    action()
    torch.set_num_threads(threads)


def compiled(recipe: Recipe, ours: Step, batch: tuple[torch.Tensor, torch.Tensor], named: Callable[..., Row]) -> Row:
    """`torch.compile`, with the images after which its first steps are paid back (none, when it is no faster)."""
    other = Step(recipe, compiled=True)
    first = seconds(partial(steps, other, batch))
    found = in_turns([partial(steps, ours, batch), partial(steps, other, batch)], ROUNDS)
    saved = float((found[:, 0] - found[:, 1]).mean()) / (STEPS * BATCH)
    even = round(first / saved) if saved > 0 else None
    ratios = found[:, 0] / found[:, 1]
    return named("torch.compile", ratios, first_steps_seconds=round(first, 1), paid_back_after_images=even)


if __name__ == "__main__":
    errors.run(main)
