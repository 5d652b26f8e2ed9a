"""Accuracy at the defaults.

What one gets without tuning; `random_state=0` throughout. The FCN is that of Wang et al., *Time Series Classification
from Scratch with Deep Neural Networks* (2017), on the synthetic signals of Greydanus and Kobak, *Scaling Down Deep
Learning with MNIST-1D* (2024), who report 0.94 for a CNN.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.svm import SVC

from benchmarks.datasets import fashion_mnist
from benchmarks.timing import seconds, table
from sklcnn import CNNClassifier

FCN = {
    "filters": (128, 256, 128),
    "kernel_size": (8, 5, 3),
    "batch_norm": True,
    "pooling": None,
    "global_pooling": "avg",
    "dense_units": (),
}
SMALL = (50, 100, 200, 300)


def measure(quick):
    """Measure accuracies, and return a table of them and one for few rows."""
    rows = [digits(quick), *clothes(quick), signals(quick)]
    return "\n\n".join(
        [table(["", "accuracy", "epochs", "seconds"], rows), table(FEW_ROWS_HEAD, [few_rows(n) for n in few(quick)])]
    )


def digits(quick):
    """Cross-validate on scikit-learn's digits."""
    pixels, labels = load_digits(return_X_y=True)
    if quick:
        pixels, labels = pixels[:200], labels[:200]
    cnn = CNNClassifier(input_shape=(8, 8), random_state=0)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = []
    took = seconds(lambda: scores.extend(cross_val_score(cnn, pixels, labels, cv=folds)))
    accuracy = f"{np.mean(scores):.4f} ({min(scores):.4f} to {max(scores):.4f})"
    return ["digits, 5 folds", accuracy, "", f"{took:.0f}"]


def clothes(quick):
    """Train on Fashion-MNIST: four epochs; with early stopping; and as many epochs without it."""
    try:
        (images, labels), test = fashion_mnist("train"), fashion_mnist("test")
    except (OSError, RuntimeError) as error:
        return [["Fashion-MNIST", f"not to be had: {error}", "", ""]]
    if quick:
        images, labels = images[:500], labels[:500]
    n_few = 1 if quick else 4

    def row(title, **parameters):
        cnn = CNNClassifier(random_state=0, **parameters)
        took = seconds(cnn.fit, images, labels)
        return [title, f"{cnn.score(*test):.4f}", cnn.n_iter_, f"{took:.0f}"]

    limit = {"max_epochs": 2} if quick else {}
    stopped = row("Fashion-MNIST, early_stopping=True", early_stopping=True, **limit)
    return [
        row(f"Fashion-MNIST, max_epochs={n_few}", max_epochs=n_few),
        stopped,
        row("Fashion-MNIST, as many epochs without early stopping", max_epochs=stopped[2]),
    ]


def signals(quick):
    """Train the FCN on MNIST-1D: 4,000 signals of length 40."""
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError:
        return ["FCN on MNIST-1D", "not measured: mnist1d is not installed", "", ""]
    arguments = get_dataset_args()
    arguments.num_samples = 200 if quick else arguments.num_samples
    data = make_dataset(arguments)
    cnn = CNNClassifier(**FCN, max_epochs=1 if quick else "auto", random_state=0)
    took = seconds(cnn.fit, data["x"], data["y"])
    return ["FCN on MNIST-1D", f"{cnn.score(data['x_test'], data['y_test']):.4f}", cnn.n_iter_, f"{took:.0f}"]


FEW_ROWS_HEAD = ["rows of digits", "accuracy on the others", "while training, last epoch", "epochs", "seconds", "SVC"]


def few(quick):
    return SMALL[:1] if quick else SMALL


def few_rows(n_rows):
    """Train on few digits and score on the others, beside a support vector machine at its defaults."""
    pixels, labels = load_digits(return_X_y=True)
    train_pixels, test_pixels, train_labels, test_labels = train_test_split(
        pixels, labels, train_size=n_rows, stratify=labels, random_state=0
    )
    cnn = CNNClassifier(input_shape=(8, 8), random_state=0)
    took = seconds(cnn.fit, train_pixels, train_labels)
    svc = SVC().fit(train_pixels, train_labels)
    return [
        n_rows,
        f"{cnn.score(test_pixels, test_labels):.4f}",
        f"{cnn.history_['train_score'].iloc[-1]:.4f}",
        cnn.n_iter_,
        f"{took:.1f}",
        f"{svc.score(test_pixels, test_labels):.4f}",
    ]
