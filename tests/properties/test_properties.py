"""Random examples: `fit` and `predict` succeed and what is promised holds, or an error says what is wrong.

`make test` tries a few hundred, the same in every run; `make fuzz` as many as wanted, by a seed that it prints.
"""

import os

import pytest
from hyper_parameters import accepted
from hypothesis import HealthCheck, Phase, given, seed, settings
from invariants import check, fitted_already
from strategies import ESTIMATORS, Case, Samples, cases

from sklcnn.declarations import declared_parameters

PARTS = 4
FIRST_SEED = int(os.environ.get("SKLCNN_FUZZ_SEED", 0))
N_EXAMPLES = int(os.environ.get("SKLCNN_FUZZ_EXAMPLES", 300))
FUZZING = "SKLCNN_FUZZ_SEED" in os.environ
OPTIONS = {
    "max_examples": N_EXAMPLES // PARTS,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
}
if not FUZZING:
    OPTIONS |= {"database": None, "phases": [Phase.generate, Phase.shrink]}


@pytest.fixture(scope="module", autouse=True)
def imported():
    """Import what a first fit does: parts of torch, which set variables of the environment and filters of warnings."""
    fitted_already(Case("classifier", Samples(4, (1,)), "ints"))


@pytest.mark.timeout(0 if FUZZING else 900)
@pytest.mark.parametrize("part", range(PARTS))
def test_fit_and_predict_keep_their_promises_or_say_what_is_wrong(part):
    @seed(FIRST_SEED * PARTS + part)
    @settings(**OPTIONS)
    @given(case=cases())
    def promises_hold(case):
        check(case)

    promises_hold()


WARNED_OF = {
    "a matrix": Case("classifier", Samples(4, (1,), form="matrix"), "ints"),
    "infinity in a nullable table": Case("classifier", Samples(4, (1,), "infinity", form="nullable DataFrame"), "ints"),
    "a score of one class": Case("classifier", Samples(4, (3,)), "ints", {"scoring": "balanced_accuracy"}, n_val=1),
}


@pytest.mark.parametrize("name", WARNED_OF)
def test_what_other_libraries_warn_of_breaks_no_promise(name):
    check(WARNED_OF[name])


@pytest.mark.parametrize("estimator_class", ESTIMATORS.values())
def test_every_hyper_parameter_is_drawn(estimator_class):
    for name, field in declared_parameters(estimator_class).items():
        constraint = field.metadata["constraint"]
        assert not accepted(constraint, name).is_empty, f"hyper_parameters.py has no values for {name}"
