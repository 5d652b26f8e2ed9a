"""Laws of augmentation in a fit: what it touches, whose draws it takes, what becomes of targets and weights."""

import io
import pickle
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn
from torch.nn import functional

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.data.augmentation import AUGMENTATIONS

RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.rand(20, 12, 12, 3).astype(np.float32)
GREY = RANDOM.rand(20, 12, 12).astype(np.float32)
GREY3 = np.repeat(GREY[..., None], 3, axis=3)
SIGNALS = RANDOM.randn(20, 24)
VOLUMES = RANDOM.rand(20, 6, 6, 6, 1)
LABELS = np.array(["a", "b"] * 10)
SEVERAL = np.stack([np.arange(20) % 2, np.arange(20) % 3 == 0, np.arange(20) % 5 == 0], axis=1).astype(int)
VALUES = RANDOM.randn(20)
QUICK = {"filters": (3,), "dense_units": (4,), "max_epochs": 2, "batch_size": 7, "random_state": 0}
DOUBLES = QUICK | {"precision": "float64"}
TASKS = [
    pytest.param(CNNClassifier, LABELS, id="labels"),
    pytest.param(CNNClassifier, SEVERAL, id="indicators"),
    pytest.param(CNNRegressor, VALUES, id="values"),
    pytest.param(CNNRegressor, np.stack([VALUES, VALUES**2], axis=1), id="several values"),
]
KINDS_OF_DATA = {1: SIGNALS, 2: IMAGES, 3: VOLUMES}
SUITED = [
    pytest.param(name, dims, id=f"{name}-{dims}d")
    for name, technique in AUGMENTATIONS.items()
    for dims in technique.spatial_dims
]
UNSUITED = [
    pytest.param(name, dims, id=f"{name}-{dims}d")
    for name, technique in AUGMENTATIONS.items()
    for dims in {1, 2, 3} - set(technique.spatial_dims)
]


def outputs(estimator, X):
    return estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)


def same_fit(one, other, X):
    """Whether two fits went the same way, to the last bit."""
    columns = ["train_loss", "train_score"]
    return np.array_equal(outputs(one, X), outputs(other, X)) and one.history_[columns].equals(other.history_[columns])


class Recorder(nn.Module):
    """A backbone that keeps the batches it is given: what the network sees."""

    seen = None  # of the class: a fit copies the module

    def forward(self, images):
        if self.training:
            Recorder.seen.append(images.clone())
        return images.mean((2, 3))


def batches_seen(X, y=LABELS, **params):
    """Fit a classifier on what does not change the images, and give the batches that it trained on."""
    Recorder.seen = []
    CNNClassifier(**{**QUICK, "max_epochs": 1, **params}, backbone=Recorder()).fit(X, y)
    return Recorder.seen


class Calls:
    """An augmentation that keeps what it is given, and changes nothing."""

    def __init__(self):
        self.batches = []

    def __call__(self, batch):
        self.batches.append(batch.clone())
        return batch


# Names.


@pytest.mark.parametrize(("name", "dims"), SUITED)
def test_every_name_changes_a_fit_and_keeps_it_sound(name, dims):
    X = KINDS_OF_DATA[dims]
    augmented = CNNClassifier(**QUICK, augmentation=name).fit(X, LABELS)
    assert np.isfinite(augmented.history_["train_loss"]).all()
    assert np.isfinite(augmented.predict_proba(X)).all()
    assert not same_fit(augmented, CNNClassifier(**QUICK).fit(X, LABELS), X)


@pytest.mark.parametrize(("name", "dims"), SUITED)
def test_strength_zero_is_no_augmentation(name, dims):
    X = KINDS_OF_DATA[dims]
    nothing = CNNRegressor(**QUICK, augmentation={name: 0}).fit(X, VALUES)
    assert same_fit(nothing, CNNRegressor(**QUICK).fit(X, VALUES), X)


