"""A density of features: one Gaussian, and how far from its mean something lies."""

from typing import NamedTuple

import torch
from torch import Tensor


class Density(NamedTuple):
    """A Gaussian over F features."""

    mean: Tensor  # float32 [F]
    whitening: Tensor  # float32 [F, F], lower triangular: of what it makes of deviations, the covariance is 1

    def distances(self, features: Tensor) -> Tensor:
        """The squared Mahalanobis distance of each row [N, F] from the mean, over F: 1 on average where it was fitted.

        It falls as the log-likelihood rises. Float64 [N].
        """
        deviations = features.double() - self.mean.double()
        return (deviations @ self.whitening.double().T).square().mean(dim=1)


def fit(features: Tensor, shrinkage: float) -> Density:
    """Fit a density to the rows of features [N, F], computed in float64 and kept in float32.

    Args:
        features: any of whose columns varies.
        shrinkage: by this share correlations are lowered, towards independent features (Schaefer & Strimmer 2005): with
            few rows some directions look as if nothing varied along them.
    """
    features = features.double()
    mean = features.mean(dim=0)
    deviations = features - mean
    covariance = deviations.T @ deviations / len(features)
    shrunk = (1 - shrinkage) * covariance + shrinkage * covariance.diagonal().diag()
    factor = torch.linalg.cholesky(shrunk)
    whitening = torch.linalg.solve_triangular(factor, torch.eye(len(factor), dtype=torch.float64), upper=False)
    return Density(mean.float(), whitening.float())
