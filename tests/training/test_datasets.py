"""Batches of single examples: ragged, sorted by length, larger than memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.training import (
    CheckpointError,
    JoinedSequences,
    fit,
    pad_sequences,
    sequence_batches,
)

rng = np.random.default_rng(8)
LENGTHS = rng.integers(1, 40, 103)
SEQUENCES = [rng.standard_normal((n, 2)).astype(np.float32) for n in LENGTHS]
NUMBERS = np.arange(103)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("bucket", [1, 4, 50])
def test_every_example_is_there_once(shuffle: bool, bucket: int) -> None:
    batches = sequence_batches(
        SEQUENCES, NUMBERS, batch_size=10, shuffle=shuffle, bucket=bucket
    )
    assert len(batches) == 11
    seen = []
    for number in (1, 2, 3):
        found = list(batches.for_epoch(number))
        assert len(found) == 11
        for x, targets, lengths in found:
            counts = np.full(len(x), x.shape[1]) if lengths is None else lengths
            assert x.shape[1] == counts.max()
            for row, target, count in zip(x, targets, counts, strict=True):
                np.testing.assert_array_equal(row[:count], SEQUENCES[target])
                assert not row[count:].any()
        seen.append(np.concatenate([targets for _, targets, _ in found]).tolist())
        assert sorted(seen[-1]) == NUMBERS.tolist()
    assert (seen[0] != seen[1]) == shuffle
    again = sequence_batches(
        SEQUENCES, NUMBERS, batch_size=10, shuffle=shuffle, bucket=bucket
    )
    assert np.concatenate([b[1] for b in again]).tolist() == seen[0]
    assert [x.shape for x, *_ in batches[2:4]] == [batches[2][0].shape, batches[3][0].shape]


def test_buckets_have_little_padding() -> None:
    def padding(bucket: int) -> float:
        batches = sequence_batches(SEQUENCES, NUMBERS, batch_size=8, bucket=bucket)
        return sum(x.shape[0] * x.shape[1] for x, *_ in batches) / LENGTHS.sum() - 1

    assert padding(50) < 0.1 < 0.4 < padding(1)


def test_targets_of_steps_and_weights_are_padded() -> None:
    steps = [np.arange(n) + 1 for n in LENGTHS]
    batches = sequence_batches(SEQUENCES, steps, sample_weight=NUMBERS, batch_size=20)
    for x, targets, lengths, weight in batches:
        assert targets.shape == x.shape[:2]
        assert weight.shape == (len(x),)
        counts = np.full(len(x), x.shape[1]) if lengths is None else lengths
        for row, count, number in zip(targets, counts, weight, strict=True):
            np.testing.assert_array_equal(row[:count], steps[int(number)])
            assert not row[count:].any()
    # Vectors that are as long as each other are no targets of steps.
    vectors = rng.standard_normal((103, 3))
    assert sequence_batches(SEQUENCES, vectors)[0][1].shape == (32, 3)


def test_equal_lengths_are_none() -> None:
    batches = sequence_batches([np.ones((3, 2))] * 4, [0, 1, 0, 1], batch_size=3)
    assert [lengths for _, _, lengths in batches] == [None, None]


class Counted:
    """A Dataset of PyTorch's make that remembers what was read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 103

    def __getitem__(self, index: int) -> tuple[Any, int]:
        assert isinstance(index, int)
        self.read.append(index)
        return SEQUENCES[index], index


def test_nothing_is_read_before_its_batch() -> None:
    examples = Counted()
    batches = sequence_batches(examples, batch_size=10)
    assert examples.read == []
    _, targets, _ = batches[3]
    assert examples.read == targets.tolist()
    # Their lengths are not known, so they cannot be sorted by them.
    assert sorted(len(SEQUENCES[i]) for i in targets) != [
        len(SEQUENCES[i]) for i in targets
    ]


def test_a_list_of_examples_will_do() -> None:
    examples = [(sequence, number, 2.0) for number, sequence in enumerate(SEQUENCES)]
    _, _, _, weight = sequence_batches(examples)[0]
    np.testing.assert_array_equal(weight, np.full(32, 2.0))


