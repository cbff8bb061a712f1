"""What is known about a patient and a lesion's place, as tensors for a network."""

import pandas as pd
import torch

from dermaline.data import patients

WIDTH: int = patients.WIDTH
MISSING: torch.Tensor = torch.from_numpy(patients.MISSING)  # [WIDTH]; hides a row


def encode(rows: pd.DataFrame) -> torch.Tensor:
    """float32 [N, WIDTH], as `patients.encode` says."""
    return torch.from_numpy(patients.encode(rows))
