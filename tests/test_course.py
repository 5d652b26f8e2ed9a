"""The course, an example of the gallery from which its notebook is made, runs from top to bottom."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt

COURSE = Path(__file__).parents[1] / "examples" / "plot_course.py"


def test_the_course_runs_and_its_pretrained_network_needs_the_fewest_pictures(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    course = runpy.run_path(str(COURSE))
    X_test, y_test, test, test_kinds = (course[name] for name in ("X_test", "y_test", "test", "test_kinds"))
    assert course["cnn"].score(X_test, y_test) > 0.9
    assert course["tuned"].score(test, test_kinds) > course["scratch"].score(test, test_kinds)