def test_a_memory_map_is_read_by_the_batch(tmp_path: Path) -> None:
    path, count, steps = tmp_path / "rows.npy", 400, 500
    rows: Any = np.lib.format.open_memmap(path, "w+", np.float32, (count * steps, 8))
    for start in range(0, len(rows), 10_000):
        rows[start : start + 10_000] = 0.1 * rng.standard_normal((10_000, 8))
    size, total = rows.nbytes, float(rows.sum(dtype=np.float64))
    rows.flush()
    del rows
    mapped = np.load(path, mmap_mode="r")
    examples = JoinedSequences(mapped, np.full(count, steps), np.arange(count) % 2)
    tracemalloc.start()
    found = sum(
        float(x.sum(dtype=np.float64))
        for x, *_ in sequence_batches(examples, batch_size=16)
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == pytest.approx(total)
    assert peak < size / 5


def test_fit_trains_on_them(backend: str) -> None:
    model = gatewise.Sequential(
        gatewise.GRU(2, 8, seed=0), gatewise.MeanPool(), gatewise.Linear(8, 2, seed=1)
    )
    labels = np.array([int(sequence[:, 0].mean() > 0) for sequence in SEQUENCES])
    joined = JoinedSequences(np.concatenate(SEQUENCES), LENGTHS, labels)
    history = fit(
        model,
        sequence_batches(joined, batch_size=16),
        gatewise.cross_entropy,
        gatewise.Adam(0.03),
        epochs=15,
        metrics=[gatewise.accuracy],
        progress=False,
    )
    assert history[-1].metrics["accuracy"] > 0.9 > history[0].metrics["accuracy"]


def test_joined_sequences_are_views() -> None:
    rows = np.concatenate(SEQUENCES)
    joined = JoinedSequences(rows, LENGTHS, np.arange(len(rows)))
    assert len(joined) == 103
    end = 0
    for index in range(103):
        x, targets = joined[index]
        np.testing.assert_array_equal(x, SEQUENCES[index])
        assert np.shares_memory(x, rows)
        np.testing.assert_array_equal(targets, np.arange(end, end := end + len(x)))
    x, targets = JoinedSequences(rows, LENGTHS)[5]
    np.testing.assert_array_equal(x, targets)


def test_resuming_wants_the_same_mix(tmp_path: Path) -> None:
    def train(epochs: int, **options: Any) -> Any:
        return fit(
            gatewise.Sequential(gatewise.GRU(2, 3, seed=0), gatewise.Last()),
            sequence_batches(SEQUENCES, NUMBERS % 3, batch_size=40, **options),
            gatewise.cross_entropy,
            gatewise.Adam(),
            epochs=epochs,
            checkpoint=tmp_path / "fit.safetensors",
            resume=True,
            progress=False,
        )

    train(1)
    for options in ({"seed": 1}, {"bucket": 1}, {"shuffle": False}):
        with pytest.raises(CheckpointError, match="seed of minibatches should be"):
            train(2, **options)
    assert len(train(2)) == 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: sequence_batches(SEQUENCES, [1]),
            ValueError,
            "targets should be 103, one a sequence, got 1",
        ),
        (
            lambda: sequence_batches(SEQUENCES, NUMBERS, sample_weight=[1, 2]),
            ValueError,
            "sample_weight should be 103, one a sequence, got 2",
        ),
        (
            lambda: sequence_batches(Counted(), sample_weight=[1]),
            ValueError,
            "sample_weight should be None without targets",
        ),
        (lambda: sequence_batches(3), TypeError, "examples should be indexed .* got 3"),
        (
            lambda: sequence_batches(np.ones((3, 2))),
            TypeError,
            r"examples should be indexed .* got an array of shape \(3, 2\)",
        ),
        (lambda: sequence_batches([]), ValueError, "examples should be at least one"),
        (lambda: sequence_batches([], []), ValueError, "examples should hold at least one"),
        (
            lambda: sequence_batches([np.ones((2, 3)), np.ones((2, 4))], [0, 1]),
            ValueError,
            r"examples\[1\] should have shape \(time, 3\) as the first has, got \(2, 4\)",
        ),
        (
            lambda: sequence_batches([1.0, 2.0], [0, 1]),
            ValueError,
            r"examples\[0\] should have an axis of time",
        ),
        (
            lambda: sequence_batches(SEQUENCES, NUMBERS, bucket=0),
            ValueError,
            "bucket should be at least 1, got 0",
        ),
        (
            lambda: sequence_batches([(np.ones(2),)])[0],
            ValueError,
            r"examples\[0\] should be \(sequence, target\) .* got a tuple of 1",
        ),
        (
            lambda: sequence_batches([np.ones((2, 1)), np.ones((3, 1))])[0],
            TypeError,
            r"examples\[[01]\] should be \(sequence, target\), got an array",
        ),
        (
            lambda: sequence_batches(SEQUENCES[:2], [[1, 2], [1]])[0],
            ValueError,
            "targets should be alike, or one for each step",
        ),
        (
            lambda: pad_sequences(["some words", "more"]),
            TypeError,
            r"sequences\[0\] should be a sequence of numbers, .* got 'some words'",
        ),
        (lambda: pad_sequences("abc"), TypeError, "sequences should be a list"),
        (
            lambda: JoinedSequences(np.ones((5, 2)), [2, 2]),
            ValueError,
            "lengths should add up to the 5 rows, got 4",
        ),
        (
            lambda: JoinedSequences(np.ones((4, 2)), np.array([2**64 - 1, 5], np.uint64)),
            ValueError,
            "lengths should add up to the 4 rows, got 18446744073709551620",
        ),
        (
            lambda: JoinedSequences(np.ones((3, 2)), [-1, 4]),
            ValueError,
            "lengths should add up to the 3 rows, got one of -1",
        ),
        (
            lambda: JoinedSequences(np.ones((5, 2)), [2.0, 3.0]),
            TypeError,
            "lengths should be a list of integers",
        ),
        (
            lambda: JoinedSequences(np.ones((5, 2)), [2, 3], [1]),
            ValueError,
            "targets should be 2, one a sequence, or 5, one a step",
        ),
        (
            lambda: JoinedSequences([[1.0]], [1]),  # type: ignore[arg-type]
            TypeError,
            "rows should be an array of rows, got a list",
        ),
    ],
)
def test_bad_input_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        call()
