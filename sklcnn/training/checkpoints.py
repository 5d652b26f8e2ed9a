"""The files of skorch's checkpoints. A run is resumed from a complete set of them, or not at all."""

from __future__ import annotations

import glob
import json
import os
import re
import warnings
import zipfile
from hashlib import blake2b
from types import SimpleNamespace
from typing import Any

from skorch.history import History

from sklcnn.signals import raise_if_signalled
from sklcnn.wording import LINE, cut, shown

# The entry of an epoch's row for the digests of its files; with this prefix skorch does not take it for a score.
DIGESTS = "event_files"
PARTS = ("f_params", "f_optimizer", "f_criterion")
OWN_STATE = "own state"  # among the digests, that of what own modules hold beside their weights
FROZEN = "frozen parameters"  # among the digests, the names of what did not train, where they have changed
ROWS = "rows"  # among the digests, that of the history itself
ROW = {"epoch", "batches", "learning_rate", "train_loss", "val_loss", "val_score"}  # what a resumed run reads
KNOWN_BY = ("epoch", "duration", "train_loss")  # of two epochs, they are never all the same
BEGIN_ANEW = "Delete the checkpoint's files to begin anew"


def digest_of(file: str) -> str:
    """Digest a file's content."""
    with open(file, "rb") as opened:
        digest = blake2b(digest_size=16)
        while block := opened.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def digest_of_rows(rows: Any) -> str:
    """Digest a history without the digest that it holds of itself."""
    last = dict(rows[-1])
    last[DIGESTS] = {name: digest for name, digest in last.get(DIGESTS, {}).items() if name != ROWS}
    return blake2b(json.dumps([*rows[:-1], last], sort_keys=True).encode(), digest_size=16).hexdigest()


def warn_of_unsaved(file: str, error: BaseException, estimator_name: str) -> None:
    """Warn that an epoch has no checkpoint; skorch itself does not."""
    reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
    warnings.warn(
        f"{estimator_name}: the checkpoint file {shown(str(file))} could not be written ({cut(reason, LINE)}). "
        "Training continues; a run that is resumed later begins after the last epoch whose files were all written.",
        UserWarning,
        stacklevel=2,
    )


def warn_of_own_state(checkpoint: Any, estimator_name: str) -> None:
    """Warn that modules of the user's held what a checkpoint does not save, and hold something else now."""
    warnings.warn(
        f"{estimator_name}: what a module of yours holds outside its state dict (attributes, buffers with "
        f"persistent=False) is not in the checkpoint in {shown(str(checkpoint.dirname or os.curdir))}, and differs now "
        "from what it was: the network is not the one that was saved. Register it as buffers, or return it from "
        "get_extra_state, and begin anew.",
        UserWarning,
        stacklevel=2,
    )


def recorded_frozen(rows: Any) -> list[str] | None:
    """Return the names of the parameters that did not train at the end of a history; None if it does not say so."""
    told = (row[DIGESTS][FROZEN] for row in reversed(rows) if FROZEN in (row.get(DIGESTS) or ()))
    return next(told, None)


def files_of_epoch(checkpoint: Any, rows: list[dict], epoch: int) -> dict[str, str]:
    """Name the files of the weights, the optimiser and the loss that a checkpoint saves at the end of an epoch."""
    told = [{checkpoint.event_name: False} | row for row in rows[:epoch]]  # epochs of an earlier fit know no checkpoint
    names = checkpoint.get_formatted_files(SimpleNamespace(history=History(told)))
    return {part: names[part] for part in PARTS if isinstance(names.get(part), (str, os.PathLike))}


def read_history(checkpoint: Any, estimator_name: str) -> list[dict] | None:
    """Read the history of a checkpoint's run; None where none has been saved.

    Raises
    ------
    ValueError
        If it is damaged; or missing, where other files of the checkpoint are there.
    """
    file = checkpoint.f_history_
    if not os.path.lexists(file):
        left = _files_left(checkpoint)
        if left:
            raise ValueError(
                f"{estimator_name}: the checkpoint file {shown(left[0])} is there, but its history, {shown(file)}, is "
                f"missing: the run cannot be resumed. {BEGIN_ANEW}."
            )
        return None
    try:
        with open(file, encoding="utf-8") as opened:
            rows = json.load(opened)
        known = rows[-1].get(DIGESTS, {}).get(ROWS)
        if any(row["epoch"] != number or not ROW <= row.keys() for number, row in enumerate(rows, 1)):
            raise ValueError("it does not hold the epochs in order")
        if known is not None and known != digest_of_rows(rows):
            raise ValueError("it is damaged")
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise_if_signalled(error)
        raise _unusable(file, error, estimator_name) from error
    return rows


