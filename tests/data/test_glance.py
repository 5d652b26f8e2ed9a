"""Values that look like a mistake give a warning: in fit, and in predict if their scale is another one."""

import io
import pickle
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from sklcnn import CNNClassifier, CNNFeatures

N = 24
RANDOM = np.random.default_rng(0)
LABELS = np.arange(N) % 2
QUICK = {"filters": 2, "dense_units": (), "max_epochs": 1, "batch_size": 8, "random_state": 0}
BYTES = RANDOM.integers(0, 256, (N, 8, 8), dtype=np.uint8)
FLAT = {"input_shape": (8, 8)}


def encode(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pil(pixels):
    return list(map(Image.fromarray, pixels))


def files(pixels):
    return list(map(encode, pixels))


PIXELS = {
    "uint8": BYTES,
    "int64": BYTES.astype(np.int64),
    "whole floats": BYTES.astype(float),
    "resized floats": (BYTES * np.float32(0.99)),
    "PIL": pil(BYTES),
    "files": files(BYTES),
    "tensor": torch.from_numpy(BYTES),
    "rows": BYTES.reshape(N, -1),
    "channels": BYTES[..., None],
}
SHARES = {
    "float64": BYTES / 255,
    "float32": (BYTES / 255).astype(np.float32),
    "from -1 to 1": BYTES / 127.5 - 1,
    "standardised": (BYTES - BYTES.mean()) / BYTES.std(),
    "rows": BYTES.reshape(N, -1) / 255,
    "one row": BYTES[:1] / 255,
}
OTHER_SCALES = {
    "16 bits": (BYTES.astype(np.uint16) * 257, BYTES),
    "digits": (BYTES // 16, BYTES // 16 / 16),
    "masks": (BYTES, BYTES // 128),
    "masks and files": (BYTES // 128, files(BYTES)),
    "Hounsfield units": (BYTES.astype(np.int16) * 16 - 1024, BYTES / 255),
}
PAIRS = {
    **{f"{a}, {b}": (PIXELS[a], SHARES[b]) for a in PIXELS for b in SHARES},
    **OTHER_SCALES,
}


def fit(X, **params):
    return CNNClassifier(**QUICK | FLAT | params).fit(X, LABELS)


@pytest.fixture(scope="module")
def fitted():
    return {}


def once(fitted, X):
    """Fit on each X once; on all rows, where it is some of them."""
    X = X if len(X) == N else SHARES["float64"]
    if id(X) not in fitted:
        fitted[id(X)] = fit(X)
    return fitted[id(X)]


@pytest.mark.parametrize(("one", "other"), PAIRS.values(), ids=PAIRS)
def test_another_scale_than_in_fit_is_named_in_predict_in_both_ways(one, other, fitted):
    for fitted_on, given in ((one, other), (other, one)):
        with pytest.warns(UserWarning, match="X holds values from .* fitted on values from .* scale"):
            once(fitted, fitted_on).predict(given)


@pytest.mark.parametrize("fitted_on", PIXELS)
@pytest.mark.parametrize("given", PIXELS)
def test_the_same_scale_in_another_form_gives_no_warning(fitted_on, given, fitted):
    once(fitted, PIXELS[fitted_on]).predict(PIXELS[given])
    once(fitted, PIXELS[fitted_on]).predict(PIXELS[given][3:4])


def test_dark_bright_and_plain_pictures_of_the_same_scale_give_no_warning(fitted):
    for X in (BYTES, BYTES / 255):
        cnn = once(fitted, PIXELS["uint8"] if X is BYTES else SHARES["float64"])
        for dark in (X / 16 if X is not BYTES else X // 16, X * 0, X[:1] * 0 + X.max()):
            cnn.predict(dark.astype(X.dtype))


def test_signals_louder_and_quieter_than_those_of_fit_give_no_warning():
    signals = RANDOM.normal(size=(N, 20))
    cnn = CNNClassifier(**QUICK).fit(signals, LABELS)
    for factor in (1e-3, 30, 1e3):
        cnn.predict(signals * factor)


def test_signals_that_lie_apart_from_those_of_fit_are_named():
    """A unit, or an offset: volts and millivolts, degrees of Celsius and Kelvin."""
    signals = 5 + 0.02 * RANDOM.normal(size=(N, 20))
    cnn = CNNClassifier(**QUICK).fit(signals, LABELS)
    for other in (1000 * signals, signals[:1] / 1000, signals + 273.15, -signals):
        with pytest.warns(UserWarning, match="X holds values from .* fitted on values from 4.9.* to 5"):
            cnn.predict(other)
    for same in (signals + 0.2, 5 + 3 * (signals - 5), np.r_[signals, 1000 * signals]):
        cnn.predict(same)


def test_validation_signals_that_were_not_scaled_are_named():
    signals = RANDOM.normal(size=(N, 20))
    for factor in (1e-3, 1e3):
        with pytest.warns(UserWarning, match="CNNClassifier: X_val holds values from .* but the network was fitted on"):
            fit_with(signals, X_val=factor * signals, y_val=LABELS)
    fit_with(signals, X_val=30 * signals, y_val=LABELS)


def sensors(seed=0):
    """Return signals of a sensor in volts beside one in pascals."""
    return np.array([5e-3, 101325]) + np.array([1e-3, 100]) * np.random.RandomState(seed).randn(N, 20, 2)


TOLD_APART = {"spatial_dims": 1, "data_format": "channels_last"}
OTHER_UNITS = {
    "unit": lambda X: X * [1000, 1],
    "offset": lambda X: X + np.array([1, 0]),
    "unit of the large one": lambda X: X / [1, 100],
}


@pytest.mark.parametrize("change", OTHER_UNITS)
def test_one_channel_in_another_unit_is_named_beside_larger_ones(change):
    cnn = CNNClassifier(**QUICK | TOLD_APART).fit(sensors(), LABELS)
    channel = int("large" in change)
    cnn = pickle.loads(pickle.dumps(cnn))
    for X in (OTHER_UNITS[change](sensors(1)), OTHER_UNITS[change](sensors(1))[:4]):
        with pytest.warns(UserWarning, match=f"channel {channel} of X holds values from .* fitted on values from"):
            cnn.predict(X)


@pytest.mark.parametrize("layout", ["channels_last", "channels_first", "rows", "volumes"])
def test_channels_are_told_apart_wherever_their_axis_is(layout):
    reshaped = {
        "channels_last": lambda X: X,
        "channels_first": lambda X: np.moveaxis(X, -1, 1),
        "rows": lambda X: X.reshape(N, -1),
        "volumes": lambda X: X.reshape(N, 5, 2, 2, 2),
    }[layout]
    params = {
        "channels_last": TOLD_APART,
        "channels_first": {"spatial_dims": 1, "data_format": "channels_first"},
        "rows": TOLD_APART | {"input_shape": (20, 2)},
        "volumes": TOLD_APART | {"spatial_dims": 3},
    }[layout]
    cnn = CNNClassifier(**QUICK | params).fit(reshaped(sensors()), LABELS)
    cnn.predict(reshaped(sensors(1)))
    with pytest.warns(UserWarning, match="channel 0 of X holds values from .* fitted on values from"):
        cnn.predict(reshaped(sensors(1) * [1000, 1]))


def test_channels_louder_and_quieter_and_few_odd_rows_give_no_warning():
    noise = np.random.RandomState(0).randn(N, 20, 2) * [1e-3, 100]
    cnn = CNNClassifier(**QUICK | TOLD_APART).fit(noise, LABELS)
    cnn.predict(noise * [100, 1])
    cnn.predict(noise * [1, 1e-3])
    CNNClassifier(**QUICK | TOLD_APART).fit(sensors(), LABELS).predict(sensors()[:3] * [1000, 1])


def test_channels_of_validation_rows_that_were_not_scaled_are_named():
    noise = np.random.RandomState(0).randn(N, 20, 2) * [1e-3, 100]
    for factor in (1e-3, 1e3):
        cnn = CNNClassifier(**QUICK | TOLD_APART)
        with pytest.warns(UserWarning, match="channel 0 of X_val holds values from .* fitted on values from"):
            cnn.fit(noise, LABELS, X_val=noise * [factor, 1], y_val=LABELS)
    cnn.fit(noise, LABELS, X_val=noise * [30, 1], y_val=LABELS)


def test_validation_rows_with_rare_events_in_a_channel_give_no_warning():
    random = np.random.RandomState(0)
    quiet = random.randn(N, 20, 2) * [1e-3, 100]
    events = quiet.copy()
    events[::4, 5, 0] = 1.0
    for X, other in ((quiet, events), (events, quiet)):
        CNNClassifier(**QUICK | TOLD_APART).fit(X, LABELS, X_val=other, y_val=LABELS)


CALLS = {
    "X_val": lambda X, other: fit_with(X, X_val=other, y_val=LABELS),
    "partial_fit": lambda X, other: CNNClassifier(**QUICK).partial_fit(X, LABELS).partial_fit(other, LABELS),
    "warm start": lambda X, other: fit_with(X, {"warm_start": True}).fit(other, LABELS),
    "proba": lambda X, other: fit_with(X).predict_proba(other),
}


def fit_with(X, params=None, **validation):
    return CNNClassifier(**QUICK | (params or {})).fit(X, LABELS, **validation)


@pytest.mark.parametrize("call", CALLS)
def test_another_scale_than_in_fit_is_named_wherever_X_is_read(call):
    name = "X_val" if call == "X_val" else "X"
    with pytest.warns(UserWarning, match=rf"CNNClassifier: {name} holds values from 0 to 1, but .* from 0 to 255"):
        CALLS[call](BYTES, BYTES / 255)


def test_rows_of_weight_0_are_not_looked_at():
    X = np.concatenate([BYTES / 255, np.full((N, 8, 8), 255.0)])
    weights = np.repeat([1.0, 0.0], N)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cnn = CNNClassifier(**QUICK).fit(X, [*LABELS, *LABELS], sample_weight=weights)
        cnn.predict(BYTES / 255)


def test_a_column_of_pictures_that_are_bright_is_not_decoded_for_a_look(monkeypatch):
    from sklcnn.data.pictures import sources

    content = files(RANDOM.integers(0, 256, (N, 8, 8), dtype=np.uint8))
    decoded = []
    decode = sources.encoded_pixels
    monkeypatch.setattr(sources, "encoded_pixels", lambda *args: decoded.append(1) or decode(*args))
    CNNClassifier(**QUICK).fit(content, LABELS).predict(content)
    assert len(decoded) == N


# What a backbone sees


DARK = {
    "masks": BYTES // 128,
    "int64 masks": (BYTES // 128).astype(np.int64),
    "digits": BYTES // 16,
    "shares of shares": BYTES / 255 / 255,
    "files of masks": files(BYTES // 128),
    "PIL masks": pil(BYTES // 128),
    "12 bits": [Image.fromarray(pixels.astype(np.uint16) * 16) for pixels in BYTES],
}


@pytest.mark.parametrize("X", DARK.values(), ids=DARK)
def test_pictures_that_a_backbone_would_see_black_give_a_warning(X):
    with pytest.warns(UserWarning, match="takes .* for white, but the brightest value .* black"):
        CNNFeatures(backbone="efficientnet_lite0", image_size=32, backbone_weights=None).fit(X)


@pytest.mark.parametrize("X", [BYTES, BYTES / 255, pil(BYTES), files(BYTES)], ids=["uint8", "float", "PIL", "files"])
def test_pictures_that_a_backbone_sees_give_no_warning(X):
    CNNFeatures(backbone="efficientnet_lite0", image_size=32, backbone_weights=None).fit(X)


@pytest.mark.parametrize("image_size", [None, 32])
@pytest.mark.parametrize(
    ("X", "message"),
    [
        (BYTES / 1.0, "floats from 0 to 1, but X holds 0 to 255"),
        (BYTES / 127.5 - 1, "floats from 0 to 1"),
        (BYTES / 255, None),
    ],
)
def test_a_named_backbone_takes_the_same_floats_whatever_the_image_size(image_size, X, message, refuses):
    named = {"backbone": "timm/test_efficientnet", "backbone_weights": None}
    cnn = CNNClassifier(**QUICK, **named, image_size=image_size).fit(BYTES / 255, LABELS)
    if message is None:
        cnn.predict(X)
        return
    with refuses(cnn, message):
        cnn.predict(X)
    with refuses(cnn, message):
        cnn.partial_fit(X, LABELS)
    with refuses(cnn, message):
        cnn.fit(X, LABELS)
    with refuses(cnn, message):
        cnn.fit(BYTES / 255, LABELS, X_val=X, y_val=LABELS)


# Pictures of a single colour

PLAIN = np.broadcast_to((10 * np.arange(N, dtype=np.uint8))[:, None, None], (N, 8, 8))


@pytest.mark.parametrize("form", [files, pil], ids=["files", "PIL"])
def test_pictures_of_a_single_colour_each_give_a_warning(form):
    with pytest.warns(UserWarning, match=r"every picture .* \(16 of 24\) is of a single colour.*from 0 to 230"):
        fit(form(PLAIN))
    fit([*form(PLAIN[1:]), *form(BYTES[:1])])


def test_shares_that_were_made_integers_give_a_warning():
    with pytest.warns(UserWarning, match=r"every picture .* is of a single colour"):
        fit((BYTES / 256).astype(np.uint8))
