"""Laws of checkpoints: a run is resumed whole, or refused by an error that names the file."""

import copy
import resource
import shutil

import numpy as np
import pandas as pd
import pytest
from skorch.callbacks import Callback, Checkpoint, LoadInitState
from torch import nn

from sklcnn import CNNClassifier

RANDOM = np.random.RandomState(0)
X, LABELS = RANDOM.rand(30, 8), np.arange(30) % 3


def own_backbone(sample_shape):
    return nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten())


def make(folder, *others, per_epoch=True, max_epochs=4, **params):
    name = "_{last_epoch[epoch]}" if per_epoch else ""
    checkpoint = Checkpoint(
        monitor=None, dirname=str(folder), f_params=f"params{name}.pt", f_optimizer=f"optimizer{name}.pt",
        f_criterion=f"criterion{name}.pt",
    )  # fmt: skip
    return CNNClassifier(
        **{"filters": 4, "dense_units": 8, "batch_size": 16, "random_state": 0, "lr_schedule": None} | params,
        max_epochs=max_epochs, callbacks=[LoadInitState(checkpoint), checkpoint, *others],
    )  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return folders of runs of three epochs: a file an epoch, and files that each epoch writes over."""
    folders = {per_epoch: tmp_path_factory.mktemp("run") for per_epoch in (True, False)}
    for per_epoch, folder in folders.items():
        make(folder, per_epoch=per_epoch, max_epochs=3).fit(X, LABELS)
    return folders


def flip(path, share):
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "removed": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3]),
    "a bit in the middle": lambda path: flip(path, 0.5),
    "a bit near the end": lambda path: flip(path, 0.9),
    "another file": lambda path: path.write_bytes(b'[{"epoch": 1}, 7]'),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("per_epoch", [True, False], ids=["a file an epoch", "one file"])
@pytest.mark.parametrize("part", ["params", "optimizer", "criterion", "history"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_and_the_run_refused(saved, tmp_path, part, damage, per_epoch):
    folder = shutil.copytree(saved[per_epoch], tmp_path / "run")
    name = "history.json" if part == "history" else f"{part}_3.pt" if per_epoch else f"{part}.pt"
    DAMAGES[damage](folder / name)
    cnn = make(folder, per_epoch=per_epoch)
    with pytest.raises(ValueError, match=rf"^CNNClassifier: the checkpoint file .*{name}.*Delete") as caught:
        cnn.fit(X, LABELS)
    assert len(str(caught.value)) < 500
    assert not hasattr(cnn, "net_")


def test_files_of_different_epochs_are_no_run(saved, tmp_path):
    folder = shutil.copytree(saved[True], tmp_path / "run")
    shutil.copy(folder / "params_2.pt", folder / "params_3.pt")
    with pytest.raises(ValueError, match=r"params_3\.pt.* another epoch"):
        make(folder).fit(X, LABELS)


def test_a_run_of_another_network_is_refused(saved, tmp_path):
    folder = shutil.copytree(saved[True], tmp_path / "run")
    with pytest.raises(ValueError, match=r"params_3\.pt.*same hyper-parameters"):
        make(folder, filters=5).fit(X, LABELS)


def test_the_best_epoch_of_a_run_is_there_or_it_is_refused(tmp_path):
    params = {"early_stopping": True, "scoring": lambda cnn, X, y: -abs(len(cnn.net_.history) - 2)}
    make(tmp_path, max_epochs=3, **params).fit(X, LABELS)
    (tmp_path / "params_2.pt").unlink()
    with pytest.raises(ValueError, match=r"params_2\.pt.*missing"):
        make(tmp_path, **params).fit(X, LABELS)


def test_a_run_cut_off_while_its_first_epoch_was_saved_begins_anew(saved, tmp_path):
    shutil.copy(saved[True] / "params_1.pt", tmp_path)
    again = make(tmp_path, max_epochs=3).fit(X, LABELS)
    np.testing.assert_array_equal(
        again.predict_proba(X), make(tmp_path / "new", max_epochs=3).fit(X, LABELS).predict_proba(X)
    )


class FillDisk(Callback):
    """From the end of the second epoch on, no file may grow past half the size of one of weights."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))

    def on_train_end(self, net, **kwargs):
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.mark.parametrize("per_epoch", [True, False], ids=["a file an epoch", "one file"])
def test_a_full_disk_leaves_the_run_of_the_last_whole_epoch(tmp_path, per_epoch):
    expected = make(tmp_path / "whole").fit(X, LABELS)
    with pytest.warns(UserWarning, match=r"the checkpoint file .* could not be written"):
        fitted = make(tmp_path, FillDisk(), per_epoch=per_epoch).fit(X, LABELS)
    assert not list(tmp_path.glob("*.part"))
    taken_up = make(tmp_path, per_epoch=per_epoch).fit(X, LABELS)
    columns = expected.history_.columns.drop("duration")
    for again in (fitted, taken_up):
        pd.testing.assert_frame_equal(again.history_[columns], expected.history_[columns], check_exact=True)
        np.testing.assert_array_equal(again.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize("missing", ["f_optimizer", "f_params"])
def test_a_run_without_weights_or_the_optimizers_state_is_not_resumed(tmp_path, missing):
    checkpoint = Checkpoint(monitor=None, dirname=str(tmp_path), **{missing: None})
    params = {"filters": 2, "dense_units": (), "max_epochs": 2}
    CNNClassifier(**params, callbacks=[checkpoint]).fit(X, LABELS)
    with pytest.raises(ValueError, match=rf"{missing}=None. Give it a file for each.*Delete"):
        CNNClassifier(**params, callbacks=[LoadInitState(checkpoint)]).fit(X, LABELS)


def test_a_run_is_not_resumed_by_a_shorter_one_nor_by_a_fit_that_continues_with_another_network(
    saved, tmp_path, refuses
):
    folder = shutil.copytree(saved[True], tmp_path / "run")
    with pytest.raises(ValueError, match=r"loaded 3 epochs, but this fit ends with epoch 2.*save the estimator itself"):
        make(folder, max_epochs=2).fit(X, LABELS)
    with pytest.raises(ValueError, match="partial_fit cannot resume the 3 epochs"):
        make(folder).partial_fit(X, LABELS)
    for n_epochs in (2, 5):
        cnn = make(folder, max_epochs=n_epochs, warm_start=True).set_params(callbacks=None).fit(X, LABELS)
        cnn.set_params(callbacks=make(folder).callbacks)
        for method in (cnn.fit, cnn.partial_fit):
            with refuses(cnn, rf"its 3 epochs do not begin with the {n_epochs} of the network.*warm_start=False"):
                method(X, LABELS)


def test_a_warm_start_that_was_cut_off_is_resumed(tmp_path):
    class CutOff(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 3:
                raise ZeroDivisionError

    first = make(tmp_path, max_epochs=2, warm_start=True).set_params(callbacks=None).fit(X, LABELS)
    expected = copy.copy(first).set_params(callbacks=None).fit(X, LABELS)
    with pytest.raises(ZeroDivisionError):
        copy.copy(first).set_params(callbacks=make(tmp_path, CutOff()).callbacks).fit(X, LABELS)
    resumed = copy.copy(first).set_params(callbacks=make(tmp_path).callbacks).fit(X, LABELS)
    assert resumed.n_iter_ == 4
    np.testing.assert_array_equal(resumed.predict_proba(X), expected.predict_proba(X))


def third_epoch(cnn, X, y):
    return -abs(len(cnn.net_.history) - 3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"early_stopping": True, "scoring": third_epoch},
        {"weight_averaging": "ema"},
        {"backbone": own_backbone, "freeze_epochs": 3},
    ],
    ids=["plain", "early stopping", "averages", "thawed later"],
)
@pytest.mark.parametrize("warm_start", [False, True])
def test_the_epoch_that_a_checkpoint_loads_at_the_end_is_the_one_that_is_reported(tmp_path, changes, warm_start):
    def best(net):
        return len(net.history) in (2, 7)

    def make_with_best(n_epochs, *callbacks):
        return CNNClassifier(
            filters=4, dense_units=8, batch_size=16, random_state=0, lr_schedule=None, max_epochs=n_epochs,
            warm_start=True, callbacks=callbacks, **changes,
        )  # fmt: skip

    checkpoint = Checkpoint(monitor=best, dirname=str(tmp_path), load_best=True)
    cnn = make_with_best(5, checkpoint).fit(X, LABELS)
    assert (cnn.best_epoch_, cnn.n_iter_, len(cnn.history_), len(cnn.net_.history)) == (2, 2, 2, 2)
    if not warm_start:
        short = {name: value for name, value in changes.items() if name not in ("early_stopping", "scoring")}
        if short == changes:
            expected = make_with_best(2).fit(X, LABELS)
            np.testing.assert_array_equal(cnn.predict_proba(X), expected.predict_proba(X))
        return
    cnn.fit(X, LABELS)
    assert (cnn.best_epoch_, cnn.n_iter_, cnn.history_["epoch"].tolist()) == (7, 7, [1, 2, 3, 4, 5, 6, 7])


def test_the_best_epoch_of_another_run_is_not_loaded(saved, tmp_path):
    folder = shutil.copytree(saved[True], tmp_path / "run")
    cnn = make(folder)
    cnn.callbacks[1].set_params(monitor=lambda net: False, load_best=True)
    cnn.set_params(callbacks=cnn.callbacks[1:])
    with pytest.raises(ValueError, match="holds another run"):
        cnn.fit(X, LABELS)
