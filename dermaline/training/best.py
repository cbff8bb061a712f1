"""The weights that a training gives: of its best epoch, or the mean of its best few."""

import bisect

import torch
from torch import nn

Weights = dict[str, torch.Tensor]


class BestEpochs:
    """The best `count` epochs of those that are offered, best first; of equals the earlier one is better."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.kept: list[tuple[float, int, Weights]] = []  # score, epoch, weights

    @property
    def epochs(self) -> list[int]:
        return [epoch for _, epoch, _ in self.kept]

    def offer(self, score: float, epoch: int, network: nn.Module) -> None:
        """Keep the network's weights as they are, if they are among the best."""
        place = bisect.bisect_right(self.kept, -score, key=lambda one: -one[0])
        if place < self.count:
            weights = {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}
            self.kept.insert(place, (score, epoch, weights))
            del self.kept[self.count :]

    def mean(self) -> Weights:
        """The mean of their weights (a soup: Wortsman et al. 2022); counts are those of the best."""
        first, *_ = every = [weights for _, _, weights in self.kept]
        return {
            name: torch.stack([weights[name] for weights in every]).mean(dim=0) if value.is_floating_point() else value
            for name, value in first.items()
        }
