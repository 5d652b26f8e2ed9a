"""The net of a fit: a new one, or the last fit's."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import torch

from sklcnn.data.targets import TORCH_FLOATS
from sklcnn.donors import find_donor, lend_backbone
from sklcnn.fitting.continuing import built_from, check_unchanged
from sklcnn.fitting.data import FitData
from sklcnn.fitting.fitted import Fitted
from sklcnn.fitting.recipes import BackboneRecipe, NetworkRecipe
from sklcnn.fitting.saving import from_state, to_state
from sklcnn.fitting.scaling import choose_scaling, constants_of, take_in
from sklcnn.fitting.specs import loads_weights, network_spec
from sklcnn.network.cnn import build_network
from sklcnn.network.network import Network
from sklcnn.network.own_modules import check_runs_in
from sklcnn.network.standardize import Scaling, parts_taken_off
from sklcnn.signals import raise_if_signalled
from sklcnn.training.memory import check_fits, need_of_network, need_on_backbone
from sklcnn.training.run import TrainingSpec
from sklcnn.wording import name_of

LOADED_LR_FACTOR = 0.1  # backbone_lr_factor="auto" for weights that were trained elsewhere


def build(cnn: Any, data: FitData, spec: TrainingSpec, *, refit: bool = False) -> Fitted:
    """Build a network for some data, and the skorch net around it.

    Parameters
    ----------
    cnn : BaseCNN
    data : FitData
    spec : TrainingSpec
    refit : bool
        Whether it is for the second training of `refit_full`.
    """
    from sklcnn.training.callbacks import user_callbacks
    from sklcnn.training.net import make_net

    if cnn.backbone is None:
        network, recipe = _build_blocks(cnn, data, spec)
    else:
        spec = with_backbone_defaults(cnn, spec)
        network, recipe = _build_on_backbone(cnn, data, spec)
    _settle(network, data.task.settled_outputs)
    name = type(cnn).__name__
    network = network.to(TORCH_FLOATS[cnn.precision])
    if cnn.precision == "float64" and (own := _own_modules(cnn)):  # in float32 they were tried before
        check_runs_in(network, data.schema.sample_shape, torch.float64, f"{name}: {own}")
    loss = cnn._make_loss(data.task)
    if not refit and any(weight.requires_grad for weight in loss.parameters()):
        warnings.warn(
            f"{name}: loss={type(loss.loss).__name__}(...) has weights of its own, which do not train: the optimizer "
            "has those of the network. Train them in a backbone, or set requires_grad_(False).",
            UserWarning,
            stacklevel=2,
        )
    net = make_net(
        network,
        spec,
        loss,
        user_callbacks(cnn.callbacks, name, spec.schedule, refit),
    )
    made, schema = built_from(cnn, data.schema.sample_shape), data.schema
    if _is_standardised(cnn):
        schema = replace(schema, constants=constants_of(data.statistics))
    return Fitted(net, recipe, data.task, schema, data.columns, made, _as_tuple(cnn.callbacks), name)


def _settle(network, settled):
    """Let outputs begin at zero, where zero is their target in all rows.

    They stay exactly there: no named loss has a gradient where there is no error, and no penalty one of weights that
    are zero. Rows of a later call in which the target is another have one, and the outputs learn it.
    """
    if settled is not None and settled.any():
        rows = torch.from_numpy(settled)
        with torch.no_grad():
            network.output.weight[rows] = 0
            network.output.bias[rows] = 0


def _own_modules(cnn):
    """Name the hyper-parameter that holds a network of the user's, or makes one; None where none does."""
    name = "block" if cnn.backbone is None else "backbone"
    value = getattr(cnn, name)
    return None if isinstance(value, str) else f"{name}={name_of(value)}"


def _as_tuple(callbacks):
    return tuple(callbacks) if callbacks is not None else ()


def _build_blocks(cnn, data, spec) -> tuple[Network, NetworkRecipe]:
    shape, n_outputs = data.schema.sample_shape, data.task.n_outputs
    network = network_spec(cnn, shape)
    check_fits(need_of_network(network, spec, shape, n_outputs, len(data.train)), spec)
    scaling = _scaling(cnn, data)
    takes_off = () if scaling is None else parts_taken_off(scaling)
    recipe = NetworkRecipe(network, shape, n_outputs, bool(cnn.standardize), takes_off=takes_off)
    return build_network(network, shape, n_outputs, scaling), recipe


def _is_standardised(cnn):
    """Tell whether training rows say what samples are standardised by; loaded weights, or a donor's, fix that."""
    return cnn.standardize and not isinstance(cnn.backbone, str) and find_donor(cnn.backbone) is None


