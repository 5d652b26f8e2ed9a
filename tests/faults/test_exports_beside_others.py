"""Laws of exports beside other threads and under signals: all give what they give alone, and leave nothing behind."""

import logging
import os
import signal
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch
from ending import ended
from injection import handled, process_state
from skorch.callbacks import Callback
from test_interrupted_lines import assert_nothing_lost

from sklcnn import CNNClassifier, export_onnx
from sklcnn.deploy.extras import has_right_exporter
from sklcnn.deploy.graph import graph_of
from sklcnn.process import warnings_hidden
from sklcnn.training.turns import turn_if_free

pytestmark = pytest.mark.skipif(not has_right_exporter(), reason="PyTorch before 2.9 cannot export every network")
X, LABELS = np.random.RandomState(0).rand(24, 6).astype("float32"), np.arange(24) % 3
TINY = {"filters": 2, "dense_units": (), "max_epochs": 2, "batch_size": 8, "dropout": 0.3}
TRACE = torch.onnx.export


def fit(seed=0, **params):
    return CNNClassifier(**TINY | params, random_state=seed).fit(X, LABELS)


def predict(seed=0, **params):
    return fit(seed, **params).predict_proba(X)


@pytest.fixture(scope="module")
def cnn():
    return fit()


@pytest.fixture(scope="module")
def expected(cnn, tmp_path_factory):
    """What is in its file."""
    return content(export_onnx(cnn, tmp_path_factory.mktemp("alone") / "network.onnx"))


def content(path):
    model = onnx.load(path)
    model.graph.name = ""  # skl2onnx draws it
    return model


def state():
    """What tracing changes for all threads."""
    names = ("torch.onnx", "torch.export", "torch._dynamo", "onnxscript")
    return {
        **process_state(),
        "prints": sys.stdout,
        "logs": [logging.getLogger(name).level for name in names],
        "flags": (torch.compiler.is_compiling(), torch.compiler.is_exporting()),
        "modules": (torch.nn.Module.__call__, torch.nn.Module.__getattr__),
        "handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)],
    }


def is_turn_free():
    """Whether another thread could begin a fit."""

    def look():
        with turn_if_free() as is_free:
            return is_free

    return ended(look)


def trace_none(before, monkeypatch):
    """Let torch fail where it would trace a network, after a function has been called."""

    def export(*args, **kwargs):
        before()
        raise RuntimeError("no")

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(ValueError, match="torch cannot export the network to ONNX: RuntimeError: no"):
        graph_of(torch.nn.Identity(), torch.zeros(2, 3), [0], ["y"], 18)


def while_tracing(monkeypatch, before, after=lambda: None):
    """Call a function when torch is about to trace a network, and another once it has."""

    def export(*args, **kwargs):
        before()
        traced = TRACE(*args, **kwargs)
        after()
        return traced

    monkeypatch.setattr(torch.onnx, "export", export)


def test_a_fit_beside_an_export_waits_and_has_the_bits_that_it_has_alone(cnn, expected, tmp_path, monkeypatch):
    alone, found, n_ended = predict(1), [], []
    thread = threading.Thread(target=lambda: found.append(predict(1)))
    while_tracing(monkeypatch, thread.start, lambda: n_ended.append(len(found)))
    assert content(export_onnx(cnn, tmp_path / "network.onnx")) == expected
    thread.join()
    assert n_ended == [0]
    np.testing.assert_array_equal(found[0], alone)


def test_exports_at_once_give_the_files_that_each_gives_alone_and_leave_nothing_behind(
    cnn, expected, tmp_path, monkeypatch
):
    inside, most = [], []
    while_tracing(monkeypatch, lambda: (inside.append(0), most.append(len(inside))), inside.pop)
    before = state()
    with ThreadPoolExecutor(2) as pool:
        for path in pool.map(lambda name: export_onnx(cnn, tmp_path / name), ["a.onnx", "b.onnx"]):
            assert content(path) == expected
    assert most == [1, 1]
    assert state() == before
    np.testing.assert_array_equal(predict(), cnn.predict_proba(X))


@pytest.mark.slow
def test_what_other_threads_print_and_warn_of_during_an_export_is_seen(cnn, tmp_path, monkeypatch, capsys):
    seen = []

    def tell():
        print("printed")
        try:
            warnings.warn("of another thread", UserWarning, stacklevel=1)
        except UserWarning as warning:  # the tests make errors of warnings
            seen.append(str(warning))

    def in_thread():
        thread = threading.Thread(target=tell)
        thread.start()
        thread.join()

    while_tracing(monkeypatch, in_thread)
    export_onnx(cnn, tmp_path / "network.onnx")
    assert capsys.readouterr().out == "printed\n"
    assert seen == ["of another thread"]


