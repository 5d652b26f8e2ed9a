"""How a hyper-parameter is declared: default, constraint and documentation in one annotated line.

Estimators are keyword-only dataclasses that `Parameters.__init_subclass__` completes, so that a subclass needs no
decorator: `name: type = parameter(default, constraint, documentation)` declares a hyper-parameter.
"""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any, dataclass_transform

from sklearn.base import BaseEstimator

from sklcnn.constraints import Constraint


def parameter(default: Any, constraint: Constraint, doc: str) -> Any:
    """Declare one hyper-parameter of an estimator.

    Parameters
    ----------
    default : object
        Immutable, since instances share it.
    constraint : Constraint
        What `fit` accepts.
    doc : str
        Its entry in the numpydoc ``Parameters`` section.
    """
    return dataclasses.field(default=default, metadata={"constraint": constraint, "doc": " ".join(doc.split())})


def declared_parameters(cls: type) -> dict[str, dataclasses.Field]:
    """Map the name of each hyper-parameter of an estimator class to its declaration."""
    return {field.name: field for field in dataclasses.fields(cls) if "constraint" in field.metadata}


def _parameters_section(cls):
    """Write the numpydoc ``Parameters`` section of an estimator class from its declarations."""
    lines = ["Parameters", "----------"]
    for name, field in declared_parameters(cls).items():
        default = field.default.__name__ if isinstance(field.default, type) else repr(field.default)
        lines.append(f"{name} : {field.metadata['constraint']}, default={default}")
        lines += textwrap.wrap(field.metadata["doc"], 100, initial_indent="    ", subsequent_indent="    ")
        lines.append("")
    return textwrap.indent("\n".join(lines[:-1]), "    ").lstrip()


@dataclass_transform(kw_only_default=True, field_specifiers=(parameter, dataclasses.field))
class Parameters(BaseEstimator):
    """The base of every estimator here: hyper-parameters as keyword-only dataclass fields.

    ``{parameters}`` in the docstring of a subclass becomes its numpydoc ``Parameters`` section.
    """

    _doc_link_module = "sklcnn"
    _doc_link_template = "https://sklcnn.readthedocs.io/en/stable/api/sklcnn.{estimator_name}.html"

    def __init_subclass__(cls, **kwargs):
        # A subclass that states its own __init__, as scikit-learn's tutorials do, keeps it: dataclass leaves it alone.
        dataclasses.dataclass(kw_only=True, eq=False, repr=False, init="__init__" not in vars(cls))(cls)
        if cls.__doc__ and "{parameters}" in cls.__doc__:
            cls.__doc__ = cls.__doc__.replace("{parameters}", _parameters_section(cls))
        super().__init_subclass__(**kwargs)

    def _check_parameters(self):
        """Check each hyper-parameter against its declaration.

        Raises
        ------
        TypeError
            If one is of the wrong kind.
        ValueError
            If one has a value that is not allowed.
        """
        for name, field in declared_parameters(type(self)).items():
            field.metadata["constraint"].check(type(self).__name__, name, getattr(self, name))
