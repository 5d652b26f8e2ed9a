"""Random examples: `fit` and `predict` succeed and what is promised holds, or an error says what is wrong.

`make test` tries a few hundred, the same in every run; `make fuzz` as many as wanted, by a seed that it prints.
"""

import os

import pytest
from hyper_parameters import accepted
from hypothesis import HealthCheck, Phase, given, seed, settings
from invariants import check
from strategies import ESTIMATORS, cases

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


@pytest.mark.timeout(0 if FUZZING else 900)
@pytest.mark.parametrize("part", range(PARTS))
def test_fit_and_predict_keep_their_promises_or_say_what_is_wrong(part):
    @seed(FIRST_SEED * PARTS + part)
    @settings(**OPTIONS)
    @given(case=cases())
    def promises_hold(case):
        check(case)

    promises_hold()


@pytest.mark.parametrize("estimator_class", ESTIMATORS.values())
def test_every_hyper_parameter_is_drawn(estimator_class):
    for name, field in declared_parameters(estimator_class).items():
        constraint = field.metadata["constraint"]
        assert not accepted(constraint, name).is_empty, f"hyper_parameters.py has no values for {name}"
