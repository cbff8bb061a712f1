"""The learning rate over a phase: functions of the step, so that a training that comes back needs no state of them."""

import math
from collections.abc import Callable, Sequence

from dermaline.params.recipe import Optimizer


def _cosine(progress: float, cycles: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _restarts(progress: float, cycles: int) -> float:
    """Cosines, each twice as long as the one before (Loshchilov & Hutter 2017, with T_mult = 2)."""
    place = progress * (2**cycles - 1)
    cycle = min(int(math.log2(place + 1)), cycles - 1)
    return _cosine((place + 1) / 2**cycle - 1, 1)


def _step(progress: float, cycles: int) -> float:
    """A tenth from 3/7 on and from each further seventh: epochs 30, 40, 50 and 60 of 70 (Yao et al. 2021)."""
    return 0.1 ** max(0, min(int(progress * 7 + 1e-9), 6) - 2)


def _constant(progress: float, cycles: int) -> float:
    return 1.0


SHAPES: dict[str, Callable[[float, int], float]] = {
    "cosine": _cosine,
    "restarts": _restarts,
    "step": _step,
    "plateau": _constant,
    "constant": _constant,
}


def lr_multiplier(options: Optimizer, step: int, steps: int, scores: Sequence[float] = ()) -> float:
    """What the peak rates are multiplied with at a step of a phase of `steps`.

    A linear rise over the first `warmup` share, then the schedule's shape over the rest. A plateau schedule falls by
    `plateau_factor` with every `plateau_patience` epochs without a better one of `scores` (higher is better).
    """
    rising = max(1, round(steps * options.warmup))
    fallen = (
        options.plateau_factor ** num_lr_reductions(scores, options.plateau_patience)
        if options.schedule == "plateau"
        else 1
    )
    if step < rising:
        return fallen * (step + 1) / rising
    return fallen * SHAPES[options.schedule]((step - rising) / max(1, steps - rising), options.cycles)


def num_lr_reductions(scores: Sequence[float], patience: int) -> int:
    """How often `patience` epochs in a row have passed without a new best score; each time the count starts anew."""
    best, waited, count = -math.inf, 0, 0
    for score in scores:
        waited = 0 if score > best else waited + 1
        best = max(best, score)
        if waited == patience:
            waited, count = 0, count + 1
    return count
