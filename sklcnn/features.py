"""CNNFeatures: images in, features out."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklcnn.constraints import Checked
from sklcnn.data.constant_channels import warn_of_other_values
from sklcnn.data.reading import read_again, read_inputs
from sklcnn.data.schema import InputSpec
from sklcnn.declarations import parameter
from sklcnn.deploy.convertible import OnnxConvertible
from sklcnn.donors import check_donor, find_donor, lend_backbone
from sklcnn.fitting.fitted import Columns, FittedFeatures
from sklcnn.fitting.guards import FittedAttribute
from sklcnn.fitting.recipes import BackboneRecipe
from sklcnn.fitting.specs import find_image_size, loads_weights, resolve_device
from sklcnn.fitting.state import PlainStateMixin
from sklcnn.network.backbones import backbone_batch_size, check_backbone, load_backbone
from sklcnn.network.feature_cache import cached_features, open_feature_cache
from sklcnn.parameters import SEED, BackboneParameters, ComputeParameters, InputParameters
from sklcnn.process import leaves_process_as_found
from sklcnn.training.modes import own_modes
from sklcnn.training.seeding import draw_seed, generators_kept, seeded
from sklcnn.wording import shown


def check_feature_backbone(backbone: Any) -> None:
    """Check the `backbone` of CNNFeatures: as for the estimators, but not None, or one of them, fitted.

    Raises
    ------
    TypeError, ValueError
        If it is another thing, or not fitted.
    """
    if backbone is None:
        raise TypeError("backbone must be a name, an nn.Module, a factory or a fitted CNN estimator; got None.")
    donor = find_donor(backbone)
    if donor is None:
        if isinstance(backbone, BaseEstimator):
            raise TypeError(
                "backbone must be a fitted CNNClassifier or CNNRegressor where it is an estimator, such as a search's "
                f"best_estimator_ or the last step of a Pipeline, pipeline[-1]; got {shown(backbone)}."
            )
        check_backbone(backbone)
    else:
        check_donor(donor)


class CNNFeatures(
    PlainStateMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    OnnxConvertible,
    InputParameters,
    BackboneParameters,
    ComputeParameters,
):
    """Transformer from images to the features of a network trained elsewhere.

    `fit` learns nothing from X but how it is read. The features of an image are computed once, whatever the number of
    fits, folds and candidates that ask for them.

    {parameters}

    Attributes
    ----------
    backbone_ : torch.nn.Module
        Maps a raw batch, channels first, to features.
    sample_shape_ : tuple of int
        Shape of one sample as the network sees it, channels first.
    n_features_in_ : int
        Columns of X, where it was a table.
    feature_names_in_ : ndarray of str
        Names of its columns, where it was a DataFrame.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklcnn import CNNFeatures
    >>> photographs = load_sample_images().images
    >>> CNNFeatures(image_size=64).fit_transform(photographs).shape
    (2, 1280)
    >>> model = make_pipeline(CNNFeatures(image_size=64), LogisticRegression()).fit(photographs, ["temple", "flower"])
    """

    backbone: Any = parameter(
        "efficientnet_lite0",
        Checked(
            check_feature_backbone,
            "a name, an nn.Module, a factory or a fitted CNN estimator",
            bad=(None, 7.5, "no such network"),
        ),
        """Network that computes the features: a name; an `nn.Module` or a factory `sample_shape -> nn.Module`, which
        gets X as it comes, of any range, since nothing is learnt here to standardise it by; or a fitted
        CNNClassifier or CNNRegressor, whose features are those that its dense layers get, and which decides how X
        is read and with what precision. Among the candidates of a search, which clones estimators, wrap it in
        scikit-learn's `FrozenEstimator`.""",
    )
    random_state: Any = parameter(
        None,
        SEED,
        "Seed of weights that are not loaded: those of `backbone_weights=None`, and what a factory draws.",
    )

    _fitted = cast("Any", None)  # the one thing that fitting sets

    backbone_ = FittedAttribute(lambda fitted: fitted.backbone, "Maps a raw batch, channels first, to features.")
    sample_shape_ = FittedAttribute(lambda fitted: fitted.schema.sample_shape, "Shape of one sample, channels first.")
    n_features_in_ = FittedAttribute(lambda fitted: fitted.columns.n_features, "Columns of X, where it was a table.")
    feature_names_in_ = FittedAttribute(lambda fitted: fitted.columns.names, "Names of the columns of a DataFrame.")

    def __sklearn_clone__(self):
        # The backbone is not cloned: a clone of a fitted estimator is not fitted, and a module need not be copied.
        parameters = self.get_params(deep=False)
        backbone = parameters.pop("backbone")
        copied = type(self)(**copy.deepcopy(parameters), backbone=backbone)
        for name in ("_sklearn_output_config", "_metadata_request"):
            if name in vars(self):
                setattr(copied, name, copy.deepcopy(vars(self)[name]))
        return copied

    def fit(self, X: Any, y: Any = None) -> CNNFeatures:
        """Read X and load the backbone.

        Parameters
        ----------
        X : array-like, or paths, bytes or PIL images
            Samples.
        y : ignored
            Not used; scikit-learn passes it.

        Returns
        -------
        self : object
            The estimator itself, fitted.

        Raises
        ------
        TypeError, ValueError
            If a hyper-parameter or X is not usable.
        """
        self._check_parameters()
        self._fitted, _ = self._read(X)
        self._tell_skl2onnx()
        return self

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit, and return the features of X, reading it once.

        Parameters
        ----------
        X : as in `fit`
            Samples.
        y : ignored
            Not used; scikit-learn passes it.

        Returns
        -------
        features : ndarray of shape (n, d)
            A row a sample.
        """
        self._check_parameters()
        fitted, store = self._read(X)
        features = self._features(fitted, store)
        self._fitted = fitted
        self._tell_skl2onnx()
        return features

    @leaves_process_as_found
    @own_modes()
    def _read(self, X):
        """Read X and load the backbone; return what the fit leaves behind, and the store of X."""
        donor = find_donor(self.backbone)
        resolve_device(self.device, self.precision, type(self).__name__)
        if donor is not None:
            schema, precision = donor._fitted.schema, donor._fitted.spec.precision
            store = read_again(X, schema, self.n_jobs)
            backbone = lend_backbone(donor, frozen=True)
        else:
            precision = self.precision
            spec = InputSpec(
                type(self).__name__,
                None if self.input_shape is None else tuple(map(int, self.input_shape)),
                self.spatial_dims,
                data_format=self.data_format,
                image_size=find_image_size(self.image_size, self.backbone),
                n_jobs=self.n_jobs,
                precision=self.precision,
                pixels=isinstance(self.backbone, str),
            )
            store, schema = read_inputs(X, spec)
            scale = 1 / schema.unit if isinstance(self.backbone, str) else 1  # others see X as it comes
            with self._seeded():
                backbone = load_backbone(
                    self.backbone, self.backbone_weights, schema.sample_shape, scale=scale, frozen=True
                )
        recipe = BackboneRecipe.of(backbone, self.backbone, schema.sample_shape)
        columns = Columns.of(X, schema, type(self).__name__)
        return FittedFeatures(backbone, recipe, schema, columns, precision, backbone.n_features), store

    def _seeded(self):
        """Seed the draw of the backbone's weights; where they are loaded nothing is drawn."""
        return nullcontext() if loads_weights(self) else seeded(draw_seed(self.random_state))

    @leaves_process_as_found
    @own_modes()
    def _features(self, fitted, store):
        with generators_kept(not fitted.backbone.shareable):
            features = cached_features(
                fitted.backbone,
                store,
                slice(None),
                cache=open_feature_cache(self.feature_cache),
                batch_size=min(int(self.batch_size), backbone_batch_size(store.sample_shape)),
                device=torch.device(resolve_device(self.device, fitted.precision, type(self).__name__)),
                precision=fitted.precision,
                image_size=store.sample_shape[1:],
            )
        return features.cpu().numpy()

    def transform(self, X: Any) -> np.ndarray:
        """Return the features of images.

        Parameters
        ----------
        X : array-like, or paths, bytes or PIL images
            Samples of the kind that `fit` was given.

        Returns
        -------
        features : ndarray of shape (n, d)
            A row a sample.
        """
        check_is_fitted(self)
        fitted = self._fitted
        fitted.columns.check(X, fitted.schema, type(self).__name__)
        store = read_again(X, fitted.schema, self.n_jobs)
        warn_of_other_values(store, fitted.schema, type(self).__name__)
        return self._features(fitted, store)

    @property
    def _n_features_out(self):
        return self._fitted.n_features

    def __sklearn_is_fitted__(self):
        return self._fitted is not None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # scikit-learn's checks pass tables of arbitrary numbers, which are not images.
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags
