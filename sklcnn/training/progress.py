"""What a person sees while a network trains."""

from __future__ import annotations

import math
from typing import Any


class Progress:
    """Nothing printed: the form that `verbose=0` takes, and the interface of the others."""

    def begin(self, n_epochs: int, n_batches: int, first_epoch: int) -> None:
        """Start `n_epochs` epochs of `n_batches` batches."""

    def advance(self) -> None:
        """Count a batch."""

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Show what an epoch gave."""

    def close(self) -> None:
        """Finish."""


class ProgressBar(Progress):
    """One bar over all epochs: epoch, losses, time left."""

    def begin(self, n_epochs, n_batches, first_epoch):
        from tqdm.auto import tqdm

        self._last_epoch = first_epoch + n_epochs - 1
        self._bar = tqdm(
            total=n_epochs * n_batches,
            desc=f"epoch {first_epoch - 1}/{self._last_epoch}",
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
        )

    def advance(self):
        self._bar.update()

    def end_epoch(self, row):
        losses = {"loss": row["train_loss"], "val_loss": row["val_loss"], "val_score": row["val_score"]}
        shown = [f"{name} {value:.4f}" for name, value in losses.items() if not math.isnan(value)]
        self._bar.set_description_str(f"epoch {row['epoch']}/{self._last_epoch}, " + ", ".join(shown))

    def close(self):
        if hasattr(self, "_bar"):
            self._bar.close()


class EpochLines(Progress):
    """A line an epoch."""

    def begin(self, n_epochs, n_batches, first_epoch):
        self._last_epoch = first_epoch + n_epochs - 1

    def end_epoch(self, row):
        names = ("train_loss", "penalty", "val_loss", "train_score", "val_score", "learning_rate")
        width = len(str(self._last_epoch))
        values = [f"{name} {row[name]:.4g}" for name in names if not math.isnan(row[name])]
        print(f"epoch {row['epoch']:{width}d}/{self._last_epoch}  " + "  ".join(values) + f"  {row['duration']:.1f} s")


PROGRESS = (Progress, ProgressBar, EpochLines)


def make_progress(verbose: int) -> Progress:
    """Build what a level of `verbose` asks for."""
    return PROGRESS[min(int(verbose), len(PROGRESS) - 1)]()
