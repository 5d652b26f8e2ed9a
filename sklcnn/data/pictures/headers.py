"""The headers of all images of X: read at once, and what they say together."""

import warnings

import numpy as np

from sklcnn.data.pictures.cache import IMAGE_CACHE
from sklcnn.data.pictures.columns import number_formats_error
from sklcnn.data.pictures.errors import naming
from sklcnn.data.pictures.pixels import WHITE_8, WHITE_16
from sklcnn.process import interrupts_wait

HEADERS_PER_TASK = 32


def read_headers(sources, rows, pool):
    """Read the headers of some images.

    Parameters
    ----------
    sources : list of ImageSource
    rows : sequence of int
    pool : concurrent.futures.Executor

    Returns
    -------
    headers : {row: Header}

    Raises
    ------
    ValueError
        If an image cannot be read, naming the first such row.
    """

    def read_some(start):
        return [(row, read_header(row, sources[row])) for row in rows[start : start + HEADERS_PER_TASK]]

    if len(rows) <= HEADERS_PER_TASK:  # a single task gains nothing from a thread
        return dict(read_some(0))
    with interrupts_wait():  # Thread.start makes a KeyError of what a handler raises within it
        parts = pool.map(read_some, range(0, len(rows), HEADERS_PER_TASK))
    return dict(pair for part in parts for pair in part)


def read_header(row, source):
    """Read an image's header, unless another store has read it."""
    with naming(row, source):
        if not source.encoded:
            return source.header()
        key = ("header", source.identity())
        [header] = IMAGE_CACHE.get([key])
        if header is None:
            header = source.header()
            IMAGE_CACHE.put(key, header)
        return header


def find_scale(headers, white, sources):
    """Return the white that every picture is scaled to (None: each keeps its own), and the white of a batch."""
    if any(header.white is None for header in headers.values()):
        if white == WHITE_16 and all(sources[row].array.dtype == np.uint16 for row in headers):
            return None, WHITE_16  # as one array of them is read after a fit on pictures of 16 bits
        return None, WHITE_8 if arrays_are_integer(headers, sources) else 1
    brightest = max(header.white for header in headers.values())
    white = brightest if white == "auto" else white
    return white, white or brightest


def arrays_are_integer(headers, sources):
    """Whether all arrays of some rows are of integers from 0 to 255; floats among them are an error."""
    integer = {row: sources[row].integer for row in headers}
    if len(set(integer.values())) > 1:
        rows = {kind: row for row, kind in reversed(integer.items())}
        raise number_formats_error({row: sources[row].array.dtype for row in rows.values()}, rows[True], rows[False])
    if not all(integer.values()):
        return False
    low, high = extremes_of(headers) or (0, WHITE_8)
    return low >= 0 and high <= WHITE_8


def extremes_of(headers):
    """Return the least and the greatest value of all arrays whose values were looked at; None where none was."""
    seen = [header.extremes for header in headers.values() if header.extremes is not None]
    return (min(low for low, _ in seen), max(high for _, high in seen)) if seen else None


def common_size(headers):
    """Return the height and width that all images share, or name two that differ."""
    first_row, first = next(iter(headers.items()))
    for row, header in headers.items():
        if (header.height, header.width) != (first.height, first.width):
            raise ValueError(
                f"X must hold images of one size unless image_size is set, but row {first_row} has {first.height} x "
                f"{first.width} pixels (height x width) and row {row} has {header.height} x {header.width}. "
                f"Pass image_size, such as image_size=({first.height}, {first.width}); signals are padded or cut first."
            )
    return first.height, first.width


def warn_of_frames(headers, sources):
    """Warn where only the first of several frames is read."""
    rows = [row for row, header in headers.items() if header.frames]
    if not rows:
        return
    others = f" (and so do {len(rows) - 1:,} other rows)" if len(rows) > 1 else ""
    warnings.warn(
        f"X has in row {rows[0]} {sources[rows[0]].name}, which holds several frames{others}: only the first is read. "
        "To use all of them pass arrays: np.stack([np.asarray(frame) for frame in "
        "PIL.ImageSequence.Iterator(PIL.Image.open(path))]) for each row.",
        UserWarning,
        stacklevel=2,
    )
