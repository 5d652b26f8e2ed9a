"""Optimisers by name."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from sklcnn.suggestions import did_you_mean
from sklcnn.wording import shown

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict]] = {
    "adam": (torch.optim.Adam, {"fused": True}),
    "adamw": (torch.optim.AdamW, {"fused": True}),
    "sgd": (torch.optim.SGD, {"fused": True, "momentum": 0.9, "nesterov": True}),
    "rmsprop": (torch.optim.RMSprop, {"foreach": True}),
}
FUSED_DEVICES = {"cpu", "cuda"}


def make_optimizer(
    optimizer: Any,
    groups: list[dict],
    learning_rate: float,
    params: dict | None,
    device: torch.device,
    estimator_name: str,
) -> torch.optim.Optimizer:
    """Build an optimiser.

    Parameters
    ----------
    optimizer : str or type
        A name, or a torch.optim.Optimizer class.
    groups : list of dict
        Parameter groups; their ``lr_factor`` multiplies the learning rate.
    learning_rate : float
    params : dict or None
        Further arguments; they override the defaults of a name.
    device : torch.device
    estimator_name : str

    Raises
    ------
    ValueError
        If the optimiser refuses an argument, or the network.
    """
    if "lr" in (params or {}):
        raise ValueError(
            f"{estimator_name}: optimizer_params={shown(params)} sets lr, which is learning_rate. Set that instead."
        )
    cls: Any
    cls, defaults = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else (optimizer, {})
    arguments = {**defaults, **(params or {})}
    if device.type not in FUSED_DEVICES or {"foreach", "differentiable"} & (params or {}).keys():
        arguments.pop("fused", None)
    if arguments.get("momentum", 0.9) == 0 and "nesterov" not in (params or {}):
        arguments.pop("nesterov", None)  # torch refuses it without momentum
    try:
        return cls(groups, lr=learning_rate, **arguments)
    except (TypeError, ValueError) as error:
        known = inspect.signature(cls).parameters
        meant = "".join(did_you_mean(name, known) for name in params or {} if name not in known)
        refused = _named(params) if params else "the weights of this network"
        reason = str(error).rstrip(".")
        raise type(error)(f"{estimator_name}: {cls.__name__} refuses {refused}: {reason}.{meant}") from error


def _named(params):
    """Name the hyper-parameters that arguments come from."""
    own = [f"{name}={params[name]!r}" for name in ("weight_decay", "momentum") if name in params]
    others = {name: value for name, value in params.items() if name not in ("weight_decay", "momentum")}
    return " and ".join([*own, *([f"optimizer_params={shown(others)}"] if others else [])])
