"""What all displays do alike: kinds of samples, estimators around the network, drawing, errors."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from marks import slow_but
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.inspection import FeatureMapDisplay, MistakesDisplay, SaliencyDisplay, TrainingCurveDisplay, _network

KINDS = ["signals", "signals of three channels", "grey", "colour", "volumes", "flat rows", "files"]
DISPLAYS = {
    "curves": lambda estimator, X, y, **options: TrainingCurveDisplay.from_estimator(estimator, **options),
    "feature maps": lambda estimator, X, y, **options: FeatureMapDisplay.from_estimator(estimator, X, **options),
    "mistakes": lambda estimator, X, y, **options: MistakesDisplay.from_estimator(estimator, X, y, **options),
    **{
        method: lambda estimator, X, y, method=method, **options: SaliencyDisplay.from_estimator(
            estimator, X, method=method, **options
        )
        for method in ("grad_cam", "occlusion", "integrated_gradients", "saliency")
    },
}
LOOKERS = [name for name in DISPLAYS if name != "curves"]
display = pytest.mark.parametrize("display", DISPLAYS.values(), ids=DISPLAYS.keys())
looker = pytest.mark.parametrize("display", [DISPLAYS[name] for name in LOOKERS], ids=LOOKERS)


def arrays_of(shown):
    """List what a display holds that can be compared, as arrays."""
    values = {name: value for name, value in vars(shown).items() if name not in ("figure_", "axes_")}
    return values | {"histories": [history.to_numpy() for history in values.get("histories", [])]}


def assert_same(shown, other):
    one, two = arrays_of(shown), arrays_of(other)
    assert one.keys() == two.keys()
    for name in one:
        if getattr(one[name], "dtype", np.dtype(object)).kind == "f":
            np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-6)
        else:
            np.testing.assert_equal(one[name], two[name])


@pytest.mark.parametrize("kind", slow_but(KINDS, ["signals of three channels", "colour", "volumes", "files"]))
@looker
def test_every_kind_of_sample_is_drawn_and_no_text_covers_another(display, kind, cases, find_overlaps):
    case = cases[kind]
    shown = display(case.cnn, case.X, case.y)
    assert find_overlaps(shown.figure_) == []
    assert shown.figure_.get_size_inches()[0] <= 8
    drawn = [panel for panel in np.ravel(shown.axes_) if panel is not None]
    assert all(panel.has_data() for panel in drawn)


@display
def test_panels_fill_the_place_of_the_axes_given(display, cases):
    case = cases["grey"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(16, 6))
    shown = display(case.cnn, case.X, case.y, ax=right)
    assert shown.figure_ is figure
    place = right.get_subplotspec().get_position(figure).padded(1e-6)
    for panel in np.ravel(shown.axes_):
        if panel is not None:
            box = panel.get_position(original=True)
            assert place.x0 <= box.x0 and box.x1 <= place.x1 and place.y0 <= box.y0 and box.y1 <= place.y1
    assert left.axison and not right.axison


@display
def test_axes_without_a_grid_are_filled_too(display, cases):
    case = cases["grey"]
    ax = plt.figure().add_axes((0.1, 0.1, 0.8, 0.8))
    assert display(case.cnn, case.X, case.y, ax=ax).figure_ is ax.figure


@display
def test_something_else_than_axes_is_an_error(display, cases):
    case = cases["grey"]
    with pytest.raises(TypeError, match=r"ax must be one matplotlib Axes.*ndarray"):
        display(case.cnn, case.X, case.y, ax=plt.subplots(1, 2)[1])


@display
def test_arrays_are_there_without_drawing_and_can_be_drawn_later(display, cases, monkeypatch):
    case = cases["grey"]
    display(case.cnn, case.X, case.y, draw=False)  # captum imports matplotlib, if it was not imported before
    with monkeypatch.context() as patch:
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            patch.setitem(sys.modules, name, None)
        later = display(case.cnn, case.X, case.y, draw=False)
        with pytest.raises(ImportError, match=r'matplotlib.*pip install "sklcnn\[inspect\]"'):
            later.plot()
    assert later.figure_ is None
    assert later.plot() is later
    assert later.figure_ is not None


@display
def test_looking_leaves_estimator_and_generators_as_they_were(display, cases, describe_state):
    case = cases["colour"]
    before = describe_state(case.cnn)
    display(case.cnn, case.X, case.y)
    assert describe_state(case.cnn) == before


@looker
def test_a_network_in_training_mode_is_shown_as_it_predicts_and_stays_in_it(display, cases, describe_state):
    case = cases["grey"]
    cnn = CNNClassifier(**(case.cnn.get_params() | {"dropout": 0.9, "conv_dropout": 0.5})).fit(case.X, case.y)
    predicting = display(cnn, case.X, case.y, draw=False)
    cnn.module_.train()
    before = describe_state(cnn)
    shown = display(cnn, case.X, case.y, draw=False)
    if not isinstance(shown, MistakesDisplay):  # which predicts
        assert describe_state(cnn) == before
    assert_same(shown, predicting)


@looker
def test_however_many_samples_go_through_at_once_the_same_is_shown(display, cases, monkeypatch):
    case = cases["colour"]
    options = {} if display is DISPLAYS["mistakes"] else {"samples": range(7)}
    together = display(case.cnn, case.X, case.y, draw=False, **options)
    monkeypatch.setattr(_network, "MAX_ROWS", 3)
    assert_same(display(case.cnn, case.X, case.y, draw=False, **options), together)


@looker
def test_columns_of_a_table_are_checked(display, cases):
    rows, y = cases["flat rows"].X, cases["flat rows"].y
    frame = pd.DataFrame(rows, columns=[f"pixel {i}" for i in range(144)])
    cnn = CNNClassifier(**cases["flat rows"].cnn.get_params()).fit(frame, y)
    assert_same(display(cnn, frame, y, draw=False), display(cases["flat rows"].cnn, rows, y, draw=False))
    with pytest.raises(ValueError, match="feature names"):
        display(cnn, frame.rename(columns={"pixel 3": "pixel three"}), y)


def ticks_of(panel):
    """List the positions and the texts of the ticks of an x axis."""
    return panel.get_xticks(), [label.get_text() for label in panel.get_xticklabels()]


WAVELENGTHS = np.arange(1000.0, 850.0, -5.0)
NAMES = {
    "numbers": (WAVELENGTHS, "column"),
    "texts of numbers": ([f"{value:g}" for value in WAVELENGTHS], "column"),
    "numbers with a unit": ([f"{value:g} nm" for value in WAVELENGTHS], "nm"),
    "numbers behind a word": ([f"wavelength_{value:g}" for value in WAVELENGTHS], "wavelength"),
}


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("kind", slow_but(NAMES, ["numbers with a unit"]))
@looker
def test_signals_are_drawn_along_the_numbers_that_columns_are_called_by(display, kind, cases):
    names, unit = NAMES[kind]
    case = cases["signals"]
    frame = pd.DataFrame(case.X, columns=names)
    cnn = CNNClassifier(**case.cnn.get_params()).fit(frame, case.y)
    shown = display(cnn, frame, case.y)
    shown.figure_.canvas.draw()
    panels = [panel for panel in shown.axes_.ravel() if panel is not None and panel.get_xlabel()]
    assert panels and all(panel.get_xlabel() == unit for panel in panels)
    for panel in panels:
        positions, texts = ticks_of(panel)
        assert len(texts) >= 2
        np.testing.assert_allclose(positions, np.interp([float(text) for text in texts], WAVELENGTHS[::-1],
                                                        np.arange(30)[::-1]))  # fmt: skip


@looker
def test_signals_are_drawn_along_the_names_of_columns_that_are_no_numbers(display, cases):
    case = cases["signals"]
    frame = pd.DataFrame(case.X, columns=[chr(ord("a") + i) + "-band" for i in range(30)])
    shown = display(CNNClassifier(**case.cnn.get_params()).fit(frame, case.y), frame, case.y)
    [panel, *_] = [panel for panel in shown.axes_.ravel() if panel is not None and panel.get_xlabel() == "column"]
    positions, texts = ticks_of(panel)
    assert texts == [frame.columns[int(position)] for position in positions]


@looker
def test_long_names_of_columns_that_begin_alike_are_told_apart_on_the_axis(display, cases):
    case = cases["signals"]
    frame = pd.DataFrame(case.X, columns=[f"current of the {chr(ord('a') + i)}-band" for i in range(30)])
    shown = display(CNNClassifier(**case.cnn.get_params()).fit(frame, case.y), frame, case.y)
    [panel, *_] = [panel for panel in shown.axes_.ravel() if panel is not None and panel.get_xlabel() == "column"]
    positions, texts = ticks_of(panel)
    assert len(set(texts)) == len(positions) > 1


@pytest.mark.parametrize(
    "first", [StandardScaler(), FunctionTransformer(np.gradient, kw_args={"axis": 1}), "passthrough"]
)
@looker
def test_steps_that_keep_the_columns_keep_their_names_on_the_axis(display, first, cases):
    case = cases["signals"]
    frame = pd.DataFrame(case.X, columns=[f"{value:g} nm" for value in WAVELENGTHS])
    pipeline = make_pipeline(first, CNNClassifier(**case.cnn.get_params())).fit(frame, case.y)
    shown = display(pipeline, frame, case.y, draw=False)
    assert shown.position_names.tolist() == list(frame.columns)


@pytest.mark.parametrize("kind", ["signals", "flat rows"])
@looker
def test_tables_without_names_and_pictures_have_positions_without_names(display, kind, cases):
    case = cases[kind]
    assert display(case.cnn, case.X, case.y, draw=False).position_names is None
    assert display(case.cnn, pd.DataFrame(case.X), case.y, draw=False).position_names is None


def legends_of(figure):
    return [[text.get_text() for text in ax.get_legend().get_texts()] for ax in figure.axes if ax.get_legend()]


@looker
def test_channels_of_signals_are_told_apart_by_one_legend(display, cases):
    case = cases["signals of three channels"]
    options = {"layer": 0} if display is DISPLAYS["feature maps"] else {}
    cnn = CNNClassifier(**(case.cnn.get_params() | {"filters": (6, 2)})).fit(case.X, case.y)
    assert legends_of(display(cnn, case.X, case.y, **options).figure_) == [["channel 0", "channel 1", "channel 2"]]
    single = cases["signals"]
    assert legends_of(display(single.cnn, single.X, single.y).figure_) == []


def test_of_many_channels_the_legend_names_some():
    signals = np.random.RandomState(0).randn(12, 22, 20)
    cnn = CNNClassifier(spatial_dims=1, data_format="channels_first", max_epochs=1, filters=2, dense_units=())
    shown = MistakesDisplay.from_estimator(cnn.fit(signals, np.arange(12) % 2), signals, np.arange(12) % 2)
    assert legends_of(shown.figure_) == [[f"channel {i}" for i in (0, 5, 10, 16, 21)]]


@looker
def test_the_samples_given_are_not_changed(display, cases):
    case = cases["grey"]
    X = case.X.copy()
    shown = display(case.cnn, X, case.y)
    for picture in shown.pictures:
        picture[:] = 7
    np.testing.assert_array_equal(X, case.X)


@looker
def test_a_pipeline_transforms_the_samples_first(display, cases):
    X, y = cases["flat rows"].X, cases["flat rows"].y
    pipeline = make_pipeline(StandardScaler(), cases["flat rows"].cnn)
    pipeline[0].fit(X)
    assert_same(display(pipeline, X, y), display(pipeline[-1], pipeline[0].transform(X), y))


@display
def test_a_search_shows_its_best_network(display, cases):
    X, y = cases["grey"].X, cases["grey"].y
    cnn = cases["grey"].cnn
    pipeline = Pipeline([("half", FunctionTransformer(lambda X: X / 2)), ("cnn", cnn)])
    search = GridSearchCV(pipeline, {"cnn__filters": [(2,), (4,)]}, cv=2).fit(X, y)
    assert_same(
        display(search, X, y, draw=False), display(search.best_estimator_.named_steps["cnn"], X / 2, y, draw=False)
    )


@display
def test_what_is_not_fitted_is_an_error(display, cases):
    case, cnn = cases["grey"], CNNClassifier()
    for unfitted in (cnn, make_pipeline(StandardScaler(), cnn), GridSearchCV(cnn, {"filters": [2]})):
        with pytest.raises(NotFittedError, match="not fitted"):
            display(unfitted, case.X, case.y)


@display
def test_what_holds_no_network_is_an_error_that_names_it(display, cases):
    case = cases["flat rows"]
    other = LogisticRegression().fit(case.X, case.y)
    for wrong, name in ((other, "LogisticRegression"), (CNNClassifier, "the class CNNClassifier"), ("cnn", "str")):
        with pytest.raises(TypeError, match=f"Expected a fitted CNNClassifier.*{name}"):
            display(wrong, case.X, case.y)


def test_a_search_that_keeps_no_network_is_an_error(cases):
    case = cases["flat rows"]
    search = GridSearchCV(case.cnn, {"filters": [(2,)]}, cv=2, refit=False).fit(case.X, case.y)
    with pytest.raises(ValueError, match="refit"):
        TrainingCurveDisplay.from_estimator(search)


@looker
def test_samples_of_another_shape_are_an_error(display, cases):
    case = cases["grey"]
    with pytest.raises(ValueError, match=r"CNNClassifier.*\(1, 12, 12\)"):
        display(case.cnn, case.X[:, :10], case.y)


@pytest.mark.parametrize("display", [DISPLAYS["feature maps"], DISPLAYS["grad_cam"]], ids=["feature maps", "grad_cam"])
@pytest.mark.parametrize(
    ("samples", "rows"), [([2, 0], [2, 0]), (5, [5]), ([-1], [23]), (np.arange(24) == 4, [4])], ids=str
)
def test_samples_are_chosen_by_position_or_mask(display, samples, rows, cases):
    case = cases["grey"]
    shown = display(case.cnn, case.X, case.y, samples=samples)
    assert shown.names == [f"sample {row}" for row in rows]
    for picture, row in zip(shown.pictures, rows, strict=True):
        np.testing.assert_array_equal(picture[..., 0], case.X[row])


@pytest.mark.parametrize(
    ("samples", "error", "words"),
    [
        ([24], ValueError, "row 24.*24 rows"),
        ([0.5], TypeError, "samples"),
        ([], TypeError, "samples"),
        ([True], TypeError, "24"),
    ],
    ids=str,
)
def test_rows_that_do_not_exist_are_an_error(samples, error, words, cases):
    case = cases["grey"]
    with pytest.raises(error, match=words):
        FeatureMapDisplay.from_estimator(case.cnn, case.X, samples=samples)


@looker
def test_files_are_shown_in_their_own_size_and_with_their_names(display, cases):
    case = cases["files"]
    shown = display(case.cnn, case.X, case.y)
    for name, picture in zip(shown.names, shown.pictures, strict=True):
        number = int(name.removeprefix("fruit ").removesuffix(".png"))
        assert picture.shape == (16, 20 + number, 3)
    titles = {panel.get_title().partition("\n")[0] for panel in np.ravel(shown.axes_) if panel is not None}
    assert set(shown.names) <= titles


@looker
@pytest.mark.parametrize("index", [6, -7])
def test_a_slice_that_does_not_exist_is_an_error(display, index, cases):
    case = cases["volumes"]
    with pytest.raises(ValueError, match=f"slice_index={index}.*6"):
        display(case.cnn, case.X, case.y, slice_index=index)
    with pytest.raises(TypeError, match=r"slice_index must be a whole number; got 1\.5"):
        display(case.cnn, case.X, case.y, slice_index=1.5)
    with pytest.raises(ValueError, match=r"slice_index.*volumes"):
        display(cases["grey"].cnn, cases["grey"].X, case.y, slice_index=0)


@looker
def test_volumes_are_cut_in_the_middle_unless_told_otherwise(display, cases):
    case = cases["volumes"]
    shown = display(case.cnn, case.X, case.y)
    pictures = [
        np.ravel(shown.axes_)[0].images[0].get_array(),
        shown.plot(slice_index=1).axes_.ravel()[0].images[0].get_array(),
    ]
    for picture, depth in zip(pictures, (3, 1), strict=True):
        np.testing.assert_array_equal(picture, shown.pictures[0][depth, ..., 0])


@pytest.mark.parametrize("precision", slow_but(["float64", "bfloat16"], ["bfloat16"]))
@looker
def test_every_precision_is_shown(display, precision, cases):
    case = cases["colour"]
    cnn = CNNClassifier(**(case.cnn.get_params() | {"precision": precision})).fit(case.X, case.y)
    shown = arrays_of(display(cnn, case.X, case.y))
    network_values = [shown[name] for name in ("maps", "attributions", "scores", "probabilities") if name in shown]
    for values in network_values:
        assert values is None or (values.dtype in (np.float32, np.float64) and np.isfinite(values).all())


@looker
def test_regressors_of_several_values_are_shown(display, cases, find_overlaps):
    X = cases["grey"].X
    y = np.column_stack([X.mean((1, 2)) / 1000, 1000 * X.std((1, 2))])
    cnn = CNNRegressor(filters=(2,), dense_units=(), max_epochs=1, random_state=0).fit(X, y)
    assert find_overlaps(display(cnn, X, y).figure_) == []


@pytest.mark.parametrize("shape", slow_but(["wide", "high"], ["wide"]))
@looker
def test_pictures_of_any_proportions_leave_room_for_their_texts(display, shape, find_overlaps):
    X = np.random.RandomState(0).rand(6, *{"wide": (6, 40), "high": (40, 8)}[shape], 1)
    y = np.array(["an extraordinarily long name of a fruit", "another name that does not end"] * 3)
    cnn = CNNClassifier(filters=(20,), dense_units=(), max_epochs=1, random_state=0).fit(X, y)
    for n in (1, 3):
        assert find_overlaps(display(cnn, X[:n], y[:n]).figure_) == []


@looker
def test_indicator_matrices_are_shown(display, cases, find_overlaps):
    X = cases["grey"].X
    y = np.random.RandomState(0).randint(2, size=(24, 3))
    cnn = CNNClassifier(filters=(2,), dense_units=(), max_epochs=1, random_state=0).fit(X, y)
    assert find_overlaps(display(cnn, X, y).figure_) == []


def test_the_room_lists_its_names():
    import sklcnn.inspection as room

    assert set(room.__all__) <= set(dir(room))
    with pytest.raises(AttributeError, match="nothing_of_it"):
        _ = room.nothing_of_it