@pytest.mark.parametrize(("name", "dims"), UNSUITED)
def test_a_name_that_does_not_suit_the_data_is_an_error_that_leaves_no_trace(name, dims):
    estimator = CNNClassifier(**QUICK, augmentation=name)
    with pytest.raises(ValueError, match=rf"'{name}' does not work on .* Those that do are .*'noise'"):
        estimator.fit(KINDS_OF_DATA[dims], LABELS)
    assert not hasattr(estimator, "net_")


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
def test_a_name_stands_for_its_default_strength(estimator):
    y = LABELS if estimator is CNNClassifier else VALUES
    names = ("rotate", "flip", "color", "mixup")
    strengths = {name: AUGMENTATIONS[name].default for name in names}
    one, *others = (
        estimator(**QUICK, augmentation=augmentation).fit(IMAGES, y)
        for augmentation in (names, list(names), names[::-1], strengths)
    )
    assert all(same_fit(one, other, IMAGES) for other in others)


def test_the_documentation_lists_every_name_with_its_strengths():
    text = (Path(__file__).parents[1] / "docs" / "transfer.md").read_text()
    rows = re.findall(r'^\| `"(\w+)"` \| [a-z ]+: ([\d.]+), ([\d.]+) \|.*\| ([a-z, ]+) \|$', text, re.MULTILINE)
    kinds = {(2,): "images", (2, 3): "images, volumes", (1, 2, 3): "all"}
    assert {(name, float(default), float(greatest), suits) for name, default, greatest, suits in rows} == {
        (name, technique.default, technique.maximum, kinds[technique.spatial_dims])
        for name, technique in AUGMENTATIONS.items()
    }


def test_flip_lets_a_network_know_the_mirror_images():
    rows, columns = np.random.RandomState(1).randint(0, 3, (2, 60))
    low = np.arange(60) % 2
    X = np.zeros((60, 12, 12), np.float32)
    X[np.arange(60), rows + 8 * low, columns] = 1  # always on the left
    params = QUICK | {"max_epochs": 20, "dense_units": (16,), "learning_rate": 0.01}
    scores = [
        CNNClassifier(**params, augmentation=augmentation).fit(X, low).score(X[:, :, ::-1], low)
        for augmentation in (None, "flip")
    ]
    assert scores[0] < scores[1] == 1


# Training batches only.


@pytest.mark.parametrize(("estimator", "y"), TASKS)
@pytest.mark.parametrize(
    "params", [{}, {"early_stopping": True}, {"X_val": IMAGES[:6]}], ids=["plain", "hold-out", "X_val"]
)
def test_only_training_rows_are_augmented_each_once_an_epoch(estimator, y, params):
    calls = Calls()
    more = {"X_val": IMAGES[:6], "y_val": y[:6]} if "X_val" in params else {}
    params = {} if more else params
    net = estimator(**QUICK, **params, augmentation=calls).fit(IMAGES, y, **more)
    outputs(net, IMAGES)
    net.score(IMAGES, y)
    n_rows = 20 - 2 * bool(params)
    assert sum(map(len, calls.batches)) == 2 * n_rows
    for start in (0, 3):
        rows = torch.cat(calls.batches[start : start + 3])
        assert len(torch.unique(rows, dim=0)) == n_rows


def test_partial_fit_and_warm_starts_augment_too():
    calls = Calls()
    net = CNNClassifier(**QUICK, augmentation=calls, warm_start=True).fit(IMAGES, LABELS).fit(IMAGES, LABELS)
    net.partial_fit(IMAGES, LABELS)
    assert sum(map(len, calls.batches)) == 5 * 20


def test_no_augmentation_at_predict():
    net = CNNClassifier(**DOUBLES, augmentation=("noise", "rotate", "trivial_augment", "mixup")).fit(IMAGES, LABELS)
    with torch.inference_mode():
        expected = net.module_.eval()(torch.from_numpy(IMAGES).double().movedim(-1, 1)).softmax(1)
    for _ in range(2):
        np.testing.assert_allclose(net.predict_proba(IMAGES), expected, rtol=0, atol=1e-12)


