"""The parts of the exported model as torch modules: what is shown of photographs, one network, the decision.

They are traced one by one. A network is traced once, however many views of a photograph it is shown: ONNX's Scan takes
it from view to view, so a file is not larger for them, and memory is that of one view at a time.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dermaline.base.classes import MELANOMA
from dermaline.base.parameters import Size
from dermaline.data.patients import DECADES
from dermaline.exporting.resizing import Resize
from dermaline.inference.decision import Decision
from dermaline.inference.predict import View
from dermaline.inference.views import Scale
from dermaline.models.network import Network


class Seen(NamedTuple):
    """One view of a photograph."""

    at: Size  # to which the photograph is resized for it
    view: View
    weight: float  # in the mean of all views


def by_shape(scales: Sequence[Scale]) -> dict[Size, list[Seen]]:
    """All views of a member by their height and width: of `d4` half may lie on their side.

    The mean over scales of the means over their views, as `inference.member` takes it, is the sum over all views,
    each times its `weight`.
    """
    found = defaultdict(list)
    for scale in scales:
        for view in scale.views:
            shape = tuple(view(torch.empty(0, 3, *scale.size)).shape[2:])
            found[shape].append(Seen(scale.size, view, 1 / (len(scales) * len(scale.views))))
    return dict(found)


class Views(nn.Module):
    """Photographs to what is shown of them."""

    def __init__(self, shown: Sequence[Sequence[Seen]], size: Size) -> None:
        """Of each network call, `shown` has the views, of one shape; photographs are of height and width `size`."""
        super().__init__()
        self.shown = shown
        sizes = sorted({seen.at for views in shown for seen in views})
        self.resizes = nn.ModuleDict({_name(at): Resize(size, at) for at in sizes})

    def forward(self, images: Tensor) -> list[Tensor]:
        """uint8 [V, N, 3, h, w] of each network call, of uint8 [N, height, width, 3]."""
        whole = images.permute(0, 3, 1, 2)
        resized = {name: resize(whole) for name, resize in self.resizes.items()}
        return [torch.stack([seen.view(resized[_name(seen.at)]) for seen in views]) for views in self.shown]


def _name(size: Size) -> str:
    return "x".join(map(str, size))


class Probabilities(nn.Module):
    """One network's probabilities of one view, as `inference.predict` computes them."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, view: Tensor, metadata: Tensor | None = None) -> Tensor:
        """float [N, 7], of uint8 [N, 3, h, w] and, for a network that looks at it, float [N, M]."""
        return self.network(view.float() / 255, metadata).softmax(dim=1)


class Decide(nn.Module):
    """From the probabilities of all views to the diagnosis: `inference.decision.Decision` in torch."""

    def __init__(self, decision: Decision, shown: Sequence[Sequence[Sequence[Seen]]]) -> None:
        """Of each recipe of the decision, in order, `shown` has the views of each of its network calls."""
        super().__init__()
        self.decision, self.calls = decision, [len(calls) for calls in shown]
        weights = [seen.weight for calls in shown for views in calls for seen in views]
        self.register_buffer("weights", torch.tensor(weights).view(-1, 1, 1))
        self.register_buffer("factors", _row(decision.factors))
        self.register_buffer("shift", _row({name: prior**-decision.tau for name, prior in decision.prior.items()}))
        if decision.likelihood_ratios is not None:
            logarithms = torch.from_numpy(decision.likelihood_ratios.logarithms()).float()
            self.register_buffer("log_ratios", logarithms)
        if decision.set_rule is not None:
            self.register_buffer("thresholds", _row(decision.set_rule.thresholds))

    @property
    def outputs(self) -> list[str]:
        """The names of what `forward` gives."""
        suspect = [] if self.decision.melanoma_threshold is None else ["melanoma_suspected"]
        sets = [] if self.decision.set_rule is None else ["set"]
        return ["probabilities", "diagnosis", *suspect, *sets]

    def forward(self, seen: list[Tensor], metadata: Tensor | None = None) -> list[Tensor]:
        """Of [V, N, 7] of each network call, and where the decision looks at it, float [N, M]: `outputs`.

        `probabilities` float [N, 7], calibrated; `diagnosis` int64 [N], the class number; `melanoma_suspected` bool
        [N], where there is a threshold; `set` bool [N, 7], where there are sets.
        """
        members, start = [], 0
        for number, temperature in zip(self.calls, self.decision.temperatures.values(), strict=True):
            views = torch.cat(seen[:number])
            seen, end = seen[number:], start + len(views)
            raw = (views * self.weights[start:end]).sum(dim=0)
            members.append(_tempered(raw, temperature))
            start = end
        mixed = _tempered(torch.stack(members).mean(dim=0), self.decision.temperature)
        probabilities = _summing_to_1(mixed * self.factors)
        if self.decision.likelihood_ratios is not None:
            probabilities = _summing_to_1(probabilities * (_findings(metadata) @ self.log_ratios).exp())
        diagnosis = (probabilities * self.shift).argmax(dim=1)
        found = [probabilities, diagnosis]
        if self.decision.melanoma_threshold is not None:
            found.append(probabilities[:, MELANOMA] >= self.decision.melanoma_threshold)
        if self.decision.set_rule is not None:
            chosen = torch.arange(probabilities.shape[1]) == diagnosis[:, None]
            found.append((probabilities >= self.thresholds) | chosen)
        return found


def _row(by_class: Mapping[str, float]) -> Tensor:
    return torch.tensor(list(by_class.values()))


def _tempered(probabilities: Tensor, temperature: float) -> Tensor:
    return _summing_to_1((probabilities / probabilities.amax(dim=1, keepdim=True)) ** (1 / temperature))


def _findings(metadata: Tensor) -> Tensor:
    """`data.patients.findings` in torch."""
    decade = (torch.round(metadata[:, :1] * 100) / 10).floor().clamp(max=len(DECADES) - 1)
    ages = (decade == torch.arange(len(DECADES))) & (metadata[:, 1:2] == 0)
    return torch.cat([ages.float(), metadata[:, 2:4], metadata[:, 5:]], dim=1)


def _summing_to_1(values: Tensor) -> Tensor:
    return values / values.sum(dim=1, keepdim=True)
