"""The rooms of docs/architecture.md: which may import from which, and how long their modules may be."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sklcnn"
LONGEST = {"module": 400, "function": 60, "class": 250}  # lines; of a function, without its docstring

# What is still too long, and its lines today. Entries may only shrink; one that is no longer needed is to be removed.
TOO_LONG = {}


@cache
def parse(path):
    return ast.parse(path.read_text())


@cache
def list_rooms():
    """Read the list of rooms from top to bottom: {name of a module or folder: what is said of it}."""
    listed = (ROOT / "docs" / "architecture.md").read_text().partition("```\nsklcnn/\n")[2].partition("\n```")[0]
    entries = re.split(r"^  (?=\S)", listed, flags=re.M)[1:]
    return {name.rstrip("/"): text for name, text in (entry.split(maxsplit=1) for entry in entries)}


def room_of(path):
    """Name the room of a file: its folder in the package, or the file itself."""
    return path.relative_to(PACKAGE).parts[0]


def imports_of(tree):
    """List the modules that are imported at any time but for type checking: early, or inside a function."""
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of_import(module):
    """Name the room that an import of "sklcnn.data.reading" leads to, "data"; None for another library's."""
    first, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    if first != "sklcnn" or not name:
        return None
    if (PACKAGE / name).is_dir():
        return name
    return f"{name}.py" if (PACKAGE / f"{name}.py").is_file() else None


FILES = sorted(PACKAGE.rglob("*.py"))
files = pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])


@files
def test_a_module_imports_from_rooms_below_its_own(path):
    order = list(list_rooms())
    own = order.index(room_of(path))
    for module in imports_of(parse(path)):
        room = room_of_import(module)
        if room is not None and room != room_of(path):
            assert order.index(room) > own, f"{room_of(path)} stands below {room}, but imports {module}"


def test_every_room_is_listed_and_every_module_that_is_named_is_there():
    rooms = list_rooms()
    there = {room_of(path) for path in FILES}
    assert set(rooms) == there
    for room, text in rooms.items():
        for name in re.findall(r"\b\w+\.py\b", text):
            assert any((PACKAGE / room).rglob(name)), f"{room} has no {name}"


@pytest.mark.parametrize(
    "library, room", [("skorch", "training"), ("captum", "inspection"), ("matplotlib", "inspection")]
)
def test_one_room_alone_imports_a_library(library, room):
    importing = {
        room_of(path)
        for path in FILES
        if any(module.partition(".")[0] == library for module in imports_of(parse(path)))
    }
    assert importing == {room}


def n_lines(node):
    return node.end_lineno - node.lineno + 1


def lengths_of(path):
    """List what a file holds, as (kind, name, lines): itself, its functions and classes."""
    yield "module", "", len(path.read_text().splitlines())

    def inside(node, prefix):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                docstring = n_lines(child.body[0]) if ast.get_docstring(child) else 0
                yield "function", prefix + child.name, n_lines(child) - docstring
            elif isinstance(child, ast.ClassDef):
                yield "class", prefix + child.name, n_lines(child)
            named = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            yield from inside(child, f"{prefix}{child.name}." if named else prefix)

    yield from inside(parse(path), "")


def find_too_long():
    return {
        f"{path.relative_to(PACKAGE)}" + f": {kind} {name}" * bool(name): lines
        for path in FILES
        for kind, name, lines in lengths_of(path)
        if lines > LONGEST[kind]
    }


def test_modules_functions_and_classes_are_short():
    found = find_too_long()
    grown = {name: lines for name, lines in found.items() if lines > TOO_LONG.get(name, 0)}
    assert not grown, f"too long; split them: {grown}"
    mended = sorted(TOO_LONG.keys() - found.keys())
    assert not mended, f"no longer too long; remove them from TOO_LONG: {mended}"


PLACES = re.findall(
    r"\b(?:data|fitting|inspection|network|tasks|training)/[\w/]*(?:\.py)?",
    (ROOT / "docs" / "architecture.md").read_text(),
)


@pytest.mark.parametrize("place", sorted(set(PLACES)))
def test_every_place_that_the_page_names_is_there(place):
    assert (PACKAGE / place).exists() or (PACKAGE / f"{place}.py").is_file()
