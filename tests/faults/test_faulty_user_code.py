"""Laws of the user's code: what it writes into changes nothing else; what it gets wrong is told."""

import re

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn
from torchvision.transforms import v2

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor

RANDOM = np.random.RandomState(0)
X = RANDOM.rand(40, 8, 8).astype(np.float32) - 0.5
VALUES, LABELS = X.mean((1, 2)), np.arange(40) % 2
QUICK = {"filters": 2, "dense_units": 4, "max_epochs": 3, "batch_size": 16, "random_state": 0}
TASKS = [pytest.param(CNNClassifier, LABELS, id="classifier"), pytest.param(CNNRegressor, VALUES, id="regressor")]


def squared(outputs, targets):
    return (outputs - targets).square().sum(1)


def writes_into_targets(outputs, targets):
    losses = squared(outputs, targets)
    targets.zero_()
    return losses


def writes_into_outputs(outputs, targets):
    losses = squared(outputs, targets)
    outputs.detach().zero_()
    return losses


@pytest.mark.parametrize(("estimator", "y"), TASKS)
@pytest.mark.parametrize("loss", [writes_into_targets, writes_into_outputs])
@pytest.mark.parametrize("n_epochs", [1, 3])
def test_a_loss_that_writes_changes_no_score(estimator, y, loss, n_epochs):
    params = QUICK | {"max_epochs": n_epochs, "early_stopping": True}
    expected, found = (estimator(**params, loss=function).fit(X, y) for function in (squared, loss))
    columns = expected.history_.columns.drop("duration")
    np.testing.assert_array_equal(found.history_[columns], expected.history_[columns])
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))


class WritesIntoImages(nn.Module):
    def forward(self, images):
        features = images.flatten(1) * 1
        images.zero_()
        return features


def writing_block(n_in, n_out, kernel_size, spatial_dims):
    return nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(n_in, n_out, kernel_size, padding=1))


WRITERS = {
    "backbone": {"backbone": WritesIntoImages()},
    "frozen backbone": {"backbone": WritesIntoImages(), "freeze_epochs": 9},
    "factory": {"backbone": lambda sample_shape: WritesIntoImages()},
    "block": {"block": writing_block},
    "augmentation": {"augmentation": lambda images: images.zero_()},
    "callback": {
        "callbacks": [type("Writes", (Callback,), {"on_batch_begin": lambda self, net, batch, **_: batch[0].zero_()})]
    },
    "scorer": {"early_stopping": True, "scoring": lambda cnn, X, y: float(X.fill(0) is None and len(y))},
}


@pytest.mark.filterwarnings("ignore:CNNClassifier. the network has died")
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("name", WRITERS)
def test_code_that_writes_into_images_does_not_change_x(name, standardize):
    given = X.copy()
    cnn = CNNClassifier(**QUICK, standardize=standardize, **WRITERS[name]).fit(given, LABELS)
    for rows in (given, given[:1], given[:3]):
        cnn.predict(rows)
        np.testing.assert_array_equal(given, X)


def test_a_backbone_that_writes_into_images_does_not_change_x():
    given = X.copy()
    CNNFeatures(backbone=WritesIntoImages()).fit_transform(given)
    np.testing.assert_array_equal(given, X)


class TroubleError(Exception):
    """The error that the user's code raises here."""


def trouble(*args, **kwargs):
    raise TroubleError


def returning(value):
    return lambda *args, **kwargs: value


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, images):
        return self.make(images)


