"""Displays of what a fitted network has learnt and where it looks, and of what a search has found."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklcnn.inspection.curves import TrainingCurveDisplay
    from sklcnn.inspection.feature_maps import FeatureMapDisplay
    from sklcnn.inspection.mistakes import MistakesDisplay
    from sklcnn.inspection.saliency import SaliencyDisplay
    from sklcnn.inspection.search_results import SearchResultsDisplay

__all__ = ["FeatureMapDisplay", "MistakesDisplay", "SaliencyDisplay", "SearchResultsDisplay", "TrainingCurveDisplay"]

_MODULES = {
    "FeatureMapDisplay": "feature_maps",
    "MistakesDisplay": "mistakes",
    "SaliencyDisplay": "saliency",
    "SearchResultsDisplay": "search_results",
    "TrainingCurveDisplay": "curves",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'sklcnn.inspection' has no attribute {name!r}")
    value = getattr(import_module(f"sklcnn.inspection.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