def test_the_validation_loss_is_that_of_the_rows_as_they_are():
    net = CNNClassifier(**DOUBLES, augmentation={"noise": 5}).fit(IMAGES, LABELS, X_val=GREY3, y_val=LABELS)
    expected = -np.log(net.predict_proba(GREY3)[np.arange(20), np.searchsorted(net.classes_, LABELS)]).mean()
    assert net.history_["val_loss"].iloc[-1] == pytest.approx(expected, rel=1e-9)


# Draws.


@pytest.mark.parametrize("augmentation", ["trivial_augment", ("flip", "erase", "cutmix"), lambda b: b * torch.rand(1)])
def test_draws_are_the_seeds(augmentation):
    def fit(seed):
        return CNNClassifier(**QUICK | {"random_state": seed}, augmentation=augmentation).fit(IMAGES, LABELS)

    before = torch.get_rng_state()
    one = fit(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert same_fit(fit(0), one, IMAGES)
    assert not same_fit(fit(1), one, IMAGES)


@pytest.mark.parametrize("name", [name for name, technique in AUGMENTATIONS.items() if 2 in technique.spatial_dims])
def test_each_sample_has_its_own_draw(name):
    x, y = np.meshgrid(np.linspace(0, 1, 12), np.linspace(0, 1, 12))
    same = np.repeat(np.stack([x, y**2, x * y], axis=2)[None], 40, axis=0)
    y = np.array(["a", "b"] * 20)
    if name in ("mixup", "cutmix"):  # which change nothing where all rows are alike
        same = same * np.linspace(0.5, 1, 40)[:, None, None, None]
    [batch] = batches_seen(same, y, augmentation=name, batch_size=40)
    assert len(torch.unique(batch, dim=0)) > (1 if "flip" in name else 5)


SHADES = np.linspace(0, 255, 20).round()[:, None, None, None] * np.array([1, 0.5, 0]).round(
    1
)  # of a single colour each


def pictures_of(pixels):
    """Encode pixels (n, h, w, c) as files in memory."""
    encoded = []
    for image in pixels.astype(np.uint8):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        encoded.append(file.getvalue())
    return encoded


@pytest.mark.filterwarnings("ignore:.*single colour")
@pytest.mark.parametrize("batch_size", [1, 6, 20])
@pytest.mark.parametrize(
    ("form", "unit", "params"),
    [
        (np.asarray, 1, {}),
        (np.asarray, 1, {"standardize": False}),
        (lambda X: X.astype(np.uint8), 255, {"backbone": "efficientnet_lite0", "freeze_epochs": 1, "image_size": 32}),
        (pictures_of, 255, {"backbone": Recorder()}),
    ],
    ids=["standardised", "as they come", "backbone", "files"],
)
def test_noise_is_as_strong_whatever_the_batch_size(form, unit, params, batch_size):
    X, calls, Recorder.seen = np.broadcast_to(SHADES, (20, 32, 32, 3)).copy(), Calls(), []
    params = QUICK | {"max_epochs": 1, "batch_size": batch_size} | params
    CNNClassifier(**params, augmentation=({"noise": 0.3}, calls)).fit(form(X), LABELS)
    added = unit * torch.cat([batch - batch.mean((2, 3), keepdim=True) for batch in calls.batches])
    deviation = form(X).std((0, 1, 2)) if form is not pictures_of else X.astype(np.uint8).std((0, 1, 2))
    torch.testing.assert_close(added.std((0, 2, 3)), torch.tensor(0.3 * deviation).float(), rtol=0.03, atol=1e-4)


def test_epochs_have_draws_of_their_own():
    first, second = batches_seen(
        IMAGES[:1].repeat(8, axis=0), LABELS[:8], augmentation="noise", max_epochs=2, batch_size=8
    )
    assert len(torch.unique(torch.cat([first, second]), dim=0)) == 16


# Targets and weights.


def softly(outputs, targets):
    return -(targets * outputs.log_softmax(1)).sum(1)


def with_logits(outputs, targets):
    return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(1)


def squared(outputs, targets):
    return ((outputs - targets) ** 2).mean(1)


@pytest.mark.parametrize("mix", ["mixup", "cutmix", {"mixup": 0.5, "cutmix": 1, "flip": 0.5}], ids=str)
@pytest.mark.parametrize(
    ("estimator", "y", "loss", "params"),
    [
        (CNNClassifier, LABELS, softly, {}),
        (CNNClassifier, LABELS, softly, {"label_smoothing": 0.2}),
        (CNNClassifier, LABELS, softly, {"class_weight": {"a": 1, "b": 5}, "label_smoothing": 0.1}),
        (CNNClassifier, SEVERAL, with_logits, {"label_smoothing": 0.2}),
        (CNNRegressor, VALUES, squared, {}),
        (CNNRegressor, np.stack([VALUES, VALUES**2], axis=1), squared, {}),
    ],
    ids=["labels", "smoothed", "weighted", "indicators", "values", "several values"],
)
def test_named_losses_and_callables_are_given_the_same_mixed_targets(estimator, y, loss, params, mix):
    seen = []

    def recording(outputs, targets):
        seen.append(targets)
        return loss(outputs, targets)

    weight = np.random.RandomState(1).rand(20)
    named = estimator(**DOUBLES, **params, augmentation=mix).fit(IMAGES, y, weight)
    given = estimator(**DOUBLES, **params, augmentation=mix, loss=recording).fit(IMAGES, y, weight)
    np.testing.assert_allclose(outputs(named, IMAGES), outputs(given, IMAGES), rtol=0, atol=1e-9)
    targets = torch.cat(seen)
    assert len(torch.unique(targets, dim=0)) > len(np.unique(y, axis=0))  # mixed in shares of all kinds
    if loss is softly:
        smoothing = params.get("label_smoothing", 0)
        torch.testing.assert_close(targets.sum(1), torch.ones(len(targets), dtype=torch.float64))
        assert smoothing / 2 - 1e-12 <= targets.min() <= targets.max() <= 1 - smoothing / 2 + 1e-12
    elif loss is with_logits:
        assert 0.1 <= targets.min() <= targets.max() <= 0.9
    else:
        standard = (np.c_[y] - np.average(y, axis=0, weights=weight)) / np.sqrt(
            np.average((y - np.average(y, axis=0, weights=weight)) ** 2, axis=0, weights=weight)
        )
        assert (targets.numpy().min(0) >= standard.min(0) - 1e-9).all()
        assert (targets.numpy().max(0) <= standard.max(0) + 1e-9).all()


def test_images_and_targets_are_mixed_in_the_same_shares():
    X = np.zeros((20, 12, 12, 1), np.float32)
    X[LABELS == "b"] = 1
    targets, Recorder.seen = [], []

    def loss(outputs, mixed):
        targets.append(mixed)
        return softly(outputs, mixed)

    params = {"backbone": Recorder(), "standardize": False, "augmentation": ("mixup", "cutmix")}
    CNNClassifier(**QUICK, **params, loss=loss).fit(X, LABELS)
    images = torch.cat(Recorder.seen)
    torch.testing.assert_close(images.mean((1, 2, 3)), torch.cat(targets)[:, 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_class_weights_move_mixed_fits_too(mix):
    means = [
        CNNClassifier(**QUICK | {"max_epochs": 20}, augmentation=mix, class_weight={"a": 1, "b": weight})
        .fit(IMAGES, LABELS)
        .predict_proba(IMAGES)[:, 1]
        .mean()
        for weight in (0.05, 1, 20)
    ]
    assert means[0] < means[1] - 0.1 < means[2] - 0.2


@pytest.mark.parametrize("augmentation", ["flip", "mixup"])
def test_the_range_of_the_values_does_not_matter(augmentation):
    one = CNNClassifier(**DOUBLES, augmentation=augmentation).fit(IMAGES.astype(float), LABELS)
    other = CNNClassifier(**DOUBLES, augmentation=augmentation).fit(1000 * IMAGES.astype(float) - 5, LABELS)
    np.testing.assert_allclose(
        outputs(one, IMAGES.astype(float)), outputs(other, 1000 * IMAGES.astype(float) - 5), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("augmentation", ["mixup", ("flip", "cutmix")])
def test_mixes_of_single_rows_are_refused(augmentation):
    alone = CNNClassifier(**QUICK | {"batch_size": 1}, augmentation=augmentation)
    with pytest.raises(ValueError, match=r"must have another row in the batch .*batch_size=1\. Use batch_size=2"):
        alone.fit(IMAGES, LABELS)
    with pytest.raises(ValueError, match="batch_size=1"):
        alone.partial_fit(IMAGES, LABELS)
    with pytest.raises(ValueError, match="X has one training row"):
        CNNRegressor(**QUICK, augmentation=augmentation).fit(IMAGES[:1], VALUES[:1])
    CNNRegressor(**QUICK, augmentation=augmentation).partial_fit(IMAGES[:1], VALUES[:1])  # more will come
    CNNClassifier(**QUICK | {"batch_size": 1}, augmentation={"mixup": 0}).fit(IMAGES, LABELS)


def test_a_cutmix_of_single_positions_is_refused():
    with pytest.raises(ValueError, match=r"'cutmix' must have two positions or more .*Use 'mixup'"):
        CNNClassifier(**QUICK, data_format="channels_last", augmentation="cutmix").fit(IMAGES[:, :1, :1], LABELS)


# Callables.


@pytest.mark.parametrize(
    ("X", "params", "expected"),
    [
        (IMAGES, {}, IMAGES),
        (IMAGES.transpose(0, 3, 1, 2), {}, IMAGES),
        (GREY, {}, GREY[..., None]),
        ((255 * IMAGES).astype(np.uint8), {}, (255 * IMAGES).astype(np.uint8) / 255),
        ((255 * IMAGES).astype(np.int64), {}, (255 * IMAGES).astype(np.uint8) / 255),
        (list((255 * IMAGES).astype(np.uint8)), {"image_size": 12}, (255 * IMAGES).astype(np.uint8) / 255),
        ((255 * IMAGES).astype(np.uint8), {"backbone": Recorder()}, (255 * IMAGES).astype(np.uint8) / 255),
        (255 * IMAGES, {}, 255 * IMAGES),
        (VOLUMES, {}, VOLUMES),
        (SIGNALS, {}, SIGNALS[..., None]),
    ],
    ids=[
        "floats",
        "channels first",
        "grey",
        "uint8",
        "int64",
        "pictures",
        "backbone",
        "large floats",
        "volumes",
        "signals",
    ],
)
def test_a_callable_is_given_batches_channels_first_and_integer_pixels_as_0_to_1(X, params, expected):
    calls, Recorder.seen = Calls(), []
    CNNClassifier(**DOUBLES | {"max_epochs": 1, "batch_size": 20}, **params, augmentation=calls).fit(X, LABELS)
    [batch] = calls.batches
    assert batch.dtype == torch.float64
    expected = np.moveaxis(expected, -1, 1)
    assert batch.shape == expected.shape
    found, expected = (np.sort(np.asarray(values).reshape(20, -1).sum(1)) for values in (batch, expected))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_a_callable_returns_is_what_the_network_sees_in_its_own_units():
    integers = (255 * IMAGES).astype(np.uint8)
    plain = torch.cat(batches_seen(integers, standardize=False))
    halved = torch.cat(batches_seen(integers, standardize=False, augmentation=lambda batch: batch / 2))
    torch.testing.assert_close(halved, plain / 2)


def torchvision_transforms():
    from torchvision.transforms import v2

    return v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(0.2, 0.2, 0.2), v2.RandomErasing()])


def kornia_modules():
    from kornia import augmentation

    return augmentation.AugmentationSequential(
        augmentation.RandomHorizontalFlip(), augmentation.ColorJiggle(0.2, 0.2, 0.2, p=1.0), data_keys=["input"]
    )


@pytest.mark.parametrize("make", [torchvision_transforms, kornia_modules])
@pytest.mark.parametrize("X", [IMAGES, (255 * IMAGES).astype(np.uint8)], ids=["floats", "uint8"])
@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_transforms_of_other_libraries_are_seeded_and_left_as_they_were(make, X):
    transform = make()
    before = pickle.dumps(transform)
    one, other = (CNNClassifier(**QUICK, augmentation=transform).fit(X, LABELS) for _ in range(2))
    assert same_fit(one, other, X)
    assert not same_fit(one, CNNClassifier(**QUICK).fit(X, LABELS), X)
    assert one.augmentation is transform
    assert pickle.dumps(transform) == before
    seen = torch.cat(batches_seen(X[:1].repeat(20, axis=0), augmentation=transform))
    assert len(torch.unique(seen, dim=0)) > 10
    assert seen.max() - seen.min() > 0.4  # a picture still: nothing was cut to 0..1 that was not meant to be


def test_estimators_with_augmentation_are_cloned_copied_and_pickled():
    augmentation = kornia_modules()
    net = CNNClassifier(**QUICK, augmentation=augmentation).fit(IMAGES, LABELS)
    assert same_fit(clone(net).fit(IMAGES, LABELS), net, IMAGES)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net)).predict_proba(IMAGES), net.predict_proba(IMAGES))


def test_augmentations_are_searched():
    values = [None, "flip", ("flip", "rotate"), {"rotate": 10}, {"rotate": 20}, "trivial_augment", Calls()]
    search = GridSearchCV(CNNClassifier(**QUICK), {"augmentation": values}, cv=2, error_score="raise")
    search.fit(IMAGES, LABELS)
    assert len(search.cv_results_["params"]) == 7
    assert [params["augmentation"] for params in search.cv_results_["params"]] == values


@pytest.mark.parametrize(
    ("augmentation", "error", "message"),
    [
        ("turn", ValueError, "'rotate'"),
        (("flip", "flip"), ValueError, "once"),
        ({"rotate": 200}, ValueError, "from 0 to 180"),
        ({"rotate": "much"}, TypeError, "degrees"),
        (lambda batch: batch[:, :, :-1], ValueError, "shape"),
        (lambda batch: None, TypeError, "tensor"),
        (3, TypeError, "augmentation"),
    ],
    ids=["unknown", "twice", "too strong", "no number", "another shape", "nothing", "no augmentation"],
)
def test_what_is_no_augmentation_is_an_error_that_leaves_no_trace(augmentation, error, message):
    estimator = CNNClassifier(**QUICK, augmentation=augmentation)
    with pytest.raises(error, match=message):
        estimator.fit(IMAGES, LABELS)
    assert not hasattr(estimator, "net_")


