"""The files of a net: written so that a run can be resumed from them, and read whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

from skorch import NeuralNet
from skorch.history import History

from sklcnn.network.own_state import digest_own_state
from sklcnn.signals import suppressed
from sklcnn.training.checkpoints import (
    DIGESTS,
    FROZEN,
    OWN_STATE,
    ROWS,
    check_files,
    check_is_of_run,
    check_is_whole,
    check_loadable,
    digest_of,
    digest_of_rows,
    files_of_epoch,
    read_history,
    recorded_frozen,
    warn_of_own_state,
    warn_of_unsaved,
)
from sklcnn.training.run import TrainingSpec
from sklcnn.training.stages import freeze, frozen_names, thaw


class ResumableNet(NeuralNet):
    """A skorch net whose checkpoints are complete files, with digests."""

    spec: TrainingSpec
    module_: Any
    optimizer_: Any
    epoch_loaded_: int | None = None  # at the end of a run, by a checkpoint that loads the best epoch
    _loading: str | None = None

    def save_params(self, f_params=None, *, use_safetensors=False, **files):
        """Save as skorch does, but replace each file by a complete one, so that a killed process leaves no part of one.

        The history is saved with digests of the epoch's other files, and not at all where one could not be written.
        """
        for name, file in {"f_params": f_params, **files}.items():
            if file is None:
                continue
            if not isinstance(file, (str, os.PathLike)):
                super().save_params(**{name: file}, use_safetensors=use_safetensors)
            elif name != "f_history" or None not in self._digests().values():
                self._save_aside(name, os.fspath(file), use_safetensors)

    def _save_aside(self, name, file, use_safetensors):
        aside = f"{file}.part"
        if name == "f_history":
            if own := digest_own_state(self.module_):
                self._digests()[OWN_STATE] = own
            frozen = frozen_names(self.module_)
            if self.history and frozen != recorded_frozen(self.history):  # not each time: they may be many
                self._digests()[FROZEN] = frozen
            self._digests()[ROWS] = digest_of_rows(self.history)
        try:
            super().save_params(**{name: aside}, use_safetensors=use_safetensors)
            digest = digest_of(aside)
            os.replace(aside, file)
        except Exception as error:
            self._digests()[os.path.basename(file)] = None
            with suppressed(OSError):
                os.unlink(aside)
            warn_of_unsaved(file, error, self.spec.estimator_name)
            raise
        if name != "f_history":
            self._digests()[os.path.basename(file)] = digest

    def _digests(self):
        """Return the digests of the files of the latest epoch: None where one could not be written."""
        return self.history[-1].setdefault(DIGESTS, {}) if self.history else {}

    def load_params(self, f_params=None, f_optimizer=None, f_criterion=None, f_history=None, checkpoint=None, **kwargs):
        """Load as skorch does, after giving the optimiser the parameters that it trained when it was saved.

        A checkpoint is loaded with all of its files.

        Raises
        ------
        ValueError
            If a file of a checkpoint is missing, damaged or of another epoch; it is named.
        """
        if checkpoint is not None and f_history is None and checkpoint.f_history is not None:
            self._load_checkpoint(checkpoint, kwargs)
            return
        if f_history is not None:
            self._enter_stage_of(len(History.from_file(f_history)))
        super().load_params(f_params, f_optimizer, f_criterion, f_history, checkpoint, **kwargs)
        if checkpoint is not None:
            self.loaded_from_ = checkpoint

    def _load_checkpoint(self, checkpoint, kwargs):
        name = self.spec.estimator_name
        rows = read_history(checkpoint, name)
        if not rows:
            return
        saved = max((n for n, row in enumerate(rows, 1) if row.get(checkpoint.event_name)), default=len(rows))
        files = files_of_epoch(checkpoint, rows, saved)
        check_files(files, rows, saved, name)
        if self._loading is not None:
            check_is_of_run(checkpoint, rows, self.history, ends=self._loading == "best", estimator_name=name)
        if self._loading == "run":
            check_is_whole(files, name)
        elif self._loading == "best":  # no run goes on, so that averages need no latest weights
            files.pop("f_criterion", None)
            self.epoch_loaded_ = len(rows)
        self._enter_stage_of(len(rows))
        check_loadable(partial(super().load_params, **kwargs), files, name)
        known = (rows[-1].get(DIGESTS) or {}).get(OWN_STATE)
        if known is not None and known != digest_own_state(self.module_):
            warn_of_own_state(checkpoint, name)
        self.history = History(rows if self._loading != "best" else self.history[: len(rows)])
        self.loaded_from_ = checkpoint

    @contextlib.contextmanager
    def loading(self, what: str) -> Iterator[None]:
        """Say what a callback may load in a block: the "run" that is resumed, or the "best" epoch of one that ends."""
        self._loading, self.epoch_loaded_ = what, None
        try:
            yield
        finally:
            self._loading = None

    def _enter_stage_of(self, n_epochs):
        """Give the optimiser the parameters that it trained after so many epochs."""
        frozen = n_epochs <= self.spec.freeze_epochs
        if self.module_.is_frozen and not frozen:
            thaw(self.module_, self.optimizer_, self.spec)
        elif self.module_.has_backbone and frozen and not self.module_.is_frozen:
            freeze(self.module_, self.optimizer_)

    def files_of(self, epoch):
        """Return the files of an epoch's weights and optimiser, of the checkpoint loaded from.

        Empty where the epoch was not saved, or a later one has overwritten it.

        Raises
        ------
        ValueError
            If one is missing or damaged.
        """
        checkpoint, rows = getattr(self, "loaded_from_", None), self.history.to_list()
        if checkpoint is None or not rows[epoch - 1].get(checkpoint.event_name, checkpoint.monitor is None):
            return {}
        then, now = (files_of_epoch(checkpoint, rows, n_epochs) for n_epochs in (epoch, len(rows)))
        parts = [part for part in ("f_params", "f_optimizer") if epoch == len(rows) or then.get(part) != now.get(part)]
        files = {part: then[part] for part in parts if part in then}
        check_files(files, rows, epoch, self.spec.estimator_name)
        return files