NAN = float("nan")
WRONG = (TypeError, ValueError)
FAULTS = {
    "loss raises": ({"loss": trouble}, TroubleError, ""),
    "loss of another shape": ({"loss": lambda o, t: (o - t).square().mean()}, ValueError, "loss must return one loss"),
    "loss is no tensor": ({"loss": returning(1.0)}, ValueError, "loss must return one loss a row"),
    "loss is NaN": ({"loss": lambda o, t: (o * NAN).sum(1)}, ValueError, "not finite in epoch 1"),
    "loss of integers": ({"loss": lambda o, t: o.sum(1).long()}, ValueError, "loss must"),
    "augmentation raises": ({"augmentation": trouble}, TroubleError, ""),
    "augmentation of another shape": ({"augmentation": lambda images: images[:, :, :4]}, ValueError, "augmentation"),
    "augmentation of another type": ({"augmentation": lambda images: images.numpy()}, WRONG, "augmentation"),
    "augmentation to NaN": ({"augmentation": lambda images: images * NAN}, ValueError, "must return finite values"),
    "backbone raises": ({"backbone": Returns(trouble)}, (TroubleError, ValueError), ""),
    "backbone of another shape": ({"backbone": Returns(lambda images: images.sum())}, ValueError, "backbone"),
    "backbone is no tensor": ({"backbone": Returns(returning("features"))}, WRONG, "backbone"),
    "backbone of NaN": ({"backbone": Returns(lambda images: images.flatten(1) * NAN)}, WRONG, "not finite|backbone"),
    "backbone of integers": ({"backbone": Returns(lambda images: images.flatten(1).long())}, WRONG, "floats"),
    "scorer raises": ({"early_stopping": True, "scoring": trouble}, TroubleError, ""),
    "scorer of NaN": ({"early_stopping": True, "scoring": returning(NAN)}, ValueError, "scoring"),
    "scorer of text": ({"early_stopping": True, "scoring": returning("good")}, (TypeError, ValueError), "scoring"),
    "callback raises": (
        {"callbacks": [type("Raises", (Callback,), {"on_epoch_end": trouble})]}, TroubleError, ""),
}  # fmt: skip


class RaisesInTraining(nn.Linear):
    def forward(self, images):
        return trouble() if self.training else super().forward(images.flatten(1))


class RaisesOnLog(Callback):
    def on_batch_end(self, net, **kwargs):
        raise TroubleError


def needs_names(*args, image=None):
    """Be called as albumentations' transforms are."""
    if args:
        raise KeyError("You have to pass data to augmentations as named arguments, for example: aug(image=image)")
    return {"image": image}


def trouble_of_its_own_kind(cnn, X, y):
    return b"\xff".decode()


ONE_BATCH = r"raised this.* one argument, a tensor of floats of shape \(16, 1, 8, 8\) \(n, channels, \*spatial\)"
LOSS = r"CNNClassifier: loss=trouble raised this.* shape \(16, 2\) and \(16, 2\)"
NOTES = {
    "augmentation": ({"augmentation": trouble}, TroubleError, "=trouble " + ONE_BATCH),
    "augmentation in a tuple": ({"augmentation": ("shift", trouble)}, TroubleError, "augmentation=trouble raised this"),
    "augmentation of two arguments": ({"augmentation": lambda images, targets: images}, TypeError, ONE_BATCH),
    "augmentation by name": ({"augmentation": needs_names}, KeyError, "take the array of one image by name. Wrap them"),
    "transform of single images": ({"augmentation": ("flip", v2.ToPILImage())}, ValueError, "=ToPILImage raised this"),
    "loss": ({"loss": trouble}, TroubleError, LOSS),
    "scorer": ({"early_stopping": True, "scoring": trouble}, TroubleError, "scoring=.*trouble .* validation rows"),
    "scorer, another ValueError": (
        {"early_stopping": True, "scoring": trouble_of_its_own_kind}, UnicodeDecodeError, "validation rows"),
    "callback": ({"callbacks": [("log", RaisesOnLog())]}, TroubleError, "callback 'log' raised this in on_batch_end"),
    "network": ({"backbone": RaisesInTraining(64, 3)}, TroubleError, r"the network raised this.*\(16, 1, 8, 8\)"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*early_stopping judges epochs by")
@pytest.mark.parametrize("name", NOTES)
def test_an_error_of_the_users_code_keeps_its_type_and_has_a_note_that_says_whose_it_is(name):
    params, kind, note = NOTES[name]
    with pytest.raises(kind) as caught:
        CNNClassifier(**QUICK | params).fit(X, LABELS)
    assert type(caught.value) is kind
    assert len(caught.value.__notes__) == 1
    assert re.search(note, caught.value.__notes__[0])


@pytest.mark.parametrize("name", FAULTS)
def test_what_the_users_code_gets_wrong_is_told_and_leaves_the_estimator_as_it_was(name, refuses):
    params, kinds, message = FAULTS[name]
    cnn = CNNClassifier(**QUICK).fit(X, LABELS)
    cnn.set_params(**params)
    before = torch.get_rng_state()
    with refuses(cnn, message, kinds if isinstance(kinds, tuple) else (kinds,)):
        cnn.fit(X, LABELS)
    assert torch.equal(torch.get_rng_state(), before)
