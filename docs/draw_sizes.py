"""Draw the arithmetic of sizes for the guide: `python docs/draw_sizes.py` writes two pictures into docs/_static.

The numbers in them are computed by the formulas that the guide gives; tests/test_docs.py holds them against networks,
and the files against this script.
"""

from pathlib import Path

STATIC = Path(__file__).parent / "_static"
WIDTH = 600
INK, LINE, PADDING, FIRST, SECOND = "#222222", "#b0b0b0", "#ececec", "#e66101", "#5e3c99"

# What each panel says, size n, kernel k, padding p on each side, stride s.
PANELS = (
    ('padding="valid"', 7, 3, 0, 1),
    ('padding="same"', 7, 3, 1, 1),
    ("stride=2", 7, 3, 1, 2),
    ("pool_size=2", 7, 2, 0, 2),
)
# What each layer of the default network is called, kernel, stride.
LAYERS = (("convolution, kernel 3", 3, 1), ("pooling 2", 2, 2), ("convolution, kernel 3", 3, 1), ("pooling 2", 2, 2))


def count_places(n, k, p, s):
    """Count the places of a kernel of k that moves by s over n pixels with p zeros on each side."""
    return (n + 2 * p - k) // s + 1


def receptive_fields(layers):
    """List how many pixels one position sees after each layer: it adds k - 1 steps of all strides before it."""
    seen, step, fields = 1, 1, []
    for _, k, s in layers:
        seen += (k - 1) * step
        step *= s
        fields.append(seen)
    return fields


def rectangle(x, y, width, height, fill="white", stroke=LINE, more=""):
    """Make an SVG rectangle."""
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}" stroke="{stroke}"{more}/>'


def text(x, y, words, size=17, more=""):
    """Make a line of SVG text."""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{INK}"{more}>{words}</text>'


def grid(x, y, cell, rows, columns, fill):
    """Draw cells; `fill(row, column)` says in which colour."""
    return [
        rectangle(x + cell * column, y + cell * row, cell, cell, fill(row, column))
        for row in range(rows)
        for column in range(columns)
    ]


def frame(x, y, size, colour):
    """Make a square frame: where a kernel stands."""
    return rectangle(x, y, size, size, "none", colour, ' stroke-width="3"')


def picture(height, parts, described):
    """Put parts on a white ground, so that they are read on dark pages too."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{described}" font-family="Helvetica, Arial, sans-serif">'
    )
    return "\n".join([head, rectangle(0, 0, WIDTH, height, stroke="none"), *parts, "</svg>"]) + "\n"


def panel(x, y, title, n, k, p, s, cell=16):
    """Draw pixels with two places of a kernel on the left, and on the right what it makes of each place."""
    title = title.replace('"', "&quot;")
    padded, places = n + 2 * p, count_places(n, k, p, s)
    right, middle = x + 9 * cell + 28, y + 24 + 9 * cell / 2
    left_y, right_y = middle - padded * cell / 2, middle - places * cell / 2

    def is_padding(row, column):
        return not (p <= row < n + p and p <= column < n + p)

    results = {(0, 0): FIRST, (0, 1): SECOND}
    return [
        text(x, y + 14, title, more=' font-weight="bold"'),
        *grid(x, left_y, cell, padded, padded, lambda *place: PADDING if is_padding(*place) else "white"),
        frame(x + s * cell, left_y, k * cell, SECOND),
        frame(x, left_y, k * cell, FIRST),
        text(right - 25, middle + 6, "&#8594;", 22),
        *grid(right, right_y, cell, places, places, lambda *place: results.get(place, "white")),
        text(x, y + 24 + 9 * cell + 20, f"({n} + 2·{p} - {k}) // {s} + 1 = {places}"),
    ]


def draw_sizes():
    """Draw padding, stride and pooling, a panel each."""
    parts = []
    for number, values in enumerate(PANELS):
        parts += panel(16 + 296 * (number % 2), 12 + 212 * (number // 2), *values)
    return picture(430, parts, "Places of a kernel in seven pixels: padding, stride and pooling")


def layer_row(y, title, n, seen, colour, width=560):
    """Draw one layer of a signal, with the positions of `seen` in colour."""
    cell = width / n
    cells = [
        rectangle(round(20 + cell * place, 2), y + 8, cell, 24, colour if place in seen else "white")
        for place in range(n)
    ]
    return [text(20, y, title), *cells]


def draw_receptive_field(n=20, place=2):
    """Draw what one position after two blocks of convolution and pooling sees of n pixels, from there downwards."""
    sizes, seen, shown = [n], [], range(place, place + 1)
    for _, _, s in LAYERS:
        sizes.append(sizes[-1] // s)
    for _, k, s in reversed(LAYERS):
        seen.append(shown)
        before = (k - 1) // 2  # "same" padding: a kernel of 3 stands on the position before, too
        shown = range(shown.start * s - before, shown[-1] * s - before + k)
    seen.append(shown)
    fields = receptive_fields(LAYERS)
    rows = [
        (f"{name}: each position sees {field} pixels", size, places, FIRST)
        for (name, _, _), field, size, places in zip(LAYERS, fields, sizes[1:], reversed(seen[:-1]), strict=True)
    ]
    rows = [*reversed(rows), (f"{n} pixels, {len(shown)} of them seen", n, shown, SECOND)]
    parts = [part for number, row in enumerate(rows) for part in layer_row(24 + 62 * number, *row)]
    return picture(24 + 62 * len(rows) - 18, parts, "The pixels that one position after two blocks sees")


PICTURES = {"sizes.svg": draw_sizes, "receptive_field.svg": draw_receptive_field}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (STATIC / name).write_text(draw(), encoding="utf-8")