def check_files(files: dict[str, str], rows: list[dict], epoch: int, estimator_name: str) -> None:
    """Check that files of an epoch are what was saved with its row of the history.

    Raises
    ------
    ValueError
        If one is missing, damaged or of another epoch.
    """
    digests = rows[epoch - 1].get(DIGESTS) or {}
    for file in files.values():
        if not os.path.isfile(file):
            raise ValueError(
                f"{estimator_name}: the checkpoint file {shown(str(file))} is missing: the run of {len(rows)} epochs "
                f"cannot be resumed. {BEGIN_ANEW}."
            )
        known = digests.get(os.path.basename(file))
        if known is not None:
            if known != digest_of(file):
                raise _unusable(file, "it is damaged, or was written in another epoch", estimator_name)
        elif zipfile.is_zipfile(file):  # torch's format, written by a release that kept no digests
            with zipfile.ZipFile(file) as content:
                if content.testzip() is not None:
                    raise _unusable(file, "it is damaged", estimator_name)


def check_is_whole(files: dict[str, str], estimator_name: str) -> None:
    """Check that a run can be resumed from the files that a checkpoint saves of an epoch.

    Raises
    ------
    ValueError
        If they lack weights or the optimiser's state: the rest of the run would be that of another one.
    """
    missing = [part for part in ("f_params", "f_optimizer") if part not in files]
    if missing:
        raise ValueError(
            f"{estimator_name}: a run is resumed from its weights and the optimizer's state, but LoadInitState's "
            f"checkpoint has {' and '.join(f'{part}=None' for part in missing)}. Give it a file for each, such as "
            'f_optimizer="optimizer_{last_epoch[epoch]}.pt", without use_safetensors, which saves no optimizer. '
            f"{BEGIN_ANEW}."
        )


def check_is_of_run(checkpoint: Any, rows: list[dict], history: Any, *, ends: bool, estimator_name: str) -> None:
    """Check that a checkpoint's history is of the run that loads it: one that is resumed, or that has ended.

    Raises
    ------
    ValueError
        If it does not begin with the epochs of the network that the run continues; or, where the run has ended, does
        not hold the run's own epochs.
    """
    same = all(old[name] == row[name] for old, row in zip(history, rows, strict=False) for name in KNOWN_BY)
    if same and (len(rows) <= len(history) if ends else len(rows) >= len(history)):
        return
    where = f"{estimator_name}: the checkpoint in {shown(str(checkpoint.dirname or os.curdir))}"
    if ends:
        raise ValueError(
            f"{where} holds another run, of whose epochs load_best would load one, and none of this fit. "
            f"{BEGIN_ANEW}, or leave load_best out."
        )
    raise ValueError(
        f"{where} cannot be resumed here: its {len(rows)} epochs do not begin with the {len(history)} of the network "
        "that this fit continues. Leave LoadInitState out of callbacks, or set warm_start=False, or begin with a new "
        "estimator; to go on later with several fits, save the estimator itself."
    )


def check_length(n_epochs: int, last_epoch: int, resumes: bool, estimator_name: str) -> None:
    """Check that a run that was loaded is no longer than the one that resumes it.

    Raises
    ------
    ValueError
    """
    if not resumes:
        raise ValueError(
            f"{estimator_name}: partial_fit cannot resume the {n_epochs} epochs that LoadInitState has loaded: the "
            "rows of this call would not be trained on. Leave LoadInitState out of callbacks; to go on later, save the "
            "estimator itself, by pickle or skops."
        )
    if n_epochs > last_epoch:
        raise ValueError(
            f"{estimator_name}: LoadInitState has loaded {n_epochs} epochs, but this fit ends with epoch {last_epoch}: "
            "they are of another run. A checkpoint resumes one fit that was cut off, with the same max_epochs; to go "
            f"on later with several fits, save the estimator itself. {BEGIN_ANEW}."
        )


def check_loadable(load: Any, files: dict[str, str], estimator_name: str) -> None:
    """Load files; name the one that cannot be loaded."""
    for part, file in files.items():
        try:
            load(**{part: file})
        except Exception as error:  # torch raises errors of nearly any class for a file that is not its own
            raise_if_signalled(error)
            raise _unusable(file, error, estimator_name) from error


def _unusable(file, reason, estimator_name):
    reason = cut(" ".join(str(reason).split()), LINE).rstrip(".")
    return ValueError(
        f"{estimator_name}: the checkpoint file {shown(str(file))} cannot be used: {reason}. A run is resumed "
        f"with the same hyper-parameters from whole files. {BEGIN_ANEW}."
    )


def _files_left(checkpoint):
    """List a checkpoint's files of weights, but not that of a first epoch, whose saving may have been interrupted."""
    pattern = checkpoint.f_params
    if not isinstance(pattern, str):
        return []
    start = os.path.join(glob.escape(checkpoint.dirname), glob.escape(checkpoint.fn_prefix))
    left = sorted(glob.glob(start + re.sub(r"\{[^}]*\}", "*", pattern)))
    first = files_of_epoch(checkpoint, [{"epoch": 1, "batches": [{}], checkpoint.event_name: True}], 1)["f_params"]
    return [file for file in left if "{" not in pattern or file != first]
