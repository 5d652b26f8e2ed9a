"""Hyper-parameters as small, plain specs, of which each folder of the package is given its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import torch

from sklcnn.data.schema import InputSpec
from sklcnn.donors import find_donor
from sklcnn.network.plan import NetworkSpec, find_convs_per_block
from sklcnn.parameters import CNNParameters
from sklcnn.sizes import is_sequence, per_block
from sklcnn.suggestions import did_you_mean
from sklcnn.training.run import TrainingSpec
from sklcnn.wording import LINE, cut, shown

# "auto" for max_epochs: about so many updates, in no fewer and no more epochs than these.
AUTO_UPDATES, AUTO_MIN_EPOCHS, AUTO_MAX_EPOCHS = 1000, 10, 200
# "auto" for filters and kernel_size: signals of this length and longer get wide kernels, and blocks until a few
# positions are left. Measured (benchmarks/small_data.py), as against two blocks of kernels of 3: Trace 0.95 -> 0.99,
# GunPoint 0.93 -> 0.97, OSULeaf 0.52 -> 0.59, spectra as good; on signals of length 40 kernels of 7 lose two points.
LONG_SIGNAL, SIGNAL_KERNEL, POSITIONS_LEFT, MAX_BLOCKS = 64, 7, 10, 8
DEVICES = ("auto", "cpu", "cuda", "cuda:0", "mps")  # those that a wrong name may have meant
NETWORK_PARAMETERS = (
    "block",
    "convs_per_block",
    "kernel_size",
    "stride",
    "padding",
    "pooling",
    "pool_size",
    "global_pooling",
    "activation",
    "batch_norm",
    "dropout",
    "conv_dropout",
)
TRAINING_PARAMETERS = (
    "optimizer",
    "learning_rate",
    "weight_averaging",
    "batch_size",
    "l1",
    "l2",
    "scoring",
    "precision",
    "verbose",
)


def auto_epochs(n_rows: int, batch_size: int) -> int:
    """Choose a number of epochs that gives about 1,000 updates."""
    updates = math.ceil(n_rows / batch_size)
    return min(max(round(AUTO_UPDATES / updates), AUTO_MIN_EPOCHS), AUTO_MAX_EPOCHS)


def find_image_size(image_size: Any, backbone: Any) -> tuple[int, int] | None:
    """Return the (height, width) that images are resized to: the user's, or what a named backbone was trained on."""
    if image_size is not None:
        height, width = image_size if is_sequence(image_size) else (image_size, image_size)
        return int(height), int(width)
    if backbone is None or find_donor(backbone) is not None:  # a fitted estimator says itself how X is read
        return None
    from sklcnn.network.backbones import default_image_size

    return default_image_size(backbone)


def resolve_device(device: str, precision: str, estimator_name: str) -> str:
    """Find the device to run on.

    Raises
    ------
    ValueError
        If there is no such device on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        usable = torch.backends.mps.is_available() and precision != "float64"  # which Apple's GPUs lack
        return "mps" if usable else "cpu"
    try:
        torch.zeros(1, device=device).cpu()  # "meta" has no values to give back
    except (RuntimeError, AssertionError, ImportError) as error:  # ImportError: a device of another package's
        reason = str(error).splitlines()[0].rstrip(".!")
        meant = "" if _is_device_name(device) else did_you_mean(device, DEVICES)
        raise ValueError(
            f"{estimator_name}: device={shown(device)} is not available here: {cut(reason, LINE)}. Use "
            f'device="auto".{meant}'
        ) from None
    return device


def _is_device_name(text):
    try:
        torch.device(text)
    except RuntimeError:
        return False
    return True


def find_patience(patience: Any) -> int | str:
    """Return a number of epochs, or "auto"."""
    return "auto" if patience == "auto" else int(patience)


def input_spec(cnn: CNNParameters) -> InputSpec:
    """Describe how X is to be read."""
    return InputSpec(
        type(cnn).__name__,
        None if cnn.input_shape is None else tuple(int(size) for size in cnn.input_shape),
        cnn.spatial_dims,
        cnn.data_format,
        image_size=find_image_size(cnn.image_size, cnn.backbone),
        n_jobs=cnn.n_jobs,
        precision=cnn.precision,
        pixels=isinstance(cnn.backbone, str),
    )


def plain_numbers(value: Any) -> Any:
    """Return whole numbers as ints and others as floats, which torch insists on; within tuples, lists and dicts too.

    NumPy's small integers would overflow where they are multiplied.
    """
    if isinstance(value, Mapping):
        return {key: plain_numbers(entry) for key, entry in value.items()}
    if type(value) in (tuple, list):
        return type(value)(map(plain_numbers, value))
    if isinstance(value, Integral):
        return value if isinstance(value, bool) else int(value)
    return float(value) if isinstance(value, Real) and not isinstance(value, float) else value


def as_tuple(units: Any) -> tuple[int, ...]:
    """Return one number, or several, as a tuple."""
    return tuple(int(n) for n in units) if is_sequence(units) else (int(units),)


def loads_weights(estimator: Any) -> bool:
    """Tell whether a backbone's weights are loaded, by name or path, and not drawn at random."""
    return isinstance(estimator.backbone, str) and estimator.backbone_weights is not None


def _is_long_signal(sample_shape):
    return len(sample_shape) == 2 and sample_shape[1] >= LONG_SIGNAL


