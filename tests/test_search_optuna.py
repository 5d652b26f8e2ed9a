"""The example of a search by Optuna: trials end by epoch, and what mattered is drawn."""

import runpy
from pathlib import Path

import optuna
import pytest

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "search_optuna.py"))


def test_the_example_searches_and_draws_what_mattered(tmp_path, capsys):
    picture = tmp_path / "importances.png"
    study = EXAMPLE["main"](["--trials", "4", "--epochs", "2", "--picture", str(picture)])
    assert [sorted(trial.intermediate_values) for trial in study.trials[:3]] == [[1, 2]] * 3
    assert picture.stat().st_size > 0
    assert "4 trials" in capsys.readouterr().out


def test_a_hopeless_trial_ends_after_its_epoch_and_leaves_no_fit(digits):
    X, y = digits
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.ThresholdPruner(lower=2.0))
    networks = []

    def objective(trial):
        networks.append(EXAMPLE["make_network"](trial, 5))
        return networks[-1].fit(X, y, X_val=X, y_val=y).score(X, y)

    study.optimize(objective, n_trials=1)
    (trial,) = study.trials
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert list(trial.intermediate_values) == [1]
    with pytest.raises(AttributeError):
        _ = networks[0].history_
