"""The table of layers: what it counts, and how it reads."""

import pickle

import numpy as np
import pandas as pd
import pytest
from torch import nn

from sklcnn import CNNClassifier

X = np.random.RandomState(0).rand(8, 8, 8, 1)
Y = np.arange(8) % 2


def fitted(**params):
    return CNNClassifier(**({"filters": (3, 40), "max_epochs": 1, "random_state": 0} | params)).fit(X, Y)


class Stem(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 3)
        self.again = nn.Conv2d(5, 5, 3)
        self.again.weight = nn.Parameter(self.again.weight.data)
        self.once_more = nn.Conv2d(5, 5, 3)
        self.once_more.weight = self.again.weight

    def forward(self, images):
        return self.once_more(self.again(self.conv(images)))


def test_sums_over_the_rows_are_the_totals():
    cnn = fitted(batch_norm=True)
    table = cnn.summary()
    n = sum(parameter.numel() for parameter in cnn.module_.parameters())
    assert table["parameters"].sum() == table["trainable"].sum() == n
    assert table.attrs == {"parameters": n, "trainable": n}


@pytest.mark.parametrize(("freeze_epochs", "trains"), [(0, True), (1, False)])
def test_a_frozen_backbone_does_not_count_as_trainable(freeze_epochs, trains):
    cnn = fitted(backbone=Stem(), dense_units=(), freeze_epochs=freeze_epochs)
    table = cnn.summary().set_index("layer")
    # A weight that two layers share counts once.
    n_backbone, n_head = 5 * 9 + 5 * 5 * 9 + 3 * 5, 5 * 2 + 2
    assert table.loc["backbone", "type"] == "Stem"
    assert table.loc["backbone", "output shape"] == (5,)
    assert table["parameters"].tolist() == [n_backbone, n_head]
    assert table["trainable"].tolist() == [n_backbone * trains, n_head]
    assert cnn.summary().attrs == {"parameters": n_backbone + n_head, "trainable": n_backbone * trains + n_head}


def test_the_text_has_a_line_a_layer_and_the_totals_below():
    table = fitted().summary()
    lines = repr(table).splitlines()
    assert lines[0].split() == ["layer", "type", "output", "shape", "parameters", "trainable"]
    assert lines[1] == lines[-2] == "-" * len(lines[0])
    for line, row in zip(lines[2:-2], table.itertuples(index=False), strict=True):
        layer, kind, *shape, parameters, trainable = line.split()
        assert (layer, kind, " ".join(shape)) == (*row[:2], str(row[2]))
        assert [int(number.replace(",", "")) for number in (parameters, trainable)] == list(row[3:])
    assert lines[-1].split() == ["total", f"{table.attrs['parameters']:,}", f"{table.attrs['trainable']:,}"]
    assert len({len(line) for line in lines}) == 1  # columns are aligned
    assert len(lines[0]) <= 80


def test_the_page_of_a_notebook_has_the_totals_too():
    table = fitted().summary()
    assert f"{table.attrs['parameters']:,} parameters" in table._repr_html_()
    assert table._repr_html_().count("<tr") == 1 + len(table)


def test_parts_and_changed_tables_are_plain():
    table = fitted().summary()
    assert type(table.head(2)) is type(table[["layer"]]) is type(table.copy()) is pd.DataFrame
    table["share"] = table["parameters"] / table["parameters"].sum()
    assert "total" not in repr(table) and "total" not in (table._repr_html_() or "")


class Recurrent(nn.GRU):
    """Returns its states, too, as recurrent layers do."""

    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out, batch_first=True)

    def forward(self, maps):
        return super().forward(maps.flatten(2).movedim(1, -1))


class FirstOf(nn.Module):
    def forward(self, outputs):
        return outputs[0].movedim(-1, 1)[..., None]


def test_of_several_outputs_the_first_has_the_shape():
    block = lambda n_in, n_out, kernel, n_axes: nn.Sequential(Recurrent(n_in, n_out), FirstOf())  # noqa: E731
    table = fitted(filters=3, block=block).summary().set_index("layer")
    assert table.loc["block1.body.0", "output shape"] == (64, 3)


@pytest.mark.parametrize("block", ["plain", "residual", "inception"])
@pytest.mark.parametrize("n_filters", [1, 3, 4])
def test_only_layers_that_run_are_listed(block, n_filters):
    table = fitted(filters=n_filters, block=block, batch_norm=True).summary()
    assert table["layer"].iloc[0] == "standardize"
    assert all(table["output shape"])


def test_a_table_outlives_a_pickle():
    table = fitted().summary()
    assert repr(pickle.loads(pickle.dumps(table))) == repr(table)


def test_a_summary_leaves_the_network_as_it_was():
    cnn = fitted(batch_norm=True, dropout=0.5)
    before = [value.clone() for value in cnn.module_.state_dict().values()]
    for mode in (True, False):
        cnn.module_.train(mode)
        cnn.summary()
        assert all(layer.training == mode for layer in cnn.module_.modules())
    assert all(np.array_equal(a, b) for a, b in zip(before, cnn.module_.state_dict().values(), strict=True))
    assert all(not layer._forward_hooks for layer in cnn.module_.modules())