# Beside other things.


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_augmentation_works_in_every_precision(precision):
    augmentation = ("crop", "rotate", "color", "erase", "mixup")
    net = CNNClassifier(**QUICK | {"precision": precision}, augmentation=augmentation).fit(IMAGES, LABELS)
    assert np.isfinite(net.predict_proba(IMAGES)).all()


def test_a_frozen_backbone_sees_augmented_batches_and_gives_features_of_plain_ones():
    network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.BatchNorm2d(4), nn.ReLU())
    params = {**DOUBLES, "backbone": network, "freeze_epochs": 2}
    plain = CNNClassifier(**params).fit(IMAGES, LABELS)
    augmented = CNNClassifier(**params, augmentation="color").fit(IMAGES, LABELS, X_val=GREY3, y_val=LABELS)
    assert not same_fit(plain, augmented, IMAGES)
    with torch.inference_mode():
        expected = augmented.module_.eval()(torch.from_numpy(IMAGES).double().movedim(-1, 1)).softmax(1)
    np.testing.assert_allclose(augmented.predict_proba(IMAGES), expected, rtol=0, atol=1e-9)
    loss = -np.log(augmented.predict_proba(GREY3)[np.arange(20), np.searchsorted(augmented.classes_, LABELS)]).mean()
    assert augmented.history_["val_loss"].iloc[-1] == pytest.approx(loss, rel=1e-9)


