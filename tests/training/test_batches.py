"""Batches: every example once in every epoch, in another mix each time, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.training import Minibatches, fit, minibatches

CLASSES = np.repeat(np.arange(4), 25)
PLACES = np.arange(100)


def drawn(batches: Any) -> np.ndarray:
    return np.concatenate([places for places, _ in batches])


def test_every_example_comes_once_an_epoch_in_another_mix() -> None:
    batches = minibatches(PLACES, CLASSES, batch_size=16)
    assert isinstance(batches, Minibatches)
    mixes = [drawn(batches.for_epoch(number)) for number in range(1, 6)]
    for mix in mixes:
        np.testing.assert_array_equal(np.sort(mix), PLACES)
        assert (mix != PLACES).any()
    assert len({tuple(mix) for mix in mixes}) == 5
    np.testing.assert_array_equal(drawn(batches), mixes[0])
    for places, classes in batches.for_epoch(3):
        np.testing.assert_array_equal(classes, CLASSES[places])


def test_batches_of_sorted_classes_are_mixed() -> None:
    batches = minibatches(PLACES, CLASSES, batch_size=16)
    for number in range(1, 6):
        kinds = [len(set(classes.tolist())) for _, classes in batches.for_epoch(number)]
        assert min(kinds[:-1]) >= 3
    neighbours = minibatches(PLACES, CLASSES, batch_size=16, shuffle=False)
    assert max(len(set(classes.tolist())) for _, classes in neighbours) == 2


def test_mixes_are_the_seeds() -> None:
    first, again = (minibatches(PLACES, CLASSES, seed=7) for _ in range(2))
    other = minibatches(PLACES, CLASSES, seed=8)
    np.testing.assert_array_equal(drawn(first.for_epoch(4)), drawn(again.for_epoch(4)))
    assert (drawn(first.for_epoch(4)) != drawn(other.for_epoch(4))).any()


def test_the_order_can_be_kept() -> None:
    batches = minibatches(PLACES, CLASSES, batch_size=16, shuffle=False)
    for number in (1, 2):
        np.testing.assert_array_equal(drawn(batches.for_epoch(number)), PLACES)
    # Views, which take no memory.
    assert np.shares_memory(batches[2][0], PLACES)


@pytest.mark.parametrize("shuffle", [True, False])
def test_they_are_a_sequence(shuffle: bool) -> None:
    batches = minibatches(PLACES, CLASSES, batch_size=40, shuffle=shuffle)
    assert len(batches) == 3
    assert [len(places) for places, _ in batches] == [40, 40, 20]
    np.testing.assert_array_equal(batches[-1][0], batches[2][0])
    np.testing.assert_array_equal(drawn(batches[1:]), drawn(batches)[40:])
    assert [len(places) for places, _ in reversed(batches)] == [20, 40, 40]
    for index in (3, -4):
        with pytest.raises(IndexError):
            batches[index]
    assert len(minibatches(PLACES[:0])) == 0
    assert len(minibatches(PLACES, batch_size=100)) == 1


def test_what_becomes_an_array_is_taken() -> None:
    batches = minibatches([[1.0, 2.0], [3.0, 4.0]], [0, 1], batch_size=2, shuffle=False)
    (x, y) = batches[0]
    np.testing.assert_array_equal(x, [[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(y, [0, 1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: minibatches(PLACES, PLACES[1:]),
            ValueError,
            r"one length, got \[100, 99\]",
        ),
        (lambda: minibatches(), ValueError, "one length, got none"),
        (lambda: minibatches(PLACES, 3), ValueError, r"arrays\[1\] should have an axis"),
        (
            lambda: minibatches([[1], [1, 2]]),
            ValueError,
            r"arrays\[0\] should be an array: ",
        ),
        (
            lambda: minibatches(PLACES, batch_size=0),
            ValueError,
            "batch_size should be at lea",
        ),
        (
            lambda: minibatches(PLACES, batch_size=1.5),
            TypeError,
            "batch_size should be an in",
        ),
        (
            lambda: minibatches(PLACES, seed=-1),
            ValueError,
            "seed should be at least 0, got -1",
        ),
        (
            lambda: minibatches(PLACES, seed=None),
            TypeError,
            "seed should be an integer, got N",
        ),
    ],
)
def test_bad_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


class Recorded:
    """Batches that note which mixes are asked for, and which examples come."""

    def __init__(self, batches: Minibatches) -> None:
        self.batches = batches
        self.numbers: list[int] = []
        self.seen: list[int] = []

    def for_epoch(self, number: int) -> Recorded:
        self.numbers.append(number)
        self.batches = self.batches.for_epoch(number)
        return self

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        x, targets = self.batches[index]
        self.seen.extend(x[:, 0].astype(int).tolist())
        return x, targets


def test_fit_takes_another_mix_for_each_epoch() -> None:
    x = PLACES[:, None].astype(np.float32)
    batches = Recorded(minibatches(x, x, batch_size=16))
    loss = gatewise.mse
    model, optimizer = gatewise.Linear(1, 1, seed=0), gatewise.SGD(1e-9)
    fit(model, batches, loss, optimizer, epochs=3, progress=False)
    assert batches.numbers == [1, 2, 3]
    epochs = [batches.seen[i : i + 100] for i in (0, 100, 200)]
    assert all(sorted(epoch) == PLACES.tolist() for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_fit_leaves_validation_batches_as_they_are() -> None:
    x = PLACES[:, None].astype(np.float32)
    validation = Recorded(minibatches(x, x, batch_size=16))
    fit(
        gatewise.Linear(1, 1, seed=0),
        [(x, x)],
        gatewise.mse,
        gatewise.SGD(1e-9),
        epochs=2,
        validation=validation,
        progress=False,
    )
    assert validation.numbers == []
    assert validation.seen[:100] == validation.seen[100:]


def test_sorted_data_trains_as_well_as_mixed_data(backend: str) -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 1, 6))
    x = (centres[CLASSES] + rng.standard_normal((100, 5, 6))).astype(np.float32)
    targets = np.repeat(CLASSES[:, None], 5, axis=1)

    def loss_after(shuffle: bool) -> float:
        model = gatewise.Sequential(
            gatewise.GRU(6, 8, seed=0), gatewise.Linear(8, 4, seed=1)
        )
        batches = minibatches(x, targets, batch_size=25, shuffle=shuffle)
        loss, optimizer = gatewise.softmax_cross_entropy, gatewise.Adam(0.05)
        fit(model, batches, loss, optimizer, epochs=12, progress=False)
        return loss(model(x)[0], targets)[0]

    assert loss_after(shuffle=True) < 0.8 * loss_after(shuffle=False)


def test_batches_of_another_number_are_refused() -> None:
    class Growing(list[Any]):
        def for_epoch(self, number: int) -> list[Any]:
            return self * number

    x = PLACES[:, None].astype(np.float32)
    with pytest.raises(ValueError, match=r"for_epoch\(2\) should give 1 batches, got 2"):
        fit(
            gatewise.Linear(1, 1),
            Growing([(x, x)]),
            gatewise.mse,
            gatewise.SGD(1e-9),
            epochs=2,
            progress=False,
        )


EMPTY = np.zeros((0, 3), np.float32)
FULL = np.ones((4, 3), np.float32)


def fit_linear(batches: Any, **options: Any) -> tuple[Any, ...]:
    model = gatewise.Linear(3, 3, seed=0)
    optimizer = gatewise.Adam(0.1)
    found = fit(
        model, batches, gatewise.mse, optimizer, epochs=2, progress=False, **options
    )
    return found, model.state_dict(), optimizer.state_dict()


def test_batches_without_examples_change_nothing(backend: str) -> None:
    expected = fit_linear([(FULL, -FULL)], seed=None, validation=[(FULL, FULL)])
    found = fit_linear(
        [(EMPTY, EMPTY), (FULL, -FULL), (EMPTY, EMPTY)],
        seed=None,
        validation=[(EMPTY, EMPTY), (FULL, FULL)],
    )
    assert found[0] == expected[0]
    for states in (1, 2):
        for name, array in expected[states].items():
            np.testing.assert_array_equal(found[states][name], array)


def test_no_examples_at_all_are_an_error() -> None:
    with pytest.raises(
        ValueError, match="batches should have examples, got none in epoch 1"
    ):
        fit_linear([(EMPTY, EMPTY)])
    with pytest.raises(ValueError, match="validation should have examples, got none"):
        fit_linear([(FULL, FULL)], validation=[(EMPTY, EMPTY)])
    with pytest.raises(ValueError, match="validation should hold at least one batch"):
        fit_linear([(FULL, FULL)], validation=[])


def test_sequences_without_examples_change_nothing(backend: str) -> None:
    empty = np.zeros((0, 5, 3), np.float32)
    model = gatewise.GRU(3, 3, seed=0)
    before = model.state_dict()
    full = np.ones((2, 5, 3), np.float32)
    fit(
        model,
        [(empty, empty, np.zeros(0, int)), (full, full, np.array([3, 5]))],
        gatewise.mse,
        gatewise.SGD(0.0),
        epochs=1,
        progress=False,
    )
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