def find_kernel_size(kernel_size: Any, sample_shape: tuple[int, ...]) -> Any:
    """Choose the kernel size for "auto": wide for long signals, which change slowly."""
    if not isinstance(kernel_size, str):
        return kernel_size
    return SIGNAL_KERNEL if _is_long_signal(sample_shape) else 3


def find_filters(cnn: CNNParameters, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Choose the blocks for "auto": for long signals, as many as leave about ten positions.

    If another hyper-parameter has one entry per block, there are as many blocks as it has entries.
    """
    if not isinstance(cnn.filters, str):
        return as_tuple(cnn.filters)
    n_blocks = 2
    given: list[Any] = [
        size for size in (cnn.kernel_size, cnn.convs_per_block, cnn.stride, cnn.pool_size) if is_sequence(size)
    ]
    by_block = [len(size) for size in given if any(is_sequence(entry) or entry != size[0] for entry in size)]
    if by_block:
        n_blocks = by_block[0]
    elif _is_long_signal(sample_shape):
        n_blocks = max(n_blocks, _blocks_for(cnn, sample_shape))
    return (32,) + (64,) * (n_blocks - 1)


def _blocks_for(cnn, sample_shape):
    """Choose as many blocks as leave a number of positions closest to ten, by ratio; 0 where none shrinks its maps."""

    def of_each_block(name, value):
        [(size,), _] = per_block(value, 2, 1, name, type(cnn).__name__)
        return size

    is_own = not isinstance(cnn.block, str)  # which is given no stride, and is taken to pad
    stride = 1 if is_own else of_each_block("stride", cnn.stride)
    window = 1 if cnn.pooling is None else of_each_block("pool_size", cnn.pool_size)
    if stride * window == 1:
        return 0
    unpadded = cnn.padding == "valid" and not is_own and cnn.block != "inception"
    kernel = of_each_block("kernel_size", find_kernel_size(cnn.kernel_size, sample_shape)) if unpadded else 0
    n_convs = of_each_block("convs_per_block", find_convs_per_block(cnn.block, cnn.convs_per_block))
    sizes = [sample_shape[1]]
    while len(sizes) <= MAX_BLOCKS:
        left = sizes[-1]
        if unpadded:
            left = (left - kernel) // stride + 1 - (n_convs - 1) * (kernel - 1)
            left //= window if window <= left else 1
            if left < 1:
                break  # the kernels do not fit
        else:  # in fractions, so that the depth grows evenly with the length
            left /= stride
            left /= window if window <= left else 1
        sizes.append(left)
    return min(range(len(sizes)), key=lambda n: abs(math.log(sizes[n] / POSITIONS_LEFT)))


def network_spec(cnn: CNNParameters, sample_shape: tuple[int, ...]) -> NetworkSpec:
    """Describe what the network is made of, for samples of a shape (channels first)."""
    given = {name: plain_numbers(getattr(cnn, name)) for name in NETWORK_PARAMETERS}
    return NetworkSpec(
        estimator_name=type(cnn).__name__,
        filters=find_filters(cnn, sample_shape),
        dense_units=as_tuple(cnn.dense_units),
        bfloat16=cnn.precision == "bfloat16",
        **given | {"kernel_size": find_kernel_size(cnn.kernel_size, sample_shape)},
    )


def optimizer_arguments(cnn: CNNParameters) -> dict[str, Any]:
    """Return the optimiser's arguments: its own hyper-parameters, and those in `optimizer_params`.

    Raises
    ------
    ValueError
        If one is given in both ways.
    """
    given = dict(plain_numbers(cnn.optimizer_params or {}))
    own = {"weight_decay": 0.0, "momentum": 0.9}
    for name, default in own.items():
        if name in given and getattr(cnn, name) != default:
            raise ValueError(
                f"{type(cnn).__name__}: {name}={getattr(cnn, name)!r} and optimizer_params={shown(given)} both set "
                f"{name}. Leave it out of optimizer_params."
            )
    arguments = {"weight_decay": float(cnn.weight_decay)} if cnn.weight_decay else {}
    if cnn.optimizer == "sgd":
        arguments["momentum"] = float(cnn.momentum)
    return arguments | given


def training_spec(cnn: CNNParameters, n_rows: int) -> TrainingSpec:
    """Describe how the network is to be trained on so many rows."""
    schedule = cnn.lr_schedule
    if schedule == "auto":
        # A number as patience may be smaller than the epochs of a cycle, which would then be cut off.
        schedule = "reduce_on_plateau" if cnn.early_stopping and cnn.patience != "auto" else "one_cycle"
    estimator_name = type(cnn).__name__
    return TrainingSpec(
        estimator_name=estimator_name,
        schedule=schedule,
        optimizer_params=optimizer_arguments(cnn),
        max_epochs=auto_epochs(n_rows, int(cnn.batch_size)) if cnn.max_epochs == "auto" else int(cnn.max_epochs),
        patience=find_patience(cnn.patience) if cnn.early_stopping else None,
        device=resolve_device(cnn.device, cnn.precision, estimator_name),
        backbone_lr_factor=1.0 if isinstance(cnn.backbone_lr_factor, str) else float(cnn.backbone_lr_factor),
        freeze_epochs=math.inf if cnn.freeze_epochs is None else int(cnn.freeze_epochs),
        **{name: plain_numbers(getattr(cnn, name)) for name in TRAINING_PARAMETERS},
    )
