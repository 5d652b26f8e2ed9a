"""The docstrings of public names follow numpydoc; their examples are run by --doctest-modules."""

import importlib
import inspect

import pytest
from numpydoc.validate import validate

import sklcnn
import sklcnn.inspection

NAMES = [
    *(f"sklcnn.{name}" for name in sklcnn.__all__ if name != "TRUSTED_TYPES"),
    *(f"sklcnn.inspection.{name}" for name in sklcnn.inspection.__all__),
]
NOT_ASKED_FOR = {
    "ES01": "a summary of one line may say it all",
    "SA01": "the pages of the site lead from one name to the next",
    "RT02": "what is returned has a name, as in scikit-learn",
}
OF_NAMES_ALONE = {"EX01": "the example of a class shows its methods"}


def find(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def methods(name):
    """List the public methods and properties of a class that are this package's own; attributes end in `_`."""
    cls = find(name)
    if not inspect.isclass(cls):
        return []
    written_here = [base for base in cls.__mro__ if base.__module__.startswith("sklcnn")]
    found = {attribute for base in written_here for attribute, value in vars(base).items() if has_docstring(value)}
    return [
        f"{name}.{attribute}"
        for attribute in sorted(found)
        if not attribute.startswith(("_", "set_", "onnx_")) and not attribute.endswith("_")
    ]


def has_docstring(value):
    return callable(value) or isinstance(value, (property, classmethod))


def problems(name, without):
    return [(code, what) for code, what in validate(name)["errors"] if code not in without]


@pytest.mark.parametrize("name", NAMES)
def test_numpydoc_finds_nothing_wrong_with_the_docstring_of_a_public_name(name):
    assert problems(name, NOT_ASKED_FOR) == []


@pytest.mark.parametrize("name", [method for name in NAMES for method in methods(name)])
def test_numpydoc_finds_nothing_wrong_with_the_docstring_of_a_method(name):
    assert problems(name, NOT_ASKED_FOR | OF_NAMES_ALONE) == []