def _scaling(cnn, data):
    """Compute what each channel of the training rows is standardised by; None where nothing is."""
    if not _is_standardised(cnn):
        return None
    # Augmentations may move or turn what samples share, to where it does not belong.
    return choose_scaling(data.statistics, data.schema.sample_shape, in_place=cnn.augmentation is None)


def _build_on_backbone(cnn, data, spec) -> tuple[Network, NetworkRecipe]:
    from sklcnn.network.backbones import load_backbone
    from sklcnn.network.cnn import build_on_backbone

    shape, donor, frozen = data.schema.sample_shape, find_donor(cnn.backbone), spec.freeze_epochs > 0
    if donor is not None:
        backbone = lend_backbone(donor, frozen=frozen)
    else:
        named = isinstance(cnn.backbone, str)  # others get the scaling that convolution blocks would get
        backbone = load_backbone(
            cnn.backbone, cnn.backbone_weights, shape, scale=1 / data.schema.unit if named else 1, frozen=frozen,
            scaling=_scaling(cnn, data),
        )  # fmt: skip
    network, n_outputs = network_spec(cnn, shape), data.task.n_outputs
    check_fits(need_on_backbone(network, spec, backbone, n_outputs, len(data.train)), spec)
    # What the head's defaults were found on are features of named ones, as they come; others may be of any scale.
    standardizes = bool(cnn.standardize) and frozen and not backbone.shareable
    n = backbone.n_features
    scaling = Scaling(torch.zeros(n), torch.ones(n)) if standardizes else None  # until features are known
    recipe = NetworkRecipe(network, shape, n_outputs, standardizes, BackboneRecipe.of(backbone, cnn.backbone, shape))
    return build_on_backbone(network, backbone, n_outputs, scaling), recipe


def with_backbone_defaults(cnn: Any, spec: TrainingSpec) -> TrainingSpec:
    """Fill in for how long the backbone is frozen, and how fast it trains afterwards, where that is left open."""
    loads = loads_weights(cnn) or find_donor(cnn.backbone) is not None
    if cnn.freeze_epochs is None:
        spec = replace(spec, freeze_epochs=math.inf if loads else 0)
    if cnn.backbone_lr_factor == "auto":
        spec = replace(spec, backbone_lr_factor=LOADED_LR_FACTOR if loads else 1.0)
    return spec


def continued(cnn: Any, previous: Fitted, data: FitData, spec: TrainingSpec, *, refit: bool = False) -> Fitted:
    """Return a copy of the last fit's net, with the present hyper-parameters.

    The old one predicts while the copy trains, and is what an error goes back to.

    Parameters
    ----------
    cnn : BaseCNN
    previous : Fitted
    data : FitData
    spec : TrainingSpec
    refit : bool
        Whether it is for the second training of `refit_full`.

    Raises
    ------
    ValueError
        If a hyper-parameter was changed that the network is built from.
    """
    from sklcnn.training.callbacks import user_callbacks
    from sklcnn.training.stages import set_backbone_rate

    name = type(cnn).__name__
    check_unchanged(cnn, dict(previous.built_from), previous.schema.sample_shape)
    net = _copied_net(previous)
    for parameter in ("precision", "device"):
        old, new = getattr(net.spec, parameter), getattr(spec, parameter)
        if TORCH_FLOATS.get(old, old) != TORCH_FLOATS.get(new, new):
            raise ValueError(
                f"{name}: {parameter} was {old!r} when the network was made, and cannot become {new!r} in a "
                "fit that continues with it. Set it back, or set warm_start=False and fit anew."
            )
    callbacks = _as_tuple(cnn.callbacks)
    changed = refit or callbacks != previous.callbacks
    spec = with_backbone_defaults(cnn, spec)
    fresh = user_callbacks(cnn.callbacks, name, spec.schedule, refit) if changed else None
    net.continue_with(spec, cnn._make_loss(data.task), fresh)
    set_backbone_rate(net.optimizer_, spec.backbone_lr_factor)
    schema = previous.schema
    if schema.constants and _is_standardised(cnn):
        schema = replace(schema, constants=take_in(net.module_, schema.constants, data.statistics))
    return replace(previous, source=net, task=data.task, schema=schema, columns=data.columns, callbacks=callbacks)


def _copied_net(previous):
    """Copy the net of a fit; where a module of the user's cannot be copied, it is made again, as from a file."""
    try:
        return previous.net.copied()
    except Exception as error:
        raise_if_signalled(error)
        return from_state(to_state(previous)).net  # type: ignore[union-attr]
