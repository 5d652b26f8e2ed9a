"""The backbone of one fit, from a name, a module, a factory or another estimator."""

import contextlib
import copy
import os

import torch
from torch import nn

from sklcnn.network.backbones.module import Backbone, count_features, trainable_names
from sklcnn.network.backbones.names import check_backbone
from sklcnn.network.backbones.recipes import find_recipe
from sklcnn.network.backbones.shared import build_to_be_filled, pristine_network
from sklcnn.network.layouts import laid_out_anew
from sklcnn.network.own_modules import check_no_script, check_takes, own_copy
from sklcnn.process import Entered
from sklcnn.signals import raise_if_signalled
from sklcnn.wording import LINE, cut, short_cause


def load_backbone(backbone, weights, sample_shape, *, scale=1, scaling=None, frozen=False):
    """Make the backbone of one fit.

    Parameters
    ----------
    backbone : str, nn.Module or callable
        A name, a module (copied, never changed) or a factory that is given `sample_shape`.
    weights : "pretrained", path-like or None
        For named backbones. None draws random weights from torch's global generator.
    sample_shape : tuple of int
        ``(channels, *spatial)`` of the samples that it will be given.
    scale : float, default=1
        What raw values are multiplied by: ``1 / 255`` for integers that a named backbone is given, else 1.
    scaling : Scaling or None
        By which the user's own backbones have their inputs standardised.
    frozen : bool, default=False
        Whether the backbone does not train, for now. If so, a named one shares its network with all others
        of the process until `Backbone.unfreeze`; otherwise it is a copy of its own, ready to train.

    Returns
    -------
    backbone : Backbone

    Raises
    ------
    ValueError
        If the backbone cannot take such images, or the weights do not fit it.
    OSError
        If the weights cannot be found or downloaded.
    ModuleNotFoundError
        If the extra that it needs is not installed.
    """
    check_backbone(backbone)
    sample_shape = tuple(sample_shape)
    if isinstance(backbone, str):
        _check_weights(weights)
        _check_images(backbone, sample_shape)
        return _load_named(backbone, weights, sample_shape, scale, frozen)
    if weights not in ("pretrained", None):
        raise ValueError(
            f"backbone_weights={str(weights)!r} applies to named backbones, but backbone is your own. "
            "Load the weights into your module, or return it with them from your factory."
        )
    return _load_own(backbone, sample_shape, scale, scaling, frozen)


def _load_named(name, weights, sample_shape, scale, frozen):
    recipe = find_recipe(name)
    if weights is None:
        network = recipe.build().to(memory_format=torch.channels_last)
        trainable, widths, shared = trainable_names(network), {}, None
    else:
        pristine = pristine_network(name, weights)
        trainable, widths, shared = pristine.trainable, pristine.n_features, pristine if frozen else None
        network = pristine.network if frozen else copy.deepcopy(pristine.network)
    made = Backbone(
        network,
        name=f"{name} {recipe.version}",
        mean=recipe.mean,
        std=recipe.std,
        scale=scale,
        trainable=trainable,
        loaded=weights is not None,
        shared=shared,
    )
    if sample_shape not in widths:
        with _explained(f"backbone={name!r}", sample_shape, f"Pass image_size={recipe.image_size}."):
            widths[sample_shape] = count_features(made, sample_shape)
    made.n_features = widths[sample_shape]
    return made.freeze() if frozen else made.unfreeze()


def _load_own(backbone, sample_shape, scale, scaling, frozen):
    if isinstance(backbone, nn.Module):
        network, who = _copied(backbone), f"backbone={type(backbone).__name__}(...)"
    else:
        who = f"backbone={getattr(backbone, '__name__', backbone)!r}"
        check_takes(backbone, (sample_shape,), who, "sample_shape -> nn.Module")
        network = backbone(sample_shape)
        network = own_copy(network) if isinstance(network, nn.Module) else network
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"{who} must return an nn.Module for a sample shape, but it returned {type(network).__name__}. "
            "Pass a module, or a factory that makes one."
        )
    check_no_script(network, who)
    made = Backbone(network, name=None, scale=scale)
    remedy = "It must map (n, *sample_shape) to features (n, d), or to feature maps that are averaged."
    with _explained(who, sample_shape, remedy), Entered(torch.random.fork_rng(devices=[])):
        made.n_features = _count_in_either_layout(made, sample_shape)
    made._trainable = trainable_names(network)  # lazy layers have their parameters only now
    if scaling is not None:
        made.standardize_by(scaling, len(sample_shape) - 1)
    return made.freeze() if frozen else made.unfreeze()


def _copied(module):
    """Copy a module of the user's, which may hold what cannot be copied, such as a lazy layer's statistics."""
    try:
        return copy.deepcopy(module, laid_out_anew(module))
    except Exception as error:
        raise_if_signalled(error)
        reason = cut((str(error).splitlines() or [""])[0], LINE)
        raise ValueError(
            f"backbone={type(module).__name__}(...) cannot be copied ({type(error).__name__}: {reason}). Pass a "
            "factory sample_shape -> nn.Module, which makes one."
        ) from short_cause(error)


def _count_in_either_layout(made, sample_shape):
    """Count features, and see how batches are to be laid out.

    Channels-last, as they are read, is faster for convolutions; but `view`, in networks that were written for torch's
    default layout, fails on it, if there is more than one sample.
    """
    try:
        return count_features(made, sample_shape, n=2)
    except Exception as error:
        raise_if_signalled(error)
        made.channels_last = False
        return count_features(made, sample_shape)


def outline_backbone(name, sample_shape, scale):
    """Make a named backbone whose weights are to be replaced. Nothing is drawn, and most of them have no memory yet.

    Parameters
    ----------
    name : str
    sample_shape : tuple of int
    scale : float

    Returns
    -------
    backbone : Backbone
        Without `n_features`, which `count_by_name` finds once there is memory.
    """
    check_backbone(name)
    _check_images(name, sample_shape)
    recipe = find_recipe(name)
    network = build_to_be_filled(recipe.build).to(memory_format=torch.channels_last)
    made = Backbone(
        network, name=f"{name} {recipe.version}", mean=recipe.mean, std=recipe.std, scale=scale,
        trainable=trainable_names(network),
    )  # fmt: skip
    return made.unfreeze()


def count_by_name(made, name, sample_shape):
    """Count the features of a named backbone, which pools: an image of its own size has as many as a larger one.

    A file may name samples of any size, which a network would take gigabytes to run on.
    """
    size = map(min, sample_shape[1:], find_recipe(name).image_size)
    with _explained(f"backbone={name!r}", sample_shape, "Save it again from the fitted estimator."):
        n_features = count_features(made, (sample_shape[0], *size))
    made.train()
    return n_features


def adopt_network(network, sample_shape, n_features=None):
    """Make a backbone of the feature layers of a network trained here, which see samples as they come.

    Parameters
    ----------
    network : nn.Module
        Maps (n, *sample_shape) to features (n, d).
    sample_shape : tuple of int
    n_features : int or None
        Where it is known; else the network is run to count them.

    Returns
    -------
    backbone : Backbone
    """
    made = Backbone(network, name=None, scale=1.0, trainable=trainable_names(network), loaded=True)
    made.n_features = count_features(made, sample_shape) if n_features is None else n_features
    return made


def adopt_trained(network, n_features, scale, scaling, n_axes):
    """Make a backbone of a copy of the user's own network that a fit has trained. It is not run to count its features.

    Parameters
    ----------
    network : nn.Module
    n_features : int
    scale : float
    scaling : Scaling or None
    n_axes : int
        Spatial axes of a sample.

    Returns
    -------
    backbone : Backbone
    """
    made = Backbone(network, name=None, scale=scale, trainable=trainable_names(network))
    made.n_features = n_features
    if scaling is not None:
        made.standardize_by(scaling, n_axes)
    return made.unfreeze()


def _check_weights(weights):
    if weights is None or isinstance(weights, str | os.PathLike):
        return
    raise TypeError(
        "backbone_weights must be 'pretrained', None or the path of a state dict, "
        f"but it is of type {type(weights).__name__}."
    )


def _check_images(name, sample_shape):
    if len(sample_shape) != 3:
        raise ValueError(
            f"backbone={name!r} takes images, but X has samples of shape {sample_shape} (channels first). "
            "Pass images, or an nn.Module of your own as backbone."
        )
    if sample_shape[0] not in (1, 3):
        raise ValueError(
            f"backbone={name!r} takes grey or colour images (1 or 3 channels), but X has {sample_shape[0]} "
            "channels. Drop the others, or pass an nn.Module of your own as backbone."
        )


@contextlib.contextmanager
def _explained(who, sample_shape, remedy):
    """Turn what a network says about samples that it cannot take into one error that names them."""
    try:
        yield
    except Exception as error:
        raise_if_signalled(error)
        first_line = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(
            f"{who} failed on samples of shape {sample_shape} (channels first): "
            f"{type(error).__name__}: {first_line}. {remedy}"
        ) from error
