"""Code as users annotate it: `.ci/check-types` reads it, and `test_types.py` runs it.

What is marked to be ignored has to be an error, or the mark is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gatewise
from gatewise.layers import Call
from gatewise.training import (
    Callback,
    CheckpointError,
    EarlyStopping,
    Epoch,
    History,
    JoinedSequences,
    Loss,
    Metric,
    Minibatches,
    Optimizer,
    Training,
    WarmUp,
    fit,
    load_checkpoint,
    minibatches,
    save_checkpoint,
    sequence_batches,
)

Floats = NDArray[np.float32]

X: Floats = np.random.default_rng(0).standard_normal((8, 5, 3)).astype(np.float32)
CLASSES = np.arange(40).reshape(8, 5) % 4
LENGTHS = np.array([5, 3, 1, 5, 2, 4, 5, 5])


def make_model(out: int = 3) -> gatewise.Sequential:
    return gatewise.Sequential(gatewise.GRU(3, 6, seed=0), gatewise.Linear(6, out, seed=1))


def absolute(outputs: Floats, targets: Floats) -> tuple[float, Floats]:
    """A loss for sequences that are all whole."""
    difference = outputs - targets
    gradient = np.sign(difference) / outputs.size
    return float(np.abs(difference).mean()), gradient.astype(np.float32)


def masked(
    outputs: Floats, targets: Floats, *, mask: NDArray[np.bool_] | None = None
) -> tuple[float, NDArray[Any]]:
    """A loss for both kinds of sequences."""
    return gatewise.mse(outputs, targets, mask=mask)


def always_masked(
    outputs: Floats, targets: Floats, *, mask: NDArray[np.bool_]
) -> tuple[np.floating[Any], NDArray[Any]]:
    """A loss for ragged sequences alone, whose value is one of NumPy's."""
    difference = np.where(mask[..., None], outputs - targets, np.float32(0))
    return (difference**2).mean(dtype=np.float32), 2 * difference / outputs.size


class Weighted:
    """A loss with an option."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, outputs: Any, targets: Any) -> tuple[float, NDArray[Any]]:
        value, gradient = gatewise.mse(outputs, targets)
        return self.weight * value, self.weight * gradient


class MadeOnDemand:
    """Batches that are made when they are asked for."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Floats, Floats]:
        return X + np.float32(index), X


def train_with(loss: Loss, *, ragged: bool = False) -> list[Epoch]:
    batches = minibatches(X, X, *([LENGTHS] if ragged else []), batch_size=4)
    return fit(make_model(), batches, loss, gatewise.SGD(0.1), epochs=1, progress=False)


def losses() -> None:
    train_with(gatewise.mse)
    train_with(gatewise.mse, ragged=True)
    train_with(absolute)
    train_with(masked, ragged=True)
    train_with(always_masked, ragged=True)
    train_with(Weighted(0.5))
    train_with(lambda outputs, targets: gatewise.mse(outputs, targets))
    train_with(lambda outputs, targets: (0.0, np.zeros_like(outputs)))


def options() -> None:
    seen: list[Epoch] = []
    lists: list[tuple[Floats, NDArray[np.int64]]] = [(X, CLASSES), (X, CLASSES)]
    optimizer: Optimizer = gatewise.AdamW(1e-3, weight_decay=0.1)
    epochs: list[Epoch] = gatewise.fit(
        make_model(4),
        lists,
        gatewise.softmax_cross_entropy,
        optimizer,
        epochs=2,
        validation=((X, CLASSES),),
        patience=3,
        max_norm=1,
        seed=None,
        after_epoch=seen.append,
        progress=False,
    )
    assert seen == epochs
    best: float | None = epochs[-1].validation_loss
    assert best is not None
    gatewise.fit(
        gatewise.GRU(3, 3),
        MadeOnDemand(),
        gatewise.mse,
        gatewise.Adam(),
        epochs=1,
        after_epoch=lambda epoch: print(epoch.number),
        progress=False,
    )


def loop() -> None:
    """A training loop of one's own."""
    model, optimizer = make_model(), gatewise.Adam(1e-3, betas=(0.9, 0.99))
    batches: Minibatches = minibatches(X, CLASSES[..., :3], [1, 2, 3, 4, 5, 6, 7, 8])
    for number in range(1, 3):
        for x, _, _ in batches.for_epoch(number):
            y, _, tape = model.forward(x)
            value, dy = gatewise.mse(y, x)
            _, _, gradients = model.backward(tape, dy)
            norm: float = gatewise.clip_grad_norm(gradients, 1.0)
            optimizer.step(model, gradients)
            assert value + norm >= 0
    first: tuple[NDArray[Any], ...] = batches[0]
    rest: list[tuple[NDArray[Any], ...]] = batches[1:]
    assert len(first) == 3
    assert not rest
    parameters = {"weight": np.ones(3)}
    optimizer = gatewise.Adam()
    optimizer.step(parameters, {"weight": [0.1, 0.2, 0.3]})
    optimizer.load_state_dict(optimizer.state_dict())


