"""Fitted estimators as backbones of others, called donors here: their networks without the dense layers are used."""

from __future__ import annotations

from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator


class Donor:
    """Base class of the estimators whose networks may be the backbones of others."""


def find_donor(backbone: Any) -> Any:
    """Return the CNN estimator that a `backbone` holds, in a FrozenEstimator or not; None if it holds none."""
    inner = backbone.estimator if isinstance(backbone, FrozenEstimator) else backbone
    return inner if isinstance(inner, Donor) else None


def check_donor(donor: Any) -> None:
    """Refuse an estimator that has no network yet.

    Raises
    ------
    NotFittedError
    """
    if donor._fitted is None:
        raise NotFittedError(
            f"backbone holds a {type(donor).__name__} that is not fitted. Fit it first; of a fitted search pass its "
            "best_estimator_; among the candidates of a search, which clones estimators, wrap it in scikit-learn's "
            "FrozenEstimator."
        )


def lend_backbone(donor: Any, *, frozen: bool) -> Any:
    """Copy the part of a donor's network that computes features. The donor may train on without changing the copy.

    Parameters
    ----------
    donor : BaseCNN
    frozen : bool
        Whether the copy begins frozen.

    Returns
    -------
    backbone : Backbone
    """
    from sklcnn.network.backbones import adopt_network
    from sklcnn.network.own_state import copy_network

    network = donor.module_
    if network.has_backbone:
        lent: Any = copy_network(network.backbone)
    else:
        names = [name for name, _ in network.named_children()]
        lent = adopt_network(copy_network(network[: names.index("features") + 1]), donor.sample_shape_)
    return lent.freeze() if frozen else lent.unfreeze()
