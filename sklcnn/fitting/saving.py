"""What a fit leaves behind as plain Python and NumPy values, and back: no code is stored, and none runs.

The user's own functions, classes and modules are the exception: they are kept as they are, for pickle and the like.
"""

from __future__ import annotations

import warnings
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import InconsistentVersionWarning

from sklcnn.data.glance import Glance
from sklcnn.data.schema import InputSchema, InputSpec
from sklcnn.data.targets import TORCH_FLOATS
from sklcnn.fitting.fitted import Columns, Fitted, FittedFeatures
from sklcnn.fitting.labels import STRINGS, TIMES, labels_from_plain, labels_to_plain
from sklcnn.fitting.recipes import BackboneRecipe, NetworkRecipe, TrainedModule
from sklcnn.fitting.saved_net import SavedNet, to_tensors
from sklcnn.network.layouts import is_sparse, sparse_parts
from sklcnn.network.losses import RowLoss
from sklcnn.network.own_state import pack_any, put_own_state, take_own_state, unpack
from sklcnn.network.plan import NetworkSpec
from sklcnn.tasks.classes import Classes
from sklcnn.tasks.label_sets import LabelSets
from sklcnn.tasks.values import Values
from sklcnn.training.run import TrainingSpec
from sklcnn.training.stages import names_in_groups
from sklcnn.wording import LINE, cut

FORMAT = 1  # of a state; larger ones are those of newer versions
TYPES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        BackboneRecipe,
        Classes,
        Columns,
        Glance,
        InputSpec,
        LabelSets,
        NetworkRecipe,
        NetworkSpec,
        InputSchema,
        TrainedModule,
        TrainingSpec,
        Values,
    )
}


