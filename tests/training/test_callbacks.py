"""Callbacks that end training, and all that an interruption must not change."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.training import (
    Callback,
    CheckpointError,
    Cosine,
    EarlyStopping,
    History,
    ReduceOnPlateau,
    TimeLimit,
    Training,
    accuracy,
    fit,
    minibatches,
)

rng = np.random.default_rng(5)
X = rng.standard_normal((40, 6, 3)).astype(np.float32)
CLASSES = (X.sum(axis=(1, 2)) > 0).astype(int)
WEIGHT = rng.random(40)


def make_model() -> gatewise.Sequential:
    return gatewise.Sequential(
        gatewise.GRU(3, 6, seed=1),
        gatewise.AttentionPool(6, seed=2),
        gatewise.Dropout(0.2, seed=3),
        gatewise.Linear(6, 2, seed=4),
    )


def run(model: Any = None, batches: Any = None, **options: Any) -> History:
    defaults: dict[str, Any] = {
        "epochs": 8,
        "progress": False,
        "metrics": [accuracy],
        "validation": [(X[32:], CLASSES[32:])],
    }
    return fit(
        make_model() if model is None else model,
        minibatches(X[:32], CLASSES[:32], None, WEIGHT[:32], batch_size=8)
        if batches is None
        else batches,
        gatewise.cross_entropy,
        gatewise.Adam(0.02),
        **(defaults | options),
    )


class Recorder(Callback):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_train_begin(self, training: Training) -> None:
        assert not training.history
        assert math.isnan(training.last_loss)
        self.seen.append("begin")

    def on_batch_end(self, training: Training) -> None:
        assert training.last_loss > 0
        self.seen.append(str(training.step))

    def on_epoch_end(self, training: Training) -> None:
        assert isinstance(training.optimizer, gatewise.Adam)
        self.seen.append(f"epoch {training.history[-1].number}")

    def on_train_end(self, training: Training) -> None:
        self.seen.append("end")


def test_they_are_called_in_order(backend: str) -> None:
    recorder, numbers = Recorder(), []

    def note(training: Training) -> None:
        numbers.append((training.history[-1].number, training.step))

    history = run(epochs=2, callbacks=[recorder, note])
    expected = [
        "begin",
        "1",
        "2",
        "3",
        "4",
        "epoch 1",
        "5",
        "6",
        "7",
        "8",
        "epoch 2",
        "end",
    ]
    assert recorder.seen == expected
    assert numbers == [(1, 4), (2, 8)]
    assert history.stopped is None


def test_one_can_stop(capsys: pytest.CaptureFixture[str]) -> None:
    def stop(training: Training) -> None:
        if training.history[-1].number == 3:
            training.stop("three are enough")

    history = run(callbacks=[stop])
    assert len(history) == 3
    assert history.stopped == "three are enough"
    run(callbacks=[stop], progress=True)
    assert "three are enough" in capsys.readouterr().err or "epoch 3" in str(history)


def test_early_stopping_watches_what_it_is_told() -> None:
    # The accuracy on targets turned around can only get worse.
    wrong = [(X[32:], 1 - CLASSES[32:])]
    stopping = EarlyStopping("validation_accuracy", patience=2, mode="max")
    history = run(epochs=50, validation=wrong, callbacks=[stopping])
    values = [epoch.validation_metrics["accuracy"] for epoch in history]
    best = int(np.argmax(values))
    assert len(history) == best + 1 + 2
    assert history.stopped == "no better validation_accuracy for 2 epochs"
    # It forgets what it saw.
    assert len(run(epochs=50, validation=wrong, callbacks=[stopping])) == len(history)
    with pytest.raises(ValueError, match=r"^monitor should be one of loss, accuracy, vali"):
        run(callbacks=[EarlyStopping("f1_score")])


def test_min_delta_is_how_much_better_it_must_be() -> None:
    history = run(epochs=20, callbacks=[EarlyStopping("loss", patience=1, min_delta=100)])
    assert len(history) == 2


def test_a_time_limit_pauses_and_resuming_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    expected = run(epochs=2)
    found = run(epochs=2, checkpoint=path, callbacks=[TimeLimit(0.0)])
    assert not found
    assert found.stopped == "0 seconds are over"
    rounds = 0
    while found.stopped is not None:
        rounds += 1
        found = run(epochs=2, checkpoint=path, resume=True, callbacks=[TimeLimit(0.0)])
    assert rounds == 7
    assert found == expected


class Killed(BaseException):
    pass


class Dying:
    """Batches of which no more than `left` can be had, as if the power went."""

    def __init__(self, batches: Any, left: int) -> None:
        self.batches = self.present = batches
        self.left = left

    def for_epoch(self, number: int) -> Dying:
        self.present = self.batches.for_epoch(number)
        return self

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        if self.left == 0:
            raise Killed
        self.left -= 1
        return self.present[index]


class StopsAfter(Callback):
    """Ends training after so many batches in all, of which it keeps count."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_train_begin(self, training: Training) -> None:
        self.seen = 0

    def on_batch_end(self, training: Training) -> None:
        self.seen += 1
        if self.seen == self.batches:
            training.stop("so many batches")

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen = state["seen"]


def options() -> dict[str, Any]:
    return {
        "schedule": ReduceOnPlateau(0.5, 0, threshold=0.5),
        "callbacks": [EarlyStopping("loss", patience=7, min_delta=0.3), StopsAfter(26)],
        "class_weight": {0: 0.5},
        "metrics": [
            accuracy,
            gatewise.training.f1_score,
            lambda outputs, targets, **o: 1.5,
        ],
        "epochs": 9,
    }