def numbers() -> None:
    """Lists, integers and arrays of either precision stand for arrays."""
    value, gradient = gatewise.mse([1.0, 2.0], [1, 2], mask=[True, False])
    value, gradient = gatewise.softmax_cross_entropy([[0.1, 0.2]], [1])
    value, gradient = gatewise.softmax_cross_entropy(X, CLASSES % 3, mask=X[..., 0] > 0)
    assert value + float(gradient.sum()) < 10
    assert len(minibatches([[1.0], [2.0]], [0, 1], batch_size=1, shuffle=False)) == 2


class Doubled(gatewise.Layer):
    """A layer of one's own."""

    def compute(self, x: NDArray[Any], call: Call) -> NDArray[Any]:
        call.kept = x.shape
        return 2 * x

    def gradients(
        self, dy: NDArray[Any], call: Call
    ) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        return 2 * dy, {}


class Stopping(Callback):
    """A callback of one's own."""

    def on_epoch_end(self, training: Training) -> None:
        if training.history[-1].loss < 0:
            training.stop("less than nothing")


def error_of_first(outputs: Floats, targets: Floats) -> float:
    """A metric that is a function."""
    return float(np.abs(outputs[..., 0] - targets[..., 0]).mean())


def comfort() -> None:
    """Histories, metrics, callbacks, ragged lists, and a layer of one's own."""
    model = gatewise.Sequential(
        gatewise.Bidirectional(gatewise.GRU(3, 4), merge="mean"),
        Doubled(),
        gatewise.AttentionPool(4),
        gatewise.Linear(4, 2),
    )
    sequences = [X[index, :length] for index, length in enumerate(LENGTHS)]
    labels = [0, 1, 0, 1, 0, 1, 0, 1]
    largest = Metric(
        "largest",
        lambda y, t, w: [y.max(), 1],
        lambda sums: sums[0] / sums[1],
        classes=True,
    )
    stopping = EarlyStopping("validation_accuracy", mode="max")
    history: History = fit(
        model,
        sequence_batches(sequences, labels, batch_size=4),
        gatewise.cross_entropy,
        gatewise.Adam(),
        epochs=2,
        metrics=[gatewise.accuracy, largest],
        validation=minibatches(X, labels, LENGTHS, np.ones(8)),
        class_weight={0: 1.0, 1: 2.0},
        schedule=WarmUp(1),
        callbacks=[stopping, Stopping(), lambda training: training.step],
        progress=False,
    )
    best: Epoch = history.best
    columns: dict[str, list[Any]] = history.to_dict()
    assert columns["loss"][best.number - 1] == best.loss
    fit(
        gatewise.GRU(3, 3),
        [(X, X)],
        gatewise.huber,
        gatewise.Adam(),
        epochs=1,
        metrics=[error_of_first],
        progress=False,
    )
    joined = JoinedSequences(X.reshape(-1, 3), [5] * 8, labels)
    found: dict[str, float] = gatewise.evaluate(
        model, sequence_batches(joined), gatewise.cross_entropy, metrics=[gatewise.accuracy]
    )
    rows: NDArray[Any] = gatewise.predict(model, X, lengths=LENGTHS)
    assert len(gatewise.predict(model, sequences)) == len(rows)
    value: float = gatewise.accuracy(rows, labels)
    assert found.keys() == {"loss", "accuracy"}
    assert 0 <= value <= 1


def files(path: str) -> None:
    save_checkpoint(path, "mine", {"a": X}, {"epoch": 3, "names": ["a"]})
    arrays, metadata = load_checkpoint(path, "mine")
    shape: tuple[int, ...] = arrays["a"].shape
    assert shape == (8, 5, 3)
    assert metadata["epoch"] == 3
    try:
        load_checkpoint(path, "other")
    except CheckpointError as error:
        print(error)


def wrong(batches: Sequence[tuple[Floats, Floats]]) -> None:
    """Errors that a type checker finds; never run."""
    model, adam = make_model(), gatewise.Adam()
    fit(model, batches, "crossentropy", adam, epochs=1)  # type: ignore[arg-type]
    fit(model, batches, gatewise.mse, gatewise.Adam, epochs=1)  # type: ignore[arg-type]
    fit("lstm", batches, gatewise.mse, adam, epochs=1)  # type: ignore[arg-type]
    fit(model, batches, lambda outputs: 0.0, adam, epochs=1)  # type: ignore[arg-type, misc]
    fit(model, batches, gatewise.mse, adam, epochs=1.5)  # type: ignore[arg-type]
    fit(model, iter(batches), gatewise.mse, adam, epochs=1)  # type: ignore[arg-type]
    fit(model, batches, gatewise.mse, adam, epochs=1, metrics=["mse"])  # type: ignore[list-item]
    fit(model, batches, gatewise.mse, adam, epochs=1, schedule=0.1)  # type: ignore[arg-type]
    gatewise.Adam("x")  # type: ignore[arg-type]
    gatewise.LTSM(3, 4)  # type: ignore[attr-defined]
