"""Examples show what their text says: the course from top to bottom, the pictures of augmentations."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_the_course_runs_and_its_pretrained_network_needs_the_fewest_pictures(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    course = runpy.run_path(str(EXAMPLES / "plot_course.py"))
    X_test, y_test, test, test_kinds = (course[name] for name in ("X_test", "y_test", "test", "test_kinds"))
    assert course["cnn"].score(X_test, y_test) > 0.9
    assert course["tuned"].score(test, test_kinds) > course["scratch"].score(test, test_kinds)


def test_the_pictures_of_augmentations_are_on_the_scale_of_the_photograph():
    code = (EXAMPLES / "plot_augmentation.py").read_text().partition("# Every name at its default strength")[0]
    example = {"__name__": "example"}
    exec(code, example)
    shown = example["show"](np.stack([example["cat"]] * 2), None)
    np.testing.assert_allclose(shown[0], example["cat"] / 255, atol=1e-6)


def test_the_readme_leads_to_every_example():
    readme = (EXAMPLES.parent / "README.md").read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f"](examples/{path.name})" not in readme] == []
