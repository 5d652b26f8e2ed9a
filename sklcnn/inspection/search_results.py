"""SearchResultsDisplay: what a search has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sklcnn.inspection._candidates import (
    choose_params,
    find_metric,
    find_search,
    fold_scores,
    key_of,
    name_score,
    searched_values,
    short_names,
    value_axis,
)
from sklcnn.inspection._drawing import WIDTH, axes_or_new
from sklcnn.inspection._search_panels import draw_lines, draw_map, draw_rounds, draw_scatter, is_grid

if TYPE_CHECKING:
    import pandas as pd

MAX_LINES = 8  # with more values of a second number, points in colours of a scale are drawn


@dataclass(kw_only=True, eq=False, repr=False)
class SearchResultsDisplay:
    """Scores of a search by the values of one or two hyper-parameters, with the spread between the folds.

    Make one with :meth:`from_estimator`. One hyper-parameter makes a line; a second one makes a line for each of
    its values, or a map if both are numbers of a grid. Error bars are one standard deviation of the folds' scores, and
    a ring is around the candidate that the search chose.

    Parameters
    ----------
    values : DataFrame of shape (n_candidates, n_hyper_parameters)
        What was searched, by short names.
    scores : ndarray of shape (n_candidates, n_folds)
        Of each candidate in each fold.
    params : tuple of str
        The one or two columns of `values` that are drawn.
    score_name : str
        What the scores are.
    best_index : int or None
        The row of the candidate that the search chose.
    rounds : ndarray of shape (n_candidates,) or None
        Of a halving search, the round of each candidate.
    resources : ndarray of shape (n_candidates,) or None
        Of a halving search, each candidate's amount of the resource.
    resource_name : str or None
        What that resource is.
    is_grid : bool, default=True
        Whether the values come from a grid, so that lines are drawn from one to the next.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Set by :meth:`plot`.
    ax_ : matplotlib Axes

    See Also
    --------
    TrainingCurveDisplay : Losses and scores by epoch.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklcnn import CNNClassifier
    >>> from sklcnn.inspection import SearchResultsDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> cnn = CNNClassifier(input_shape=(8, 8), filters=(4,), max_epochs=1, random_state=0)
    >>> search = GridSearchCV(cnn, {"learning_rate": [1e-4, 1e-3, 1e-2]}, cv=2).fit(X[:200], y[:200])
    >>> display = SearchResultsDisplay.from_estimator(search, draw=False)
    >>> display.scores.shape
    (3, 2)
    """

    values: pd.DataFrame
    scores: np.ndarray
    params: tuple[str, ...]
    score_name: str = "score"
    best_index: int | None = None
    rounds: np.ndarray | None = None
    resources: np.ndarray | None = None
    resource_name: str | None = None
    is_grid: bool = True
    figure_: Any = field(init=False, default=None)
    ax_: Any = field(init=False, default=None)

    @classmethod
    def from_estimator(
        cls, search: Any, *, params: Any = None, scoring: str | None = None, ax: Any = None, draw: bool = True
    ) -> SearchResultsDisplay:
        """Show what a fitted search has found.

        Parameters
        ----------
        search : estimator
            GridSearchCV, RandomizedSearchCV, a halving search, or another one with such `cv_results_`, of any
            estimator.
        params : str or sequence of one or two str, default=None
            Hyper-parameters to draw, the first along the axis: `"cnn__dropout"`, or `"dropout"` if no other name
            ends so. None: those that vary, if they are not more than two. Of candidates that differ in others only, the
            best is drawn, and the rest are faint points.
        scoring : str, default=None
            Which of several metrics; None: that of `refit`.
        ax : matplotlib Axes, default=None
            None makes a figure.
        draw : bool, default=True
            False only collects the scores; :meth:`plot` draws them.

        Returns
        -------
        display : SearchResultsDisplay
            With the scores, drawn or not.
        """
        import pandas as pd

        search = find_search(search)
        metric = find_metric(search, scoring)
        values = searched_values(search)
        short = short_names(list(values))
        columns = {short[name]: pd.Series(values[name], dtype=object) for name in values}
        results = search.cv_results_
        best = getattr(search, "best_index_", None)
        display = cls(
            values=pd.DataFrame(columns),
            scores=fold_scores(search, metric),
            params=tuple(short[name] for name in choose_params(values, params)),
            score_name=name_score(search, metric),
            best_index=int(best) if best is not None and metric in ("score", search.refit) else None,
            rounds=np.asarray(results["iter"]) if "iter" in results else None,
            resources=np.asarray(results["n_resources"]) if "n_resources" in results else None,
            resource_name=_last_part(getattr(search, "resource", None)),
            is_grid=hasattr(search, "param_grid"),
        )
        return display.plot(ax=ax) if draw else display

    def plot(self, ax: Any = None) -> SearchResultsDisplay:
        """Draw the scores.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.

        Returns
        -------
        display : SearchResultsDisplay
            With the scores, drawn or not.
        """
        axes = [value_axis(name, list(self.values[name])) for name in self.params]
        self.figure_, self.ax_ = axes_or_new(ax, (0.8 * WIDTH, 0.5 * WIDTH))
        draw: Any
        if len(axes) == 1:
            draw = draw_lines if self.rounds is None else draw_rounds
        elif is_grid(self, *axes):
            draw = draw_map
        elif axes[1].numeric and len(axes[1].places) > MAX_LINES:
            draw = draw_scatter
        else:
            draw = draw_lines
        draw(self, *axes)
        return self

    @property
    def means(self) -> np.ndarray:
        """Mean score of each candidate over the folds, (n_candidates,)."""
        return self.scores.mean(1)

    @property
    def deviations(self) -> np.ndarray:
        """Standard deviation of each candidate's scores over the folds, (n_candidates,)."""
        return self.scores.std(1)

    def rows_to_draw(self) -> np.ndarray:
        """List the candidates that have a score; of a halving search, those of their last round.

        Returns
        -------
        rows : ndarray of int
            Their positions in `scores`.
        """
        rows = np.flatnonzero(np.isfinite(self.means))
        if self.rounds is None:
            return rows
        keys = [tuple(map(key_of, self.values.iloc[row])) for row in rows]
        last = dict(zip(keys, rows, strict=True))  # the last round of each: rounds are in order
        return np.array(sorted(last.values()))


def _last_part(name):
    return None if name is None else name.rpartition("__")[2]