def to_plain(value: Any) -> Any:
    """Turn the package's own records and tensors into dicts and arrays, within tuples, lists and dicts too."""
    if is_dataclass(value) and type(value).__name__ in TYPES:
        return {"type": type(value).__name__} | {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        if is_sparse(value):
            return {"type": "sparse", **to_plain(sparse_parts(value))}
        if value.dtype == torch.bfloat16:  # which NumPy lacks
            return {"type": "bfloat16", "bits": value.view(torch.int16).numpy().copy()}
        return value.numpy().copy()
    if isinstance(value, np.ndarray):
        return labels_to_plain(value)
    if isinstance(value, dict):
        return {key: to_plain(entry) for key, entry in value.items()}
    if type(value) in (tuple, list):
        return type(value)(to_plain(entry) for entry in value)
    if isinstance(value, np.generic):
        return value.item()
    return value


def from_plain(value: Any) -> Any:
    """Turn dicts back into the package's records; arrays stay arrays."""
    if isinstance(value, dict):
        if value.get("type") in (STRINGS, TIMES):
            return labels_from_plain(value)
        entries = {key: from_plain(entry) for key, entry in value.items() if key != "type"}
        return TYPES[value["type"]](**entries) if value.get("type") in TYPES else value | entries
    if type(value) in (tuple, list):
        return type(value)(from_plain(entry) for entry in value)
    return value


def to_state(fitted: Fitted | FittedFeatures) -> dict[str, Any]:
    """Turn what a fit leaves behind into plain values.

    Parameters
    ----------
    fitted : Fitted or FittedFeatures

    Returns
    -------
    state : dict
        Of plain Python types and NumPy arrays, but for functions, classes, modules and callbacks of the user's.
    """
    module = fitted.backbone if isinstance(fitted, FittedFeatures) else fitted.network
    state = {
        "format": FORMAT,
        "schema": to_plain(fitted.schema),
        "columns": to_plain(fitted.columns),
        **_state_of_module(module, fitted.recipe),
    }
    if isinstance(fitted, FittedFeatures):
        return state | {"precision": fitted.precision, "n_features": fitted.n_features}
    return state | {
        "trained": [name for name, parameter in module.named_parameters() if parameter.requires_grad],
        "frozen": module.is_frozen,
        "task": to_plain(fitted.task),
        "built_from": dict(fitted.built_from),
        "callbacks": fitted.callbacks,
        "estimator_name": fitted.estimator_name,
        "history": to_plain(fitted.history),
        "best_epoch": fitted.best_epoch,
        "split_seed": fitted.split_seed,
        "temperature": fitted.temperature,
        **_state_of_net(fitted.source),
    }


def _state_of_module(module, recipe):
    """Describe a network, with its weights, and with what modules of the user's hold beside them, where it has any."""
    values = module.state_dict()
    extra = {name: pack_any(value) for name, value in values.items() if not isinstance(value, torch.Tensor)}
    state = {
        "recipe": to_plain(recipe.as_trained(module)),
        "weights": {name: to_plain(value) for name, value in values.items() if name not in extra},
    }
    own = {}
    if recipe.holds_own_code:
        inside = "network" if isinstance(recipe, BackboneRecipe) else "backbone.network"
        own = take_own_state(module, without=inside if recipe.holds_module else None)
    return state | ({"extra": extra} if extra else {}) | ({"own": own} if own else {})


def _fill(module, state):
    """Put what was saved of a network into one that was made anew."""
    extra = {name: unpack(value) for name, value in state.get("extra", {}).items()}
    module.load_state_dict(to_tensors(state["weights"]) | extra)


def _state_of_net(source):
    from sklcnn.training.callbacks import without_running_parts

    if isinstance(source, SavedNet):
        optimizer_state, callbacks, groups = source.optimizer_state, source.callbacks, source.groups
        rows = source.epochs
    else:
        optimizer_state = to_plain(source.optimizer_.state_dict())
        groups = names_in_groups(source.module_, source.optimizer_)
        rows = source.history.to_list()
        callbacks = list(source.callbacks_)
    return {
        "training": to_plain(source.spec),
        "loss": source.criterion_.loss,
        "loss_options": source.criterion_.options,
        "optimizer": optimizer_state,
        "groups": groups,
        "epochs": [{name: to_plain(value) for name, value in row.items() if name != "batches"} for row in rows],
        "net_callbacks": without_running_parts(callbacks),
    }


def from_state(state: dict[str, Any]) -> Fitted | FittedFeatures:
    """Build a network anew and put the weights of a state into it.

    Parameters
    ----------
    state : dict
        From `to_state`.

    Returns
    -------
    fitted : Fitted or FittedFeatures

    Warns
    -----
    UserWarning
        If it was trained on a device that this machine lacks: it is on the CPU then.

    Raises
    ------
    ValueError
        If the state is of a newer version, damaged or incomplete.
    """
    name = state.get("estimator_name", "CNNFeatures")
    if isinstance(state.get("format"), int) and state["format"] > FORMAT:
        raise ValueError(
            f"{name} was saved by a newer version of sklcnn, in format {state['format']}; this version "
            f"reads up to {FORMAT}. Upgrade sklcnn."
        )
    try:
        if state["format"] < 1:
            raise ValueError(f"there is no format {state['format']}")
        return _build_features(state) if "n_features" in state else _build(state, name)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        raise ValueError(
            f"{name}: what was saved is damaged or incomplete: {cut(str(error), LINE)}. Save it "
            "again from the fitted estimator."
        ) from error


def _build(state, name):
    recipe, task, spec = (from_plain(state[part]) for part in ("recipe", "task", "training"))
    if spec.device != "cpu" and not _is_here(spec.device):
        warnings.warn(f"{name} was trained on {spec.device}, which is not here: it is on the CPU now.", stacklevel=4)
        spec = replace(spec, device="cpu")
    network = recipe.build(_shapes_of(state)).to(TORCH_FLOATS[spec.precision])
    _fill(network, state)
    if state["frozen"]:
        network.freeze()
    trained = set(state["trained"])
    for parameter_name, parameter in network.named_parameters():
        parameter.requires_grad_(parameter_name in trained)
    network = network.to(spec.device).eval()
    put_own_state(network, state.get("own", {}), spec.device)
    criterion = RowLoss(state["loss"], task, state["loss_options"], name).to(spec.device)
    saved = (state[part] for part in ("optimizer", "epochs", "net_callbacks"))
    source = SavedNet(network, spec, criterion, *saved, groups=state.get("groups"))
    return Fitted(
        source,
        recipe,
        task,
        from_plain(state["schema"]),
        from_plain(state["columns"]),
        state["built_from"],
        state["callbacks"],
        name,
        state["history"],
        state["best_epoch"],
        state.get("split_seed"),  # which older files do not have, nor "groups"
        state.get("temperature", 1.0),
    )


def _build_features(state):
    recipe, precision = from_plain(state["recipe"]), state["precision"]
    backbone = recipe.build(_shapes_of(state)).to(TORCH_FLOATS[precision])
    _fill(backbone, state)
    put_own_state(backbone, state.get("own", {}), "cpu")
    return FittedFeatures(
        backbone.freeze(), recipe, from_plain(state["schema"]), from_plain(state["columns"]), precision,
        state["n_features"],
    )  # fmt: skip


def _shapes_of(state):
    """Return the shapes of the weights of a state, by name."""
    return {name: _shape_of(weights) for name, weights in state["weights"].items()}


def _shape_of(weights):
    if isinstance(weights, dict) and weights["type"] == "sparse":
        return tuple(weights["shape"])
    return tuple(np.shape(weights["bits"] if isinstance(weights, dict) else weights))


def _is_here(device):
    if torch.device(device).type == "cuda":
        return torch.cuda.is_available()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        return False
    return True


def warn_of_version(estimator_name: str, saved: str | None, version: str) -> None:
    """Warn, as scikit-learn does, of an estimator that another version saved."""
    if saved != version:
        warnings.warn(
            InconsistentVersionWarning(
                estimator_name=estimator_name, current_sklearn_version=version, original_sklearn_version=str(saved)
            ),
            stacklevel=3,
        )
