"""What a training writes while it runs: the table of its epochs, and event files for TensorBoard."""

from pathlib import Path

import pandas as pd

from dermaline.base.errors import DermalineError
from dermaline.base.files import DIGITS, write_text


class EpochReports:
    """Write the epochs so far, after each of them: the table whole, and the events of the new ones.

    Args:
        table: the CSV file; it grows by a row an epoch, so that `dvc plots show` draws the curve so far.
        events: a folder for TensorBoard; None: no events.

    Raises:
        DermalineError: events are wanted, and their package is not installed.
    """

    def __init__(self, table: Path, events: Path | None) -> None:
        self.table, self.writer, self.epochs_written = table, None, 0
        if events is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                advice = "pip install -r requirements.txt, or set it to false"
                raise DermalineError(f"compute.tensorboard: tensorboard is not installed; {advice}") from None
            self.writer = SummaryWriter(str(events), purge_step=1)  # a training that resumes writes all epochs again

    def __call__(self, history: pd.DataFrame) -> None:
        """Write `history`, a row an epoch with the columns `epoch`, `phase`, `kept` and numbers."""
        shown = history.round(DIGITS).assign(lr=[float(f"{rate:.3g}") for rate in history["lr"]])  # which may be small
        write_text(self.table, shown.to_csv(index=False, lineterminator="\n"))
        if self.writer is None:
            return
        for row in history.iloc[self.epochs_written :].to_dict("records"):
            for name in history.columns.drop(["epoch", "phase", "kept"]):
                self.writer.add_scalar(name, row[name], row["epoch"])
        self.writer.flush()
        self.epochs_written = len(history)
