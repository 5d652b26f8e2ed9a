"""What a search has found, drawn: candidates, folds, rounds, axes, names, errors."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from scipy.stats import loguniform, uniform
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklcnn import CNNClassifier
from sklcnn.inspection import SearchResultsDisplay

TREE = DecisionTreeClassifier(random_state=0)
DEPTHS = {"max_depth": [1, 2, 3]}


def shown_of(search, digits, **options):
    return SearchResultsDisplay.from_estimator(search.fit(*digits), **options)


def bars_of(shown):
    """List the error bars: places, means and the ends of the bars, a line each."""
    found = []
    for container in shown.ax_.containers:
        line, _, (bars,) = container.lines
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        found.append((line.get_xdata(), line.get_ydata(), ends))
    return found


def test_a_grid_of_one_hyper_parameter_is_a_line_with_the_deviations_of_the_folds(digits):
    search = GridSearchCV(TREE, DEPTHS, cv=3)
    shown = shown_of(search, digits)
    ((places, means, ends),) = bars_of(shown)
    results = search.cv_results_
    np.testing.assert_array_equal(places, DEPTHS["max_depth"])
    np.testing.assert_allclose(means, results["mean_test_score"])
    np.testing.assert_allclose(ends[:, 1] - ends[:, 0], 2 * results["std_test_score"])
    assert shown.ax_.get_xlabel() == "max_depth"
    assert shown.ax_.get_ylabel() == "accuracy, mean ± deviation of 3 folds"
    assert shown.best_index == search.best_index_


@pytest.mark.parametrize(
    ("differing", "expected"),
    [
        (6, ["…4: 1.0, 5: 1.0, 6: 1…", "…4: 1.0, 5: 1.0, 6: 2…", "…4: 1.0, 5: 1.0, 6: 3…"]),
        (11, ["{0: 1.0, 1: 1.0, 2:… (1)", "{0: 1.0, 1: 1.0, 2:… (2)", "{0: 1.0, 1: 1.0, 2:… (3)"]),
    ],
    ids=["in the middle", "where no text shows it"],
)
def test_values_that_read_alike_are_told_apart(differing, expected, digits):
    """Class weights that differ where a label is cut; one of them in two grids."""
    weights = [dict.fromkeys(range(12), 1.0) | {differing: weight} for weight in (1.0, 2.0, 3.0)]
    search = GridSearchCV(TREE, [{"class_weight": weights}, {"class_weight": [dict(weights[0])]}], cv=2)
    shown = shown_of(search, digits)
    ((places, means, _),) = bars_of(shown)
    assert len(places) == len(means) == 3
    assert [label.get_text() for label in shown.ax_.get_xticklabels()] == expected


def test_names_lose_their_step_in_a_pipeline_unless_two_would_be_alike(digits):
    pipeline = Pipeline([("scale", MinMaxScaler()), ("pca", PCA()), ("tree", TREE)])
    shown = shown_of(GridSearchCV(pipeline, {"tree__max_depth": [1, 2], "pca__n_components": [2, 3]}, cv=2), digits)
    assert set(shown.values) == {"max_depth", "n_components"}
    both = Pipeline([("pca", PCA(random_state=0)), ("second", PCA(random_state=0)), ("tree", TREE)])
    shown = shown_of(GridSearchCV(both, {"pca__n_components": [3, 4], "second__n_components": [2, 3]}, cv=2), digits)
    assert list(shown.values) == ["pca__n_components", "second__n_components"]


def test_a_network_in_a_pipeline_is_shown_by_layers_and_rate(digits):
    cnn = CNNClassifier(input_shape=(8, 8), filters=(2,), dense_units=(), max_epochs=1, random_state=0)
    grid = {"cnn__filters": [(2,), (2, 2)], "cnn__learning_rate": [1e-4, 1e-3, 1e-2]}
    shown = shown_of(GridSearchCV(Pipeline([("scale", MinMaxScaler()), ("cnn", cnn)]), grid, cv=2), digits)
    assert shown.params == ("learning_rate", "filters")
    assert shown.ax_.get_xscale() == "log"
    texts = [text.get_text() for text in shown.ax_.get_legend().get_texts()]
    assert texts == ["(2,)", "(2, 2)", "chosen"]
    assert len(bars_of(shown)) == 2


@pytest.mark.parametrize(
    ("values", "scale", "labels"),
    [
        ([1e-4, 1e-3, 1e-2], "log", ["0.0001", "0.001", "0.01"]),
        ([1.0, 2.0, 3.0], "linear", ["1", "2", "3"]),
        ([0, 1e-4, 1e-1], "linear", ["0", "0.0001", "0.1"]),  # beside each other as categories
    ],
)
def test_numbers_that_span_decades_are_on_a_logarithmic_axis(values, scale, labels, digits):
    shown = shown_of(GridSearchCV(TREE, {"min_impurity_decrease": values}, cv=2), digits)
    assert shown.ax_.get_xscale() == scale
    assert [text.get_text() for text in shown.ax_.get_xticklabels()] == labels


def test_what_is_no_number_makes_categories_in_the_order_of_the_grid(digits):
    steps = {"scale": ["passthrough", StandardScaler(), MinMaxScaler()]}
    shown = shown_of(GridSearchCV(Pipeline([("scale", None), ("tree", TREE)]), steps, cv=2), digits)
    labels = [text.get_text() for text in shown.ax_.get_xticklabels()]
    assert labels == ["passthrough", "StandardScaler()", "MinMaxScaler()"]
    shown = shown_of(GridSearchCV(TREE, {"max_depth": [None, 1, True]}, cv=2, error_score=0.0), digits)
    assert [text.get_text() for text in shown.ax_.get_xticklabels()] == ["None", "1", "True"]


def test_two_numbers_of_a_grid_make_a_map_of_the_means(digits):
    grid = {"max_depth": [1, 2, 3], "min_samples_leaf": [1, 5, 20, 40]}
    search = GridSearchCV(TREE, grid, cv=2)
    shown = shown_of(search, digits)
    assert shown.params == ("min_samples_leaf", "max_depth")
    cells = np.asarray(shown.ax_.get_images()[0].get_array())
    np.testing.assert_allclose(cells, search.cv_results_["mean_test_score"].reshape(3, 4))
    assert sum("±" in text.get_text() for text in shown.ax_.texts) == 12


def test_two_numbers_drawn_at_random_make_coloured_points(digits):
    drawn = {"min_samples_leaf": uniform(0.01, 0.3), "min_samples_split": uniform(0.02, 0.5)}
    shown = shown_of(RandomizedSearchCV(TREE, drawn, n_iter=12, cv=2, random_state=0), digits)
    points = shown.ax_.collections[0]
    np.testing.assert_allclose(np.sort(points.get_array()), np.sort(shown.means))


def test_one_number_drawn_at_random_makes_points_without_a_line(digits):
    shown = shown_of(
        RandomizedSearchCV(DecisionTreeRegressor(), {"ccp_alpha": loguniform(1e-3, 1)}, n_iter=4, cv=2), digits
    )
    assert shown.ax_.containers[0].lines[0].get_linestyle() == "None"
    assert shown.score_name == "R²"


def test_each_round_of_a_halving_search_is_a_line_of_its_own(digits):
    search = HalvingGridSearchCV(
        TREE, {"min_samples_leaf": [1, 5, 20, 40]}, resource="max_depth", max_resources=4, factor=2, cv=2
    )
    shown = shown_of(search, digits)
    texts = [text.get_text() for text in shown.ax_.get_legend().get_texts()]
    assert texts == ["1 (4 candidates)", "2 (2 candidates)", "4 (1 candidate)", "chosen"]
    assert [len(means) for _, means, _ in bars_of(shown)] == [4, 2, 1]
    assert shown.ax_.get_legend().get_title().get_text() == "max_depth"


@pytest.mark.parametrize(
    ("halving", "params"),
    [
        (HalvingGridSearchCV, {"min_samples_leaf": [1, 5, 20], "criterion": ["gini", "entropy"]}),
        (HalvingRandomSearchCV, {"min_samples_leaf": uniform(0.01, 0.3), "min_samples_split": uniform(0.02, 0.5)}),
    ],
)
def test_of_two_hyper_parameters_each_candidate_is_shown_once_as_large_as_its_last_round(halving, params, digits):
    options = {"n_candidates": 12, "random_state": 0} if halving is HalvingRandomSearchCV else {}
    search = halving(TREE, params, resource="max_depth", max_resources=4, factor=2, cv=2, **options)
    shown = shown_of(search, digits)
    n_candidates = search.n_candidates_[0]
    sizes = np.concatenate(
        [c.get_sizes() for c in shown.ax_.collections if isinstance(c, PathCollection) and len(c.get_offsets())]
    )
    assert len(shown.rows_to_draw()) == n_candidates
    assert len(np.unique(sizes[:n_candidates])) == len(search.n_candidates_)


def test_params_choose_what_is_drawn_and_the_best_of_the_others_stands_for_them(digits):
    grid = DEPTHS | {"min_samples_leaf": [1, 40], "criterion": ["gini", "entropy"]}
    search = GridSearchCV(TREE, grid, cv=2).fit(*digits)
    with pytest.raises(ValueError, match=r"3 hyper-parameters vary.*criterion.*Pass params with"):
        SearchResultsDisplay.from_estimator(search)
    shown = SearchResultsDisplay.from_estimator(search, params="max_depth")
    ((_, means, _),) = bars_of(shown)
    best = [shown.means[shown.values["max_depth"] == depth].max() for depth in DEPTHS["max_depth"]]
    np.testing.assert_array_equal(means, best)
    two = SearchResultsDisplay.from_estimator(search, params=["criterion", "max_depth"])
    assert two.ax_.get_xlabel() == "criterion"


def test_of_several_metrics_that_of_refit_or_the_one_named_is_shown(digits):
    metrics = ["accuracy", "neg_log_loss"]
    search = GridSearchCV(TREE, DEPTHS, scoring=metrics, refit="accuracy", cv=2).fit(*digits)
    assert SearchResultsDisplay.from_estimator(search, draw=False).score_name == "accuracy"
    other = SearchResultsDisplay.from_estimator(search, scoring="neg_log_loss")
    np.testing.assert_allclose(other.means, search.cv_results_["mean_test_neg_log_loss"])
    assert other.best_index is None
    without = GridSearchCV(TREE, DEPTHS, scoring=metrics, refit=False, cv=2).fit(*digits)
    with pytest.raises(ValueError, match="several: accuracy, neg_log_loss"):
        SearchResultsDisplay.from_estimator(without)


def test_a_candidate_whose_fits_failed_is_left_out(digits):
    search = GridSearchCV(LogisticRegression(), {"C": [1.0, 10.0, -1.0]}, cv=2)
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        shown = shown_of(search, digits)
    ((places, _, _),) = bars_of(shown)
    assert places.tolist() == [1.0, 10.0]


def test_grids_that_leave_out_a_hyper_parameter_have_the_estimators_own_value(digits):
    search = GridSearchCV(TREE, [{"max_depth": [1, 2]}, {"min_samples_leaf": [5]}], cv=2)
    shown = shown_of(search, digits)
    assert shown.values["max_depth"].tolist() == [1, 2, None]
    assert shown.values["min_samples_leaf"].tolist() == [1, 1, 5]


def test_the_axes_given_are_drawn_in_and_no_text_covers_another(digits, find_overlaps):
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
    search = GridSearchCV(TREE, DEPTHS | {"criterion": ["gini", "entropy"]}, cv=2)
    shown = shown_of(search, digits, ax=right)
    assert shown.ax_ is right and shown.figure_ is figure
    assert not left.has_data()
    assert find_overlaps(figure) == []
    assert find_overlaps(shown.plot().figure_) == []
    with pytest.raises(TypeError, match="ax must be one matplotlib Axes; got ndarray"):
        shown.plot(ax=np.array([left, right]))


def test_scores_are_there_without_drawing_and_can_be_drawn_later(digits):
    shown = shown_of(GridSearchCV(TREE, DEPTHS, cv=2), digits, draw=False)
    assert shown.figure_ is None
    assert shown.plot() is shown
    assert shown.ax_.figure is shown.figure_


def test_what_is_no_fitted_search_is_an_error(digits):
    for other in (TREE, GridSearchCV, make_pipeline(MinMaxScaler(), TREE)):
        with pytest.raises(TypeError, match="Expected a fitted search, such as GridSearchCV"):
            SearchResultsDisplay.from_estimator(other)
    with pytest.raises(NotFittedError):
        SearchResultsDisplay.from_estimator(GridSearchCV(TREE, DEPTHS))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"params": "max_dept"}, ValueError, r"'max_dept'.*Did you mean 'max_depth'"),
        ({"params": ("max_depth", "max_depth")}, ValueError, "one name, or two different ones"),
        ({"params": 3}, TypeError, "params must be a name or two names"),
        ({"scoring": "f1"}, ValueError, "one score only"),
    ],
)
def test_unusable_options_are_errors(options, error, words, digits):
    search = GridSearchCV(TREE, DEPTHS, cv=2).fit(*digits)
    with pytest.raises(error, match=words):
        SearchResultsDisplay.from_estimator(search, **options)
