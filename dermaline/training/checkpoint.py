"""Where a training that was stopped finds its way back.

The checkpoint lies in a scratch folder that neither Git nor DVC knows: DVC deletes a stage's outputs before it
runs. The folder's name is a fingerprint of parameters, code, packages and data, so nothing else's checkpoint is ever
taken.
"""

import fcntl
import hashlib
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from dermaline.base.files import digest, room, scratch, sync, write_text
from dermaline.base.versions import installed

FINISHED = "finished"  # beside a checkpoint: the digest of what was made of it


def fingerprint(settings: dict[str, Any], files: list[Path]) -> str:
    """A hash of the settings, the content of `files`, the code of this project that is loaded now, and the packages."""
    found = hashlib.blake2b(json.dumps([settings, installed()], sort_keys=True).encode(), digest_size=16)
    ours = ("dermaline", "stages", "__main__")  # the last is the script that runs
    loaded = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ours}
    code = [Path(module.__file__) for _, module in sorted(loaded.items()) if getattr(module, "__file__", None)]
    for path in [*code, *files]:
        with path.open("rb") as content:
            found.update(hashlib.file_digest(content, "blake2b").digest())
    return found.hexdigest()


class ResumeCheckpoint:
    """One training's scratch folder, `.scratch/FINGERPRINT` under the main checkout (also in a DVC temporary run)."""

    def __init__(self, name: str) -> None:
        self.folder = scratch(name)
        self.path, self.note = self.folder / "checkpoint.pt", self.folder / FINISHED

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint in one step: killed at any moment, the old or the new one is whole.

        Two workers of a queue may train the same, so each writes under a name of its own, which it locks.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_partial()
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        with room(partial), partial.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            torch.save(state, file)
            file.flush()
            sync(partial)
            partial.replace(self.path)

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, or None before the first."""
        return torch.load(self.path, map_location="cpu", weights_only=True) if self.path.exists() else None

    def finish(self, made: Path) -> None:
        """Keep the checkpoint until DVC has what was made of it, so until the stage that reads that forgets it.

        DVC, killed or without room while it takes the outputs of a stage, deletes them and runs the stage again.
        """
        if self.path.exists():
            write_text(self.note, digest(made))

    def remove(self) -> None:
        """Remove the checkpoint with its note, and the folder unless another worker is writing there."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self._remove_partial()
        with suppress(OSError):
            self.folder.rmdir()

    def _remove_partial(self) -> None:
        """Remove what killed runs left half written: what nobody locks."""
        for path in self.folder.glob("*.partial"):
            with suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def forget_finished(made: Path) -> None:
    """Remove the checkpoints of finished trainings that made this file."""
    named = digest(made)
    for note in scratch().glob(f"*/{FINISHED}"):
        with suppress(FileNotFoundError):  # another worker's, which is done with it
            if note.read_text(encoding="utf-8") == named:
                ResumeCheckpoint(note.parent.name).remove()
