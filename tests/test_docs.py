"""The code blocks of the documentation run."""

import ast
import functools
import importlib
import re
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import sklearn
import torch

from sklcnn import CNNClassifier, CNNRegressor

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def python_blocks(path):
    """Yield each block with the number of lines above it."""
    text = path.read_text()
    return [(match[1], text.count("\n", 0, match.start(1))) for match in BLOCK.finditer(text)]


RUNNING = [page for page in PAGES if python_blocks(page)]


@pytest.mark.parametrize("path", RUNNING, ids=lambda path: path.name)
def test_the_blocks_of_a_page_run_from_top_to_bottom(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    with sklearn.config_context():
        for block, n_lines_above in python_blocks(path):
            exec(compile("\n" * n_lines_above + block, path, "exec"), namespace)
    plt.close("all")


def test_every_page_has_blocks_to_run():
    told_elsewhere = {"contributing.md", "changes.md"}  # the site shows files of the root in their place
    assert {page.name for page in PAGES} - told_elsewhere == {page.name for page in RUNNING}


def test_the_head_of_the_page_of_performance_is_what_the_benchmarks_write(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    head = importlib.import_module("benchmarks.__main__").PAGE_HEAD
    assert (ROOT / "docs" / "performance.md").read_text().startswith(f"{head}\n\n## ")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_to_files_and_headings_lead_somewhere(path):
    text = path.read_text()
    anchors = {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (path.parent / target.split("#")[0]).exists(), target


def test_the_recipes_are_the_calls_that_the_benchmark_measures(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    recipes = pytest.importorskip("benchmarks.recipes", reason="scikit-image, of the test extra, has its pictures")
    page = " ".join((ROOT / "docs" / "recipes.md").read_text().split())
    for recipe in recipes.RECIPES:
        if recipe.call.startswith("CNN"):
            call = recipe.call.replace("10 * seed + member", "member").replace("seed", "0")
            assert " ".join(call.split()) in page, recipe.name


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
@pytest.mark.parametrize("page", ["README.md", "docs/guide.md"])
def test_every_hyper_parameter_is_told_of(estimator, page):
    told = set(re.findall(r"`(\w+)", (ROOT / page).read_text()))
    assert set(estimator().get_params()) <= told


def test_the_first_page_names_each_page_once():
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / "docs" / "index.md").read_text())
    assert len(links) == len(set(links))


def settings_of_other_libraries():
    """Yield what the right columns of docs/coming_from.md set: estimator, name, value."""
    for row in re.findall(r"^\|.*\| (.*) \|$", (ROOT / "docs" / "coming_from.md").read_text(), re.MULTILINE):
        estimator = CNNRegressor if "CNNRegressor" in row else CNNClassifier
        for name, value in re.findall(r"`(\w+)=([^`=]+)`", row):
            yield estimator, name, ast.literal_eval(value)


@pytest.mark.parametrize("estimator, name, value", list(settings_of_other_libraries()))
def test_what_stands_beside_a_line_of_another_library_is_accepted(estimator, name, value):
    with pytest.raises(ValueError, match="0 sample"):  # so that hyper-parameters are checked, and nothing is trained
        estimator(**{name: value}).fit(np.empty((0, 8, 8)), [])


@pytest.fixture
def drawings():
    return runpy.run_path(str(ROOT / "docs" / "draw_sizes.py"))


def test_the_drawings_of_the_guide_are_what_their_script_draws(drawings):
    for name, draw in drawings["PICTURES"].items():
        assert (ROOT / "docs" / "_static" / name).read_text(encoding="utf-8") == draw(), name


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_sizes_drawn_are_those_of_networks(drawings, padding, stride):
    n, k = 7, 3
    cnn = CNNClassifier(filters=(2,), kernel_size=k, stride=stride, padding=padding, dense_units=(), max_epochs=1)
    sizes = cnn.fit(np.arange(98.0).reshape(2, n, n), [0, 1]).summary().set_index("layer")["output shape"]
    convolved = drawings["count_places"](n, k, 0 if padding == "valid" else 1, stride)
    assert sizes["block1.conv"] == (2, convolved, convolved)
    assert sizes["block1.pool"][1] == drawings["count_places"](convolved, 2, 0, 2)


def test_a_position_after_the_default_blocks_sees_as_many_pixels_as_drawn(drawings):
    n, place = 20, 2
    cnn = CNNClassifier(filters=(2, 2), activation="tanh", pooling="avg", kernel_size=3, random_state=0, max_epochs=1)
    cnn.fit(np.random.default_rng(0).normal(size=(4, n)), [0, 1, 0, 1])
    *blocks, _ = (part for name, part in cnn.module_.named_children() if name.startswith(("block", "features")))
    changed = torch.eye(n)[:, None, :]  # a signal a row, each with one pixel that is not 0
    with torch.inference_mode():
        after, before = (functools.reduce(lambda x, block: block(x), blocks, x) for x in (changed, 0 * changed))
    differs = (after - before)[:, :, place].abs().amax(1) > 1e-7
    assert differs.sum() == drawings["receptive_fields"](drawings["LAYERS"])[-1]