@pytest.mark.slow
@pytest.mark.parametrize("in_thread", [False, True])
def test_an_export_within_a_fits_callback_ends_and_changes_no_bit(cnn, expected, tmp_path, in_thread):
    files = []

    class Exports(Callback):
        def on_train_begin(self, net, **kwargs):
            call = ended if in_thread else lambda function, *arguments: function(*arguments)
            files.append(content(call(export_onnx, cnn, tmp_path / "network.onnx")))

    np.testing.assert_array_equal(ended(lambda: predict(1, callbacks=[Exports])), predict(1))
    assert files == [expected]


@pytest.mark.slow
def test_an_export_within_a_callback_waits_for_a_fit_that_has_borrowed_the_turn(cnn, tmp_path, monkeypatch):
    begun, order = threading.Event(), []

    class Inner(Callback):
        def on_train_begin(self, net, **kwargs):
            begun.set()

        def on_train_end(self, net, **kwargs):
            order.append("fitted")

    class Exports(Callback):
        def on_train_begin(self, net, **kwargs):
            thread = threading.Thread(target=predict, args=(1,), kwargs={"callbacks": [Inner], "max_epochs": 20})
            thread.start()
            begun.wait()
            export_onnx(cnn, tmp_path / "network.onnx")
            thread.join()

    while_tracing(monkeypatch, lambda: order.append("traces"))
    np.testing.assert_array_equal(ended(lambda: predict(2, callbacks=[Exports])), predict(2))
    assert order == ["fitted", "traces"]


def test_an_export_lends_its_turn_to_none_even_where_it_waits(monkeypatch):
    """A callback that waits for a thread lends the turn; torch, which may wait for one too, must not."""
    found = []
    thread = threading.Thread(target=lambda: found.append(predict(1)))

    def wait():
        thread.start()
        thread.join(0.4)
        assert not found

    trace_none(wait, monkeypatch)
    thread.join()
    np.testing.assert_array_equal(found[0], predict(1))


def send(number=signal.SIGINT):
    os.kill(os.getpid(), number)


def test_an_interrupt_while_torch_traces_is_raised_once_it_has_and_leaves_nothing(cnn, tmp_path, monkeypatch):
    done, before = [], state()
    while_tracing(monkeypatch, send, lambda: done.append(1))
    with handled(signal.SIGINT, signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        export_onnx(cnn, tmp_path / "network.onnx")
    assert done == [1]
    assert state() == before
    assert is_turn_free()
    assert not list(tmp_path.iterdir())


def test_an_interrupt_is_raised_where_torch_fails_too(monkeypatch):
    before = state()
    with handled(signal.SIGINT, signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        trace_none(send, monkeypatch)
    assert state() == before
    assert is_turn_free()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGALRM])
def test_the_users_own_handlers_are_called_after_the_tracing_as_often_as_signals_came(number, monkeypatch):
    called = []

    def trace():
        send(number)
        send(number)
        called.append("traced")

    with handled(number, lambda number, frame: called.append(number)):
        trace_none(trace, monkeypatch)
    assert called == ["traced", number, number]


def test_no_signal_is_lost_where_the_handler_of_another_raises(monkeypatch):
    called = []
    with (
        handled(signal.SIGINT, signal.default_int_handler),
        handled(signal.SIGTERM, lambda number, frame: called.append(number)),
        pytest.raises(KeyboardInterrupt),
    ):
        trace_none(lambda: (send(signal.SIGINT), send(signal.SIGTERM)), monkeypatch)
    assert called == [signal.SIGTERM]


def test_an_interrupt_on_any_line_around_the_tracing_loses_nothing(monkeypatch):
    """In another thread than the main one, where none is held back."""
    files = ("deploy/graph.py", "process.py", "training/modes.py", "training/turns.py")
    n_injected = assert_nothing_lost(lambda: trace_none(lambda: None, monkeypatch), lambda line: line[0] in files)
    assert n_injected > 50


def test_signals_that_the_user_ignores_stay_ignored(monkeypatch):
    with handled(signal.SIGINT, signal.SIG_IGN):
        trace_none(send, monkeypatch)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_threads_that_hide_warnings_at_once_leave_the_filters_as_they_were():
    """Of two blocks of `warnings.catch_warnings`, the one that ends last would leave those of the other behind."""
    before, inside, left = list(warnings.filters), threading.Event(), threading.Event()

    def first():
        with warnings_hidden():
            inside.set()
            left.wait()

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with warnings_hidden(FutureWarning):
        left.set()
        thread.join()
        warnings.warn("hidden", FutureWarning, stacklevel=1)
        with pytest.raises(UserWarning, match="seen"):
            warnings.warn("seen", UserWarning, stacklevel=1)
    assert warnings.filters == before
