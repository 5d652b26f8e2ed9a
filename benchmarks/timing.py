"""Contestants that run in turn, and tables of what they took."""

import time
from collections.abc import Callable
from statistics import median

Rounds = dict[str, list[float]]


def in_turn(contestants: dict[str, Callable[[], dict[str, float]]], n_rounds: int) -> Rounds:
    """Run all contestants in turn, round after round, so that a slow minute of the machine falls on each alike.

    Parameters
    ----------
    contestants : dict of str to callable
        Each gives what it measured, by name; all run once before anything counts.
    n_rounds : int

    Returns
    -------
    rounds : dict of str to list of float
        For each name measured, one number a round.
    """
    order = list(contestants)
    for name in order:
        contestants[name]()
    rounds: Rounds = {}
    for number in range(n_rounds):
        first = number % len(order)  # so that another one runs after the heaviest each time
        for name in order[first:] + order[:first]:
            for measured, value in contestants[name]().items():
                rounds.setdefault(measured, []).append(value)
    return rounds


def seconds(work: Callable, *arguments) -> float:
    """Time one call."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def ratio(rounds: Rounds, name: str, reference: str) -> float:
    """Compute the median over rounds of the ratio of two contestants."""
    return median(own / other for own, other in zip(rounds[name], rounds[reference], strict=True))


def spread(values: list[float], digits: int = 3) -> str:
    """Write a median and, in brackets, the extremes."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(head: list[str], rows: list[list]) -> str:
    """Write a Markdown table; the first column to the left, numbers to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def slope(sizes: list[float], values: list[float]) -> float:
    """Fit a line to the logarithms of sizes and values, and return its slope."""
    import numpy as np

    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
