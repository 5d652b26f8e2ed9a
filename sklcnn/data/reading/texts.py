"""Texts that hold the values of a sample, and are not names of files."""

from __future__ import annotations

import math
import os
import re

from sklcnn.wording import shown

# A text of at least two numbers holds values, such as those of an image; with fewer than four it may be a file's name.
NUMBER = r"(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|-?inf)"
BETWEEN = r"[\s,;|\[\](){}]+"
OPENED, CLOSED = r"""[\s"']*(?:array|tensor)?[\s\[({]*""", r"""[\s,;|\])}"']*"""
NUMBERS = re.compile(rf"{OPENED}{NUMBER}(?:{BETWEEN}(?:{NUMBER}|\.\.\.)){{1,}}{CLOSED}")
NEVER_A_NAME = 4  # numbers from which on a text is not taken for a file's name
PREFIX = 200  # characters that are enough to see numbers
# How the formats of images begin in base64: PNG, JPEG, GIF, WebP, TIFF.
BASE64 = re.compile(r"(?:data:image/\w+;base64,)?(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR|SUkqA|TU0AK)[A-Za-z0-9+/=\s]{40,}")


def check_text(text: str | bytes, estimator: str, where: str = "X") -> None:
    """Refuse text that would be taken for a file's name, but holds the values themselves.

    Parameters
    ----------
    text : str or bytes
        One cell.
    estimator : str
    where : str
        What holds it, for the message.

    Raises
    ------
    ValueError
        If it is of several numbers, or an image in base64.
    """
    one = "text"
    if isinstance(text, bytes):
        if not re.match(rb"[\s\d.,;|+eE-]{16}", text):
            return
        text, one = text.decode("latin-1"), "text.decode()"
    if BASE64.match(text[:PREFIX]):
        coded = '.split(",")[-1]' if text.startswith("data:") else ""
        raise ValueError(
            f"{estimator}: {where} holds images encoded in base64, which are no names of files. Pass "
            f"[base64.b64decode(text{coded}) for text in X], where X is that column."
        )
    beginning = (
        text if len(text) <= PREFIX else re.sub(r"[^\s,;|]*$", "", text[:PREFIX])
    )  # without a number that is cut
    has_suffix = len(text) > PREFIX and re.search(r"\.[A-Za-z]\w{2,3}$", text)
    if NUMBERS.fullmatch(beginning) and not has_suffix and not _is_short_name(text):
        _refuse_numbers(text, one, estimator, where)


def _is_short_name(text):
    """Whether a text of few numbers is the name of a file that exists."""
    return len(re.findall(NUMBER, text)) < NEVER_A_NAME and os.path.exists(text)


def _refuse_numbers(text, one, estimator, where):
    values, *type_name = text.split("dtype")  # as NumPy and torch print it
    one += '.split("dtype")[0]' if type_name else ""
    numbers = re.findall(NUMBER, values)
    what = (
        f"{estimator}: {where} holds texts of {len(numbers):,} numbers ({shown(text[:40])}...), which are values and "
        "no "
    )
    if "..." in text:
        raise ValueError(
            f"{what}names of files. They are cut short by '...', as NumPy prints long arrays: keep the numbers "
            "themselves, such as array.tolist()."
        )
    dtype = "np.uint8" if all(number.isdigit() and int(number) <= 255 for number in numbers) else "float"
    plain = not set(text) & set(",;|[](){}'\"")
    parts = f"{one}.split()" if plain else rf're.findall(r"[-+.\dEe]*\d[-+.\dEe]*|nan", {one})'
    raise ValueError(
        f"{what}names of files. Pass np.array([{parts} for text in X], dtype={dtype}), where X is that column, and "
        f"input_shape, the shape of one sample{_example_of(len(numbers))}."
    )


def _example_of(n_numbers):
    """Name the square image of so many pixels, if there is one."""
    side = math.isqrt(n_numbers)
    return f", such as ({side}, {side})" if side * side == n_numbers else ""
