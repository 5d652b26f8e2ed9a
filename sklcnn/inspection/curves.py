"""TrainingCurveDisplay: how training went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sklcnn.inspection._drawing import SMALL, WIDTH, make_panels
from sklcnn.inspection._samples import find_cnn
from sklcnn.wording import cut, shown

if TYPE_CHECKING:
    import pandas as pd

PANEL_HEIGHT = 2.4  # inches
LONG = 24  # characters of a legend's entry that would cover the curves


@dataclass(kw_only=True, eq=False, repr=False)
class TrainingCurveDisplay:
    """Losses, score and learning rate of one or several fits, by epoch.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    histories : list of DataFrame
        The `history_` of each fit.
    best_epochs : list of int or None
        The epoch, from 1, that early stopping chose in each fit; None without early stopping.
    names : list of str
        Of the fits, for the legend.
    score_name : str, default="score"
        What the scores are.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Set by :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (n_panels,)
        Losses, scores and learning rate from top to bottom, as far as they were drawn.

    See Also
    --------
    FeatureMapDisplay : What the layers make of a sample.
    MistakesDisplay : The samples with the largest loss.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklcnn import CNNClassifier
    >>> from sklcnn.inspection import TrainingCurveDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> cnn = CNNClassifier(input_shape=(8, 8), filters=(8,), max_epochs=3, random_state=0).fit(X[:300], y[:300])
    >>> display = TrainingCurveDisplay.from_estimator(cnn, draw=False)
    >>> len(display.histories[0])
    3
    """

    histories: list[pd.DataFrame]
    best_epochs: list[int | None]
    names: list[str]
    score_name: str = "score"
    figure_: Any = field(init=False, default=None)
    axes_: Any = field(init=False, default=None)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        names: Any = None,
        score: bool = True,
        learning_rate: bool = False,
        ax: Any = None,
        draw: bool = True,
    ) -> TrainingCurveDisplay:
        """Show how a fitted network was trained.

        Parameters
        ----------
        estimator : estimator, list of estimators, or {name: estimator}
            Fitted: CNNClassifier, CNNRegressor, a Pipeline that ends in one, or a search, of which the best one is
            shown.
        names : list of str, default=None
            Of several estimators; None: the hyper-parameters in which they differ.
        score : bool, default=True
            Whether to show the score below the losses.
        learning_rate : bool, default=False
            Whether to show the learning rate as well.
        ax : matplotlib Axes, default=None
            Whose place is filled. None makes a figure.
        draw : bool, default=True
            False only collects the curves; :meth:`plot` draws them.

        Returns
        -------
        display : TrainingCurveDisplay
            With the curves, drawn or not.
        """
        if isinstance(estimator, Mapping):
            names = list(estimator) if names is None else names
            estimator = list(estimator.values())
        given = list(estimator) if isinstance(estimator, (list, tuple)) else [estimator]
        if not given:
            raise ValueError("Pass at least one fitted estimator.")
        cnns = [find_cnn(one)[0] for one in given]
        names = _names(cnns) if names is None else list(map(str, names))
        if len(names) != len(cnns):
            raise ValueError(f"names holds {len(names)} names for {len(cnns)} estimators. Pass one name each.")
        score_names = {_score_name(cnn) for cnn in cnns}
        display = cls(
            histories=[cnn.history_ for cnn in cnns],
            best_epochs=[cnn.best_epoch_ if _chose_an_epoch(cnn) else None for cnn in cnns],
            names=names,
            score_name=score_names.pop() if len(score_names) == 1 else "score",
        )
        return display.plot(ax=ax, score=score, learning_rate=learning_rate) if draw else display

    def plot(self, ax: Any = None, *, score: bool = True, learning_rate: bool = False) -> TrainingCurveDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Whose place is filled. None makes a figure.
        score : bool, default=True
            Whether to draw the score below the losses.
        learning_rate : bool, default=False
            Whether to draw the learning rate as well.

        Returns
        -------
        display : TrainingCurveDisplay
            With the curves, drawn or not.
        """
        panels: list[tuple[str, tuple[str, ...]]] = [("loss", ("train_loss", "val_loss"))]
        if score and any(_recorded(history, ("train_score", "val_score")) for history in self.histories):
            panels.append((self.score_name, ("train_score", "val_score")))
        if learning_rate:
            panels.append(("learning rate", ("learning_rate",)))
        height = PANEL_HEIGHT * len(panels) + 0.4
        self.figure_, grid = make_panels(ax, len(panels), 1, (0.8 * WIDTH, height))
        self.axes_ = np.empty(len(panels), dtype=object)
        for i, (label, columns) in enumerate(panels):
            panel = self.axes_[i] = self.figure_.add_subplot(grid[i], sharex=self.axes_[0] if i else None)
            for j in range(len(self.histories)):
                self._draw_curves(panel, j, columns)
            panel.set_ylabel(label)
            panel.grid(alpha=0.3)
            panel.tick_params(labelbottom=i == len(panels) - 1)
        self.axes_[-1].set_xlabel("epoch")
        self.axes_[-1].xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        handles = self._legend_handles()
        longest = max(len(handle.get_label()) for handle in handles)
        above = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "frameon": False} if longest > LONG else {}
        self.axes_[0].legend(handles=handles, fontsize=SMALL, **above)
        return self

    def _color(self, j, column):
        if len(self.histories) > 1 or column == "learning_rate":
            return f"C{j}"
        return "C1" if column.startswith("val") else "C0"

    def _draw_curves(self, panel, j, columns):
        """Draw one fit into one panel: validation as a solid line, training as a dashed one."""
        history, best = self.histories[j], self.best_epochs[j]
        shown = [column for column in columns if _recorded(history, (column,))]
        for column in shown:
            panel.plot(
                history["epoch"],
                history[column],
                color=self._color(j, column),
                linestyle="--" if column.startswith("train") else "-",
                marker="." if len(history) == 1 else None,
            )
        if best is None:
            return
        if len(self.histories) == 1:
            panel.axvline(best, color="0.4", linestyle=":", linewidth=1)
        marked = history[history["epoch"] == best]
        if shown and len(marked) and columns != ("learning_rate",):
            panel.plot(best, marked[shown[-1]].iloc[0], "o", color=self._color(j, shown[-1]), zorder=3)

    def _legend_handles(self):
        from matplotlib.lines import Line2D

        validated = any(_recorded(history, ("val_loss", "val_score")) for history in self.histories)
        if len(self.histories) == 1:
            handles = [Line2D([], [], color="C0", linestyle="--", label="training")]
            if validated:
                handles.append(Line2D([], [], color="C1", label="validation"))
            if self.best_epochs[0] is not None:
                best = f"best epoch ({self.best_epochs[0]})"
                handles.append(Line2D([], [], color="0.4", linestyle=":", marker="o", mfc="C1", mec="C1", label=best))
            return handles
        handles = [Line2D([], [], color=f"C{j}", label=name) for j, name in enumerate(self.names)]
        handles.append(Line2D([], [], color="0.4", linestyle="--", label="training"))
        if validated:
            handles.append(Line2D([], [], color="0.4", label="validation"))
        if any(best is not None for best in self.best_epochs):
            handles.append(Line2D([], [], color="0.4", linestyle="", marker="o", label="best epoch"))
        return handles


def _chose_an_epoch(cnn):
    """Tell whether early stopping chose the epoch whose weights are kept, or the number of epochs of a refit."""
    spec = cnn.net_.spec
    return spec.patience is not None or spec.label == "refit"


def _recorded(history, columns):
    return any(column in history and history[column].notna().any() for column in columns)


def _score_name(cnn):
    scoring = cnn.net_.spec.scoring
    if scoring != "loss":
        return scoring if isinstance(scoring, str) else "score"
    return cnn._task.score_name


def _names(cnns):
    """Name estimators by the hyper-parameters in which they differ."""
    parameters = [cnn.get_params(deep=False) for cnn in cnns]
    differing = [
        name
        for name in parameters[0]
        if any(repr(other.get(name)) != repr(parameters[0][name]) for other in parameters[1:])
    ]
    names = [", ".join(f"{name}={cut(shown(p.get(name)), 30)}" for name in differing) for p in parameters]
    if len(cnns) == 1 or len(set(names)) < len(names):
        kinds = [type(cnn).__name__ for cnn in cnns]
        return kinds if len(cnns) == 1 else [f"{kind} {i}" for i, kind in enumerate(kinds, start=1)]
    return names