@pytest.mark.parametrize("after", [5, 8, 14])
def test_a_killed_run_ends_as_if_there_was_no_kill(
    tmp_path: Path, after: int, backend: str
) -> None:
    path = tmp_path / "fit.safetensors"
    batches = minibatches(X[:32], CLASSES[:32], None, WEIGHT[:32], batch_size=8)
    whole, model = make_model(), make_model()
    expected = run(whole, batches, **options())
    assert expected.stopped == "so many batches"
    assert len({epoch.learning_rate for epoch in expected}) > 2
    keeping: dict[str, Any] = {"checkpoint": path, "checkpoint_interval": math.inf}
    with pytest.raises(Killed):
        run(
            make_model(),
            Dying(batches, after),
            **options(),
            **(keeping | {"checkpoint_interval": 0.0}),
        )
    found = run(model, batches, **options(), **keeping, resume=True)
    assert found == expected
    assert found.stopped == expected.stopped
    for name, array in whole.state_dict().items():
        np.testing.assert_array_equal(model.parameters()[name], array)
    # Nothing goes on from where it was stopped.
    again = run(make_model(), batches, **options(), **keeping, resume=True)
    assert again == expected
    assert again.stopped == expected.stopped


def test_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    run(epochs=1, checkpoint=path)
    for other, message in (
        ({"metrics": []}, r"metrics should be \['accuracy'\], got \[\]"),
        ({"schedule": Cosine()}, "schedule should be None, got Cosine"),
        ({"callbacks": [TimeLimit(9)]}, r"callbacks should be \[\], got \['TimeLimit'\]"),
    ):
        with pytest.raises(CheckpointError, match=message):
            run(checkpoint=path, resume=True, **other)


def test_class_weights_are_sample_weights_of_training(backend: str) -> None:
    targets = CLASSES[:32]
    weight = np.where(targets == 1, 3.0, 0.5)
    first, second = make_model(), make_model()
    one = run(first, [(X[:32], targets)], class_weight={0: 0.5, 1: 3})
    two = run(second, [(X[:32], targets, None, weight)])
    assert [e.loss for e in one] == [e.loss for e in two]
    assert [e.validation_loss for e in one] == [e.validation_loss for e in two]
    for name, array in first.parameters().items():
        np.testing.assert_array_equal(second.parameters()[name], array)
    # What is said of the metric is not weighted by class.
    plain = run(make_model(), [(X[:32], targets)], epochs=1)
    assert one[0].metrics == plain[0].metrics
    # Of each step, and with the batch's own weights.
    model = gatewise.GRU(3, 2, seed=0)
    steps = np.repeat(targets[:, None], 6, axis=1)
    steps[0, 0] = -100
    settings: dict[str, Any] = {"epochs": 1, "validation": None, "metrics": []}
    found = run(
        model, [(X[:32], steps, None, WEIGHT[:32])], class_weight={1: 2.0}, **settings
    )
    y = gatewise.GRU(3, 2, seed=0)(X[:32])[0]
    expected, _ = gatewise.cross_entropy(
        y, steps, sample_weight=WEIGHT[:32], class_weight=[1, 2]
    )
    assert found[0].loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (
            {"callbacks": TimeLimit(3)},
            TypeError,
            "callbacks should be a list of them, got a",
        ),
        (
            {"callbacks": ["stop"]},
            TypeError,
            r"callbacks\[0\] should be a Callback, or .*'s",
        ),
        (
            {"callbacks": [TimeLimit]},
            TypeError,
            r"callbacks\[0\] should .* class TimeLimit",
        ),
        ({"class_weight": [1, 2]}, TypeError, "class_weight should map classes to numbers"),
        ({"class_weight": "balanced"}, TypeError, "class_weight should map .* 'balanced'"),
        (
            {"class_weight": {"a": 1}},
            TypeError,
            "class_weight should have integers as clas",
        ),
        (
            {"class_weight": {0: -1}},
            ValueError,
            r"class_weight\[0\] should be a finite numb",
        ),
        (
            {"class_weight": {0: "a"}},
            TypeError,
            r"class_weight\[0\] should be a number, got",
        ),
        ({"metrics": accuracy}, TypeError, "metrics should be a list of metrics"),
    ],
)
def test_bad_input_is_refused(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        run(**wrong)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EarlyStopping(3), TypeError, "monitor should be a string, got 3"),
        (
            lambda: EarlyStopping(mode="most"),
            ValueError,
            "mode should be 'min' or 'max', go",
        ),
        (
            lambda: EarlyStopping(patience=0),
            ValueError,
            "patience should be at least 1, got",
        ),
        (
            lambda: EarlyStopping(min_delta=-1),
            ValueError,
            "min_delta should be a finite num",
        ),
        (
            lambda: TimeLimit(-1),
            ValueError,
            "seconds should be a finite number of at least",
        ),
        (
            lambda: EarlyStopping().load_state_dict({"best": "low", "waited": 1}),
            ValueError,
            "callback.best should be a number",
        ),
    ],
)
def test_bad_options_are_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        make()


def test_weights_of_targets_that_are_no_classes_are_refused() -> None:
    with pytest.raises(
        TypeError, match=r"^class_weight should be None for targets that ar"
    ):
        run(
            gatewise.GRU(3, 2),
            [(X, X[..., :2])],
            class_weight={0: 1.0},
            validation=None,
            metrics=[],
        )


def test_the_clock_is_the_calls_own() -> None:
    limit = TimeLimit(30)
    time.sleep(0.01)
    assert run(epochs=1, callbacks=[limit]).stopped is None