@pytest.mark.slow
def test_a_steps_augmentation_is_three_times_cheaper_than_a_loop_over_samples():
    from torchvision.transforms import v2

    from sklcnn.data.augmentation import build_augmentation

    batch, targets = torch.rand(128, 3, 32, 32), torch.zeros(128)
    ours = build_augmentation(("flip", "crop", "rotate", "color"), spatial_dims=2)
    theirs = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomCrop(32, padding=4),
            v2.RandomRotation(15),
            v2.ColorJitter(0.2, 0.2, 0.2, 0.05),
        ]
    )

    def seconds(work):
        times = []
        for _ in range(7):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        return min(times)

    loop = seconds(lambda: torch.stack([theirs(image) for image in batch]))
    assert seconds(lambda: ours(batch, targets)) < loop / 3


# Mixes and weights.


@pytest.mark.parametrize(
    "augmentation",
    ["cutmix", *(pytest.param({"mixup": strength}, marks=pytest.mark.slow) for strength in (1.0, 100.0))],
    ids=str,
)
@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
def test_a_mixed_row_counts_as_much_as_its_parts_weigh(estimator, augmentation):
    """X says nothing, so that the weighted mean of y is learnt: 0.5. Rows that kept their weights would give 0.4."""
    y = (np.arange(200) < 20).astype(int)
    weights = np.where(y, 9.0, 1.0)
    X = 1 + 1e-6 * np.random.default_rng(0).normal(size=(200, 2, 2))
    params = {
        "filters": (), "dense_units": (), "spatial_dims": 2, "standardize": False, "learning_rate": 0.05,
        "batch_size": 50, "lr_schedule": "cosine", "max_epochs": 150, "random_state": 0, "augmentation": augmentation,
    }  # fmt: skip
    fitted = estimator(**params).fit(X, y, weights)
    found = fitted.predict_proba(X)[:, 1] if estimator is CNNClassifier else fitted.predict(X)
    assert found.mean() == pytest.approx(0.5, abs=0.02)


def test_rows_of_weight_zero_do_not_count_in_mixtures():
    y, weights = np.arange(20) % 2, np.repeat([1.0, 0.0], 10)
    params = DOUBLES | {"augmentation": {"mixup": 1.0}, "class_weight": {0: 0.0, 1: 1.0}}
    fitted = CNNClassifier(**params).fit(SIGNALS, y, weights)
    assert np.isfinite(fitted.predict_proba(SIGNALS)).all()
    assert np.isfinite(fitted.history_["train_loss"]).all()


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_equal_weights_change_no_mixture(weight):
    one, other = (
        CNNClassifier(**DOUBLES, augmentation={"mixup": 0.5}).fit(SIGNALS, LABELS, sample_weight)
        for sample_weight in (None, np.full(20, weight))
    )
    np.testing.assert_allclose(one.predict_proba(SIGNALS), other.predict_proba(SIGNALS), rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_a_callable_that_returns_integers_is_refused(dtype):
    with pytest.raises(TypeError, match=rf"augmentation must return floats .* but returned {dtype}"):
        CNNClassifier(**QUICK, augmentation=lambda batch: (255 * batch).to(dtype)).fit(IMAGES, LABELS)
