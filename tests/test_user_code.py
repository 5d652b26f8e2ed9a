"""Laws of code of the user's, defined in a script or notebook: estimators that hold it pass between processes."""

import subprocess
import sys

import pytest

SCRIPT = """
import copy, warnings
import cloudpickle, numpy as np, torch
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.model_selection import cross_validate
from skorch.callbacks import Callback
from torch import nn
from sklcnn import CNNClassifier


def focal(outputs, targets):
    log_p = outputs.log_softmax(1)
    return -(targets * (1 - log_p.exp()) ** 2 * log_p).sum(1)


class Squared(nn.Module):
    def forward(self, values):
        return values.relu().square()


class OwnAdam(torch.optim.Adam):
    pass


class Counter(Callback):
    def on_epoch_end(self, net, **kwargs):
        net.history.record("counted", 1.0)


def small_backbone(sample_shape):
    return nn.Sequential(nn.Conv2d(sample_shape[0], 4, 3), Squared(), nn.Flatten())


def negative_loss(estimator, X, y):
    return estimator.score(X, y)


def swap(images):
    return images.flip(-1)


OWN = {
    "loss": {"loss": focal},
    "activation": {"activation": Squared},
    "optimizer": {"optimizer": OwnAdam},
    "callback": {"callbacks": [Counter()]},
    "factory": {"backbone": small_backbone},
    "module": {"backbone": small_backbone((1,))},
    "scorer": {"scoring": negative_loss, "early_stopping": True},
    "augmentation": {"augmentation": swap},
}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    random = np.random.RandomState(0)
    X, y = random.rand(60, 8, 8), np.arange(60) % 3
    for name, own in OWN.items():
        cnn = CNNClassifier(filters=2, dense_units=(), max_epochs=1, random_state=0, **own)
        found = cross_validate(cnn, X, y, n_jobs=2, cv=2, return_estimator=True, error_score="raise")
        expected = cross_validate(cnn, X, y, cv=2, return_estimator=True, error_score="raise")
        for one, other in zip(found["estimator"], expected["estimator"]):
            again = cloudpickle.loads(cloudpickle.dumps(one))
            np.testing.assert_allclose(again.predict_proba(X), other.predict_proba(X), rtol=0, atol=1e-6)
            np.testing.assert_array_equal(copy.deepcopy(one).predict_proba(X), one.predict_proba(X))
    X = X.reshape(60, -1)
    flat = CNNClassifier(input_shape=(8, 8), filters=2, max_epochs=1, random_state=0, loss=focal, activation=Squared)
    assert BaggingClassifier(flat, n_estimators=2, n_jobs=2, random_state=0).fit(X, y).predict(X).shape == (60,)
    voting = VotingClassifier([("one", flat), ("two", flat)], n_jobs=2, voting="soft").fit(X, y)
    assert voting.predict_proba(X).shape == (60, 3)
    print("passed")
"""


@pytest.mark.slow
def test_an_estimator_with_code_of_a_script_comes_back_from_worker_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "passed", done.stderr
