"""Training shared by several processes: the same bits, and the gradients of the whole."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gatewise
from gatewise.training import DataParallel, minibatches
from gatewise.training.shard_sums import nodes, tree_sum
from tests.communicator import in_processes
from tests.new_process import run_command
from tests.training import parallel_steps
from tests.training.parallel_steps import train

DIGESTS: dict[tuple[str, int], str] = {}


def alone(backend: str, shards: int) -> str:
    if (backend, shards) not in DIGESTS:
        DIGESTS[backend, shards] = train(None, shards=shards, epochs=1)
    return DIGESTS[backend, shards]


@pytest.mark.parametrize(("processes", "shards"), [(1, 4), (2, 4), (3, 4), (4, 4), (3, 7)])
def test_the_number_of_processes_changes_no_bit(
    processes: int, shards: int, backend: str
) -> None:
    found = in_processes(
        processes, lambda communicator: train(communicator, shards=shards, epochs=1)
    )
    assert found == [alone(backend, shards)] * processes


def test_the_number_of_shards_does(backend: str) -> None:
    assert alone(backend, 4) != alone(backend, 7)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("size", [1, 3, 8, 13])
def test_gradients_are_those_of_the_whole_batch(
    size: int, ragged: bool, backend: str
) -> None:
    rng = np.random.default_rng(size)
    x = rng.standard_normal((size, 6, 3))
    targets = rng.integers(0, 4, (size, 6))
    # Some positions do not count at all, so that shards do not count alike.
    targets[rng.random((size, 6)) < 0.4] = -100
    lengths = rng.integers(1, 7, size) if ragged else None
    model = gatewise.Sequential(
        gatewise.GRU(3, 5, dtype="float64", seed=0),
        gatewise.Linear(5, 4, dtype="float64", seed=1),
    )
    parallel = DataParallel(model, shards=4)
    outputs, _, tape = model.forward(x, lengths=lengths)
    whole, state, shards = parallel.forward(x, lengths=lengths)
    np.testing.assert_allclose(whole, outputs, rtol=1e-12, atol=1e-14)
    assert state is None
    _, gradient = gatewise.softmax_cross_entropy(outputs, targets)
    expected = model.backward(tape, gradient)[2]
    found = parallel.backward(shards, gradient)[2]
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_allclose(found[name], array, rtol=1e-12, atol=1e-14)


def test_resets_are_cut_as_well(backend: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 6, 3)).astype(np.float32)
    model = gatewise.LSTM(3, 4, seed=0)
    resets = rng.random((5, 6)) < 0.3
    found = DataParallel(model, 3).forward(x, resets=resets)[0]
    expected = model.forward(x, resets=resets)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_model_without_a_state(backend: str) -> None:
    x = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    model = gatewise.Linear(3, 2, seed=0)
    parallel = DataParallel(model, 2)
    outputs, _, tape = parallel.forward(x)
    found = parallel.backward(tape, np.ones((6, 2), np.float32))[2]
    np.testing.assert_allclose(found["weight"], np.tile(x.sum(0), (2, 1)), rtol=1e-5)
    np.testing.assert_array_equal(parallel(x)[0], outputs)
    with pytest.raises(ValueError, match=r"lengths should be None for a Linear"):
        parallel.forward(x, lengths=[1] * 6)


def test_a_pool_alone_has_lengths(backend: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    layer = gatewise.AttentionPool(2, dtype="float64", seed=0)
    parallel, lengths, dy = DataParallel(layer, 2), [4, 1, 2], np.ones((3, 2))
    expected, whole = layer.forward(x, lengths=lengths)
    outputs, _, tape = parallel.forward(x, lengths=lengths)
    np.testing.assert_allclose(outputs, expected)
    np.testing.assert_allclose(parallel(x, lengths=lengths)[0], expected)
    found = parallel.backward(tape, dy)[2]
    for name, value in layer.backward(whole, dy)[1].items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match=r"^resets should be None for a AttentionPool"):
        parallel(x, resets=np.zeros((3, 4), bool))


def test_tokens_of_a_recurrent_layer(backend: str) -> None:
    layer = gatewise.GRU(5, 3, tokens=True, seed=0)
    tokens = np.array([[0, 4, 2], [1, 1, 3], [2, 0, 0]])
    found = DataParallel(layer, 2).forward(tokens)[0]
    np.testing.assert_allclose(found, layer(tokens)[0], rtol=1e-5)
    with pytest.raises(ValueError, match=r"^x should have an axis of examples and 2 axes"):
        DataParallel(layer, 2).forward(tokens[0])


def test_dtypes_may_be_mixed() -> None:
    def gradients(communicator: Any) -> dict[str, Any]:
        model = gatewise.Sequential(
            gatewise.GRU(2, 3, dtype="float32", seed=0),
            gatewise.Linear(3, 1, dtype="float64", seed=0),
        )
        parallel = DataParallel(model, 3, communicator)
        tape = parallel.forward(np.ones((3, 4, 2)))[2]
        return parallel.backward(tape, np.ones((3, 4, 1)))[2]

    expected = gradients(None)
    assert {array.dtype.name for array in expected.values()} == {"float32", "float64"}
    for found in in_processes(2, gradients):
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


def test_all_processes_begin_with_what_the_first_one_has() -> None:
    def start(communicator: Any) -> tuple[float, float]:
        model = gatewise.Sequential(gatewise.Linear(1, 1), gatewise.Dropout(0.5))
        DataParallel(model, 2, communicator)
        return float(model.parameters()["0.weight"][0, 0]), model[1].generator.random()

    assert len(set(in_processes(2, start))) == 1


def test_an_error_in_one_process_is_one_in_all() -> None:
    tokens = np.array([[0], [0], [9], [0]])

    def work(communicator: Any) -> str:
        model = gatewise.Sequential(gatewise.Embedding(5, 2), gatewise.Linear(2, 1))
        with pytest.raises(ValueError, match=r"0 to 4") as refused:
            DataParallel(model, 4, communicator).forward(tokens)
        return str(refused.value)

    assert len(set(in_processes(4, work))) == 1


def test_a_checkpoint_goes_on_with_the_same_dropout(tmp_path: Any) -> None:
    x = np.random.default_rng(0).standard_normal((9, 4, 2)).astype(np.float32)

    def parameters(*epochs: int, path: Any = None) -> list[Any]:
        for number in epochs:
            model = gatewise.Sequential(
                gatewise.Dropout(0.5, seed=0), gatewise.RNN(2, 3, seed=0)
            )
            gatewise.fit(
                DataParallel(model, 2),
                [(x, np.zeros((9, 4, 3)))],
                gatewise.mse,
                gatewise.SGD(0.1),
                epochs=number,
                checkpoint=path,
                resume=path is not None,
                progress=False,
            )
        return list(model.state_dict().values())

    path = tmp_path / "checkpoint.safetensors"
    for one, other in zip(parameters(4), parameters(2, 4, path=path), strict=True):
        np.testing.assert_array_equal(one, other)
    # The file is one of the model, as any checkpoint is.
    assert repr(gatewise.load(path)).startswith("Sequential(Dropout(0.5), RNN(2, 3))")


@given(st.integers(1, 40), st.data())
def test_nodes_make_up_a_range_and_sums_are_the_same(shards: int, data: Any) -> None:
    places = st.lists(st.integers(0, shards), max_size=4)
    edges = sorted({0, shards, *data.draw(places)})
    empty = set(data.draw(st.lists(st.integers(0, shards - 1), max_size=3)))
    values = np.random.default_rng(shards).standard_normal((shards, 1)).astype(np.float32)

    def one(low: int, high: int) -> Any:
        return values[low] if high - low == 1 and low not in empty else None

    expected = tree_sum(0, shards, one)
    found = {}
    for first, last in pairwise(edges):
        parts = list(nodes(0, shards, first, last))
        assert [place for part in parts for place in range(*part)] == [*range(first, last)]
        found |= {part: tree_sum(*part, one) for part in parts}
    total = tree_sum(0, shards, lambda low, high: found.get((low, high)))
    if expected is None:
        assert total is None
    else:
        np.testing.assert_array_equal(total, expected)
        np.testing.assert_allclose(
            expected, np.delete(values, [*empty], axis=0).sum(0), rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((1,), TypeError, "model should be a layer, got 1"),
        ((gatewise.Linear(1, 1), 0), ValueError, "shards should be at least 1, got 0"),
        ((gatewise.Linear(1, 1), 2.0), TypeError, "shards should be an integer, got 2.0"),
        (
            (gatewise.Linear(1, 1), 2, "MPI"),
            TypeError,
            "communicator should be one of mpi4py's, such as MPI.COMM_WORLD, got 'MPI'",
        ),
    ],
)
def test_refusals(arguments: tuple[Any, ...], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as refused:
        DataParallel(*arguments)
    assert text in str(refused.value)


def test_more_refusals() -> None:
    parallel = DataParallel(gatewise.RNN(1, 2), 2)
    x = np.ones((2, 3, 1))
    with pytest.raises(ValueError, match=r"^state should be None, got an array"):
        parallel.forward(x, np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match=r"^x should have an axis of examples .* \(3, 1\)"):
        parallel.forward(x[0])
    _, _, tape = parallel.forward(x)
    with pytest.raises(ValueError, match=r"^dy should have shape \(2, 3, 2\), got \(2,\)"):
        parallel.backward(tape, np.ones(2))
    with pytest.raises(ValueError, match=r"^dstate should be None, got a list"):
        parallel.backward(tape, np.ones((2, 3, 2)), [])
    with pytest.raises(ValueError, match=r"^stream should be the model's own"):
        parallel.stream()
    with pytest.raises(
        ValueError, match=r"^shards should be at least the 3 processes, got 2"
    ):
        in_processes(3, lambda communicator: DataParallel(parallel.model, 2, communicator))


def test_a_model_that_pools_and_has_class_weights(backend: str) -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((22, 5, 2)), rng.integers(0, 2, 22)
    batches = minibatches(x, labels, rng.integers(1, 6, 22), batch_size=11)

    def losses(communicator: Any, *, is_whole: bool = False) -> list[float]:
        model = gatewise.Sequential(
            gatewise.GRU(2, 4, seed=0),
            gatewise.AttentionPool(4, seed=0),
            gatewise.Linear(4, 2, seed=0),
        )
        history = gatewise.fit(
            model if is_whole else DataParallel(model, 3, communicator),
            batches,
            gatewise.cross_entropy,
            gatewise.SGD(0.5),
            epochs=3,
            metrics=[gatewise.accuracy],
            validation=batches,
            class_weight={0: 3.0},
            progress=False,
        )
        return [number for epoch in history for number in epoch.values().values()]

    alone = losses(None)
    assert in_processes(2, losses) == [alone] * 2
    np.testing.assert_allclose(alone, losses(None, is_whole=True), rtol=1e-4)


@pytest.mark.skipif(not parallel_steps.open_mpi(), reason="Open MPI is not installed")
def test_two_processes_of_mpi(native: Any) -> None:
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    alone, shared = (run_command(parallel_steps.command(count)) for count in (0, 2))
    assert alone.returncode == 0, alone.stderr
    assert shared.returncode == 0, shared.stderr
    _, digest, _ = alone.stdout.split()
    # No thread is started beside that of the process.
    assert sorted(shared.stdout.splitlines()) == [f"{rank} {digest} 0" for rank in (0, 1)]
