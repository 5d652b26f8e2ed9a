"""Which of a test's cases `make test` runs."""

import pytest


def slow_but(cases, fast):
    """Mark the cases that are not among `fast` as slow ones: what they alone show changes seldom.

    Parameters
    ----------
    cases : iterable of str
    fast : collection of str
        Those that `make test` runs.

    Returns
    -------
    parameters : list
        For `pytest.mark.parametrize`.
    """
    cases = list(cases)
    assert set(fast) <= set(cases), f"no such cases: {set(fast) - set(cases)}"
    return [case if case in fast else pytest.param(case, marks=pytest.mark.slow) for case in cases]
