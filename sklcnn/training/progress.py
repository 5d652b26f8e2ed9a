"""What is printed while a network trains."""

from __future__ import annotations

import math
from typing import Any

BAR = "{desc} {percentage:3.0f}%|{bar}| "
BAR_COLUMNS = 24  # the least for " 100%|", "| 0:00:00 left" and the bar itself
# What the bar shows of an epoch's row, and its name there; the first ones are left out where a line is too short.
NUMBERS = {"train_loss": "loss", "val_loss": "val_loss", "val_score": "val_score"}


class Progress:
    """Prints nothing, for `verbose=0`. Also the interface of the others.

    Parameters
    ----------
    label : str
        What an epoch is called.
    """

    def __init__(self, label: str = "epoch"):
        self._label = label

    def begin(self, n_epochs: int, n_batches: int, first_epoch: int) -> None:
        """Start `n_epochs` epochs of `n_batches` batches."""

    def advance(self) -> None:
        """Count a batch."""

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Show what an epoch gave."""

    def finish(self, best_epoch: int | None) -> None:
        """Show that no epoch follows, and which one early stopping keeps."""

    def close(self) -> None:
        """Clean up, whether the run has finished or not."""


class ProgressBar(Progress):
    """One bar over all epochs: epoch, time left, losses."""

    def begin(self, n_epochs, n_batches, first_epoch):
        from tqdm.auto import tqdm

        self._last_epoch, self._numbers = first_epoch + n_epochs - 1, {}
        self._epoch = f"{self._label} {first_epoch - 1}/{self._last_epoch}"
        self._bar = tqdm(
            total=n_epochs * n_batches,
            desc=self._epoch,
            bar_format=BAR + "{remaining} left{postfix}",
            dynamic_ncols=True,
        )

    def advance(self):
        self._bar.update()

    def end_epoch(self, row):
        self._epoch = f"{self._label} {row['epoch']}/{self._last_epoch}"
        numbers = [f"{name} {row[key]:.3g}" for key, name in NUMBERS.items() if not math.isnan(row[key])]
        self._numbers[row["epoch"]] = numbers
        self._show(self._epoch, numbers)

    def _show(self, text, numbers):
        """Write a text before the bar, and after it as many numbers as there is room for."""
        columns = self._bar.format_dict["ncols"] or math.inf  # none in a notebook, or a file
        shown = list(numbers)
        while shown and len(", ".join([text, *shown])) + BAR_COLUMNS > columns:
            del shown[0]
        self._bar.set_description_str(text, refresh=False)
        self._bar.set_postfix_str(", ".join(shown))

    def finish(self, best_epoch):
        note = ", stopped" if self._bar.n < self._bar.total else ""
        shown = max(self._numbers, default=0)
        if best_epoch in self._numbers:
            note, shown = f", best {best_epoch}", best_epoch
        self._bar.n = self._bar.total
        self._show(self._epoch + note, self._numbers.get(shown, []))

    def close(self):
        if hasattr(self, "_bar"):
            self._bar.bar_format = BAR + "{elapsed}{postfix}"
            self._bar.close()


class EpochLines(Progress):
    """One line per epoch."""

    def begin(self, n_epochs, n_batches, first_epoch):
        self._last_epoch = first_epoch + n_epochs - 1

    def end_epoch(self, row):
        names = ("train_loss", "penalty", "val_loss", "train_score", "val_score", "learning_rate")
        width = len(str(self._last_epoch))
        values = [f"{name} {row[name]:.4g}" for name in names if not math.isnan(row[name])]
        epoch = f"{self._label} {row['epoch']:{width}d}/{self._last_epoch}"
        print(f"{epoch}  " + "  ".join(values) + f"  {row['duration']:.1f} s")

    def finish(self, best_epoch):
        if best_epoch is not None:
            print(f"best epoch {best_epoch}")


PROGRESS = (Progress, ProgressBar, EpochLines)


def make_progress(verbose: int, label: str = "epoch") -> Progress:
    """Build what a level of `verbose` asks for."""
    return PROGRESS[min(int(verbose), len(PROGRESS) - 1)](label)
