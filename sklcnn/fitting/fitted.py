"""What a fit leaves behind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from sklcnn.data.batches import Rows
from sklcnn.data.constant_channels import warn_of_other_values
from sklcnn.data.reading import check_kind, is_table_of_numbers, read_again
from sklcnn.data.schema import InputSchema
from sklcnn.data.stores import FeatureStore, Store
from sklcnn.data.targets import TORCH_FLOATS
from sklcnn.fitting.guards import memory_errors_explained
from sklcnn.fitting.recipes import BackboneRecipe, NetworkRecipe
from sklcnn.fitting.saved_net import SavedNet
from sklcnn.tasks.task import Task
from sklcnn.training.evaluation import forward_store, has_own_code
from sklcnn.training.run import HISTORY_COLUMNS, Outcome, TrainingSpec
from sklcnn.training.seeding import generators_kept
from sklcnn.training.stages import names_in_groups
from sklcnn.wording import repeated_columns_named


@dataclass(frozen=True)
class Columns:
    """The columns of the table that X was.

    Attributes
    ----------
    n_features : int or None
        None where X was no table.
    names : ndarray of shape (n_features,) or None
        Where it was a DataFrame.
    """

    n_features: int | None = None
    names: np.ndarray | None = None

    @classmethod
    def of(cls, X: Any, schema: InputSchema, estimator_name: str) -> Columns:
        """Return the columns of an X that is read by a schema."""
        if not (schema.flat or hasattr(X, "columns")):
            return cls()
        table: Any = _Table()
        with repeated_columns_named(estimator_name, "X"):
            validate_data(table, X, reset=True, skip_check_array=True)
        return cls(getattr(table, "n_features_in_", None), getattr(table, "feature_names_in_", None))

    def check(self, X: Any, schema: InputSchema, estimator_name: str) -> None:
        """Check a table's column names and number, as scikit-learn does, if `fit` was given a table of its kind.

        The columns of a table without names are counted when it is read.
        """
        if self.n_features is None:
            return
        check_kind(X, estimator_name)
        if not (hasattr(X, "columns") or (self.names is not None and getattr(X, "ndim", 0) == 2)):
            return
        # In a column of paths or arrays each cell is a whole sample.
        are_samples = schema.mode is not None or (self.n_features == 1 != math.prod(schema.array_shape or ()))
        if is_table_of_numbers(X) != are_samples:
            table: Any = type(estimator_name, (_Table,), {})()  # scikit-learn's messages name the class
            table.n_features_in_ = self.n_features
            if self.names is not None:
                table.feature_names_in_ = self.names
            with repeated_columns_named(estimator_name, "X"):
                validate_data(table, X, reset=False, skip_check_array=True)


class _Table(BaseEstimator):
    """Stands for an estimator where scikit-learn checks columns."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fit leaves behind, and all that predicting needs.

    Attributes
    ----------
    source : TrainingNet or SavedNet
        The skorch net; or what was read from a file, from which the net is made when it is asked for.
    recipe : NetworkRecipe
        How the layers of the network are made.
    task : Task
        The kind of target.
    schema : InputSchema
        How X is read.
    columns : Columns
    built_from : mapping of str to (given, meant)
        The hyper-parameters that a fit that continues with the network cannot change.
    callbacks : tuple
        The user's, as they were passed.
    estimator_name : str
    history : list of dict
        One row per epoch; of the run with validation, where there was one.
    best_epoch : int
        The epoch, from 1, whose weights the network has.
    split_seed : int or None
        By which rows were held out first: a fit that continues holds out the same, since it has trained on all others.
    temperature : float
        What the outputs of that epoch were divided by.
    """

    source: Any
    recipe: NetworkRecipe
    task: Task
    schema: InputSchema
    columns: Columns
    built_from: Mapping[str, tuple[Any, Any]]
    callbacks: tuple
    estimator_name: str
    history: list[dict] = field(default_factory=list)
    best_epoch: int = 0
    split_seed: int | None = None
    temperature: float = 1.0

    @property
    def net(self) -> Any:
        """The skorch net."""
        if isinstance(self.source, SavedNet):
            object.__setattr__(self, "source", self.source.restore())
        return self.source

    @property
    def network(self) -> Any:
        """The trained network."""
        return self.source.module_

    @property
    def spec(self) -> TrainingSpec:
        """The hyper-parameters by which it was trained."""
        return self.source.spec

    @property
    def dtype(self) -> torch.dtype:
        """Of inputs, weights and outputs."""
        return TORCH_FLOATS[self.spec.precision]

    @property
    def device(self) -> torch.device:
        """The device that the network is on."""
        return self.source.torch_device_

    def after(self, outcome: Outcome) -> Fitted:
        """Return what the fit leaves behind, with how its run ended."""
        from sklcnn.training.callbacks import recorded_names

        # The net of a refit knows its own epochs, which may be fewer than those of the run with validation.
        behind = len(self.history) - outcome.n_before
        new = [row | {"epoch": row["epoch"] + behind} for row in self.net.history[outcome.n_before :]]
        rows = [*self.history[: len(self.net.history) + behind], *new]
        names = dict.fromkeys([*HISTORY_COLUMNS, *recorded_names(rows)])
        history = [{name: row.get(name, np.nan) for name in names} for row in rows]
        best_epoch = outcome.best_epoch + behind
        return replace(self, history=history, best_epoch=best_epoch, temperature=outcome.temperature)

    def in_float32(self) -> Fitted:
        """Return the same, which computes in float32 where it was trained in bfloat16."""
        if self.spec.precision != "bfloat16":
            return self
        spec = replace(self.spec, precision="float32")
        return replace(self, source=SavedNet(self.network, spec, self.source.criterion_, None, [], []))

    def without_training_state(self) -> Fitted:
        """Return the same without optimiser and callbacks."""
        net = self.source
        if isinstance(net, SavedNet):
            epochs, groups = net.epochs, net.groups
        else:
            epochs, groups = list(net.history), names_in_groups(net.module_, net.optimizer_)
        return replace(self, source=SavedNet(net.module_, net.spec, net.criterion_, None, epochs, [], groups))

    def outputs_of(self, X: Any, *, n_jobs: Any = None, feature_cache: Any = None) -> np.ndarray:
        """Compute the network's raw outputs, (n, n_outputs).

        Parameters
        ----------
        X : array-like
            As `fit` was given it.
        n_jobs, feature_cache
            As the hyper-parameters.

        Raises
        ------
        ValueError
            If X differs from what `fit` was given, or an output is not finite.
        """
        self.columns.check(X, self.schema, self.estimator_name)
        store: Any = read_again(X, self.schema, n_jobs)
        warn_of_other_values(store, self.schema, self.estimator_name)
        network = self.network
        with memory_errors_explained(self.estimator_name), generators_kept(has_own_code(network)):
            if network.is_frozen:
                network.eval()
                features = self.features_of(store, slice(None), feature_cache)
                store, network = FeatureStore(features), network.head
            computed = forward_store(network, store, self.dtype, self.spec.precision, self.device)
            outputs = (computed if computed.is_cpu else computed.cpu()).numpy()
        is_row = len(outputs) == 1  # of which a product tells in half of the time
        if not ((is_row and math.isfinite(np.vdot(outputs, outputs))) or np.isfinite(outputs).all()):
            row = int(np.argmin(np.isfinite(outputs).all(axis=1)))
            raise ValueError(
                f"{self.estimator_name}: the network's outputs for row {row} of X are not finite: X must hold values "
                "of the magnitude that fit was given. Check that row."
            )
        return outputs

    def features_of(self, store: Store, rows: Any, feature_cache: Any) -> torch.Tensor:
        """Look up or compute the frozen backbone's features of some rows, (n, d)."""
        from sklcnn.network.backbones import backbone_batch_size
        from sklcnn.network.feature_cache import cached_features, open_feature_cache

        return cached_features(
            self.network.backbone,
            store,
            rows,
            cache=open_feature_cache(feature_cache),
            batch_size=backbone_batch_size(store.sample_shape),
            device=self.device,
            precision=self.spec.precision,
            image_size=store.sample_shape[1:],
        )

    def features_of_rows(self, rows: Rows, feature_cache: Any) -> Rows:
        """Replace the images of rows by their features."""
        features: Any = self.features_of(rows.store, rows.rows, feature_cache)
        features = FeatureStore(features)
        return replace(rows, store=features, rows=torch.arange(len(rows)))


