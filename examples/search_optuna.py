"""Search with Optuna: trials that fall behind are stopped after an epoch, and what mattered is drawn.

Run it with ``python examples/search_optuna.py`` (``pip install optuna matplotlib``); with ``--trials 5`` it is shorter.
"""

import argparse

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback

from sklcnn import CNNClassifier


class TellEpochs(Callback):
    """Tell a function each epoch's validation score."""

    def __init__(self, tell):
        self.tell = tell

    def on_epoch_end(self, net, **kwargs):
        row = net.history[-1]
        self.tell(row["val_score"], row["epoch"])


def pruning(trial):
    """Make a callback that stops the fit where Optuna says that the trial is hopeless.

    `TrialPruned` is an exception: the fit ends with it, and Optuna catches it and notes the trial as pruned. Callbacks
    are copied before a fit. A function is not: so it is one that holds the trial, which belongs to its study.
    """

    def tell(score, epoch):
        trial.report(score, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned(f"after epoch {epoch}")

    return TellEpochs(tell)


def make_network(trial, max_epochs):
    """Draw the hyper-parameters of a trial."""
    n_blocks = trial.suggest_int("n_blocks", 1, 2)
    first = trial.suggest_categorical("first_filters", [4, 8, 16])
    return CNNClassifier(
        input_shape=(8, 8),
        filters=tuple(first * 2**i for i in range(n_blocks)),
        dropout=trial.suggest_float("dropout", 0.0, 0.6),
        batch_norm=trial.suggest_categorical("batch_norm", [False, True]),
        learning_rate=trial.suggest_float("learning_rate", 1e-4, 3e-2, log=True),
        max_epochs=max_epochs,
        random_state=0,
        callbacks=[pruning(trial)],
    )


def draw_importances(study, path):
    """Draw which share of the differences between trials each hyper-parameter explains."""
    importances = optuna.importance.get_param_importances(study)
    figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
    ax.barh(list(importances)[::-1], list(importances.values())[::-1])
    ax.set_xlabel("share of the variance of the score")
    figure.savefig(path)
    plt.close(figure)
    return importances


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--picture", default="importances.png")
    options = parser.parse_args(arguments)

    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=300, stratify=y, random_state=0)
    X, X_val, y, y_val = train_test_split(X, y, test_size=300, stratify=y, random_state=0)

    def objective(trial):
        cnn = make_network(trial, options.epochs).fit(X, y, X_val=X_val, y_val=y_val)
        return cnn.history_["val_score"].iloc[-1]

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0), pruner=pruner)
    study.optimize(objective, n_trials=options.trials)

    pruned = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.PRUNED]
    print(f"{len(study.trials)} trials, {len(pruned)} of them stopped early; the best: {study.best_params}")
    best = make_network(optuna.trial.FixedTrial(study.best_params), options.epochs).set_params(callbacks=None)
    print(f"accuracy on the test rows: {best.fit(X, y).score(X_test, y_test):.3f}")
    for name, share in draw_importances(study, options.picture).items():
        print(f"{name:14} {share:.2f}")
    return study


if __name__ == "__main__":
    main()