@dataclass(frozen=True, eq=False)
class Scored(Fitted):
    """What a scorer sees after an epoch. The outputs of the rows that it scores are known already.

    Attributes
    ----------
    X : object
        What the scorer is given.
    known : list of tensor
        Its one entry: the outputs of X by the weights of this epoch.
    """

    X: Any = None
    known: list[torch.Tensor] = field(default_factory=list)

    def outputs_of(self, X: Any, **options: Any) -> np.ndarray:
        """Return the outputs that are known already; compute those of another X."""
        return self.known[0].cpu().numpy() if X is self.X and self.known else super().outputs_of(X, **options)


@dataclass(frozen=True)
class FittedFeatures:
    """What `CNNFeatures.fit` leaves behind.

    Attributes
    ----------
    backbone : nn.Module
    recipe : BackboneRecipe
        How the layers of the backbone are made.
    schema : InputSchema
        How X is read.
    columns : Columns
    precision : str
    n_features : int
        Columns of the transformed X.
    """

    backbone: Any
    recipe: BackboneRecipe
    schema: InputSchema
    columns: Columns
    precision: str
    n_features: int

    def in_float32(self) -> FittedFeatures:
        """Return the same, which computes in float32 where bfloat16 was asked for."""
        return replace(self, precision="float32") if self.precision == "bfloat16" else self
