"""Scoring of what Dask holds: the bits of a local call, whatever workers do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from tests.new_process import TASKS, VARIABLES

pytest.importorskip("dask", reason="Dask is not installed")
distributed = pytest.importorskip("distributed", reason="Dask is not installed")

import dask  # noqa: E402
import dask.array  # noqa: E402
import dask.bag  # noqa: E402

from gatewise.dask import models, predict  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 12, 5)).astype(np.float32)
SEQUENCES = [x[: RNG.integers(1, 13)] for x in X]


def network(seed: int = 0, *, pooled: bool = True) -> gatewise.Sequential:
    pool = [gatewise.Last()] if pooled else []
    return gatewise.Sequential(
        gatewise.LSTM(5, 16, seed=seed), *pool, gatewise.Linear(16, 3, seed=seed)
    )


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two workers, processes of their own."""
    patch = pytest.MonkeyPatch()
    # The backend of a test is chosen in this process, that of workers where they are.
    for variable in (*VARIABLES, "GATEWISE_BACKEND"):
        patch.delenv(variable, raising=False)
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
    patch.undo()


@pytest.fixture
def embedded() -> Iterator[None]:
    """No cluster, as Dask is by default, in threads of this process."""
    with dask.config.set(scheduler="threads"):
        yield


def threads_and_loads(token: str) -> tuple[int, int]:
    """Threads of the process that no Python started, and how often a model was loaded."""
    import threading

    python = {str(thread.native_id) for thread in threading.enumerate()}
    return len(set(os.listdir(TASKS)) - python), models.loads[token]


@pytest.mark.usefixtures("embedded", "own_products")
@pytest.mark.parametrize("pooled", [True, False])
def test_each_kind_of_data_has_the_bits_of_a_local_call(pooled: bool, native: Any) -> None:
    model = network(pooled=pooled)
    expected = gatewise.predict(model, X)
    ragged = gatewise.predict(model, SEQUENCES)

    array = predict(model, dask.array.from_array(X, chunks=(7, 4, 2)))
    assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(array.compute(), expected)

    bag = predict(model, dask.bag.from_sequence(SEQUENCES, npartitions=7))
    found = bag.compute()
    assert len(found) == len(ragged)
    for one, other in zip(found, ragged, strict=True):
        np.testing.assert_array_equal(one, other)

    batches = [dask.delayed(part) for part in np.split(X, 6)]
    for one, other in zip(
        dask.compute(*predict(model, batches)), np.split(expected, 6), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(predict(model, batches[0]).compute(), expected[:10])


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize("from_file", [False, True])
def test_a_model_is_loaded_once_by_all_threads(from_file: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = network(3)
    gatewise.save(model, path)
    array = dask.array.from_array(X, chunks=(3, -1, -1))
    before = models.loads.total()
    for _ in range(2):
        predict(path if from_file else model, array).compute(num_workers=4)
    assert models.loads.total() - before == 1
    # Another file at the same place is another model.
    gatewise.save(network(4), path)
    found = predict(path, array).compute()
    expected = gatewise.predict(network(4), X)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("embedded")
def test_partitions_may_be_empty_or_of_unknown_size(backend: str) -> None:
    model = network()
    array = dask.array.from_array(X, chunks=(20, -1, -1))
    kept = array[dask.array.from_array(np.arange(60) < 10, chunks=20)]
    found = predict(model, kept).compute()
    expected = gatewise.predict(model, X[:10])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    bag = dask.bag.from_sequence(SEQUENCES, npartitions=3).filter(lambda x: len(x) > 99)
    assert predict(model, bag).compute() == []


@pytest.mark.skipif(not TASKS.is_dir(), reason="needs Linux's /proc")
@pytest.mark.usefixtures("own_products")
def test_two_workers_load_a_model_once_and_start_no_thread(
    client: Any, native: Any
) -> None:
    # Large enough that a call by itself would share its work.
    x = RNG.standard_normal((256, 30, 40)).astype(np.float32)
    model = gatewise.Sequential(gatewise.LSTM(40, 100, seed=5), gatewise.Last())
    token = models.Shipped(model, 1).token
    before = client.run(threads_and_loads, token)
    array = dask.array.from_array(x, chunks=(8, -1, -1))
    found = predict(model, array, batch_size=256).compute()
    np.testing.assert_array_equal(found, gatewise.predict(model, x))
    bag = dask.bag.from_sequence(list(x), npartitions=16)
    np.testing.assert_array_equal(np.stack(predict(model, bag).compute()), found)
    after = client.run(threads_and_loads, token)
    assert len(after) == 2
    for worker, (threads, count) in after.items():
        assert count == 1
        assert threads == before[worker][0]
        assert before[worker][1] == 0


@pytest.mark.usefixtures("own_products")
def test_what_a_killed_worker_had_is_done_by_another(client: Any, native: Any) -> None:
    model = network(7)

    def slowly(batch: Any) -> Any:
        time.sleep(0.05)
        return batch

    batches = [dask.delayed(slowly)(part) for part in np.split(X, 30)]
    futures = client.compute(predict(model, batches))
    distributed.wait(futures, return_when="FIRST_COMPLETED", timeout=30)
    process = min(client.run(os.getpid).values())
    os.kill(process, signal.SIGKILL)
    found = np.concatenate(client.gather(futures))
    np.testing.assert_array_equal(found, gatewise.predict(model, X))
    client.wait_for_workers(2, timeout=30)
    assert process not in client.run(os.getpid).values()


def test_an_estimator_and_a_search(client: Any) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    from sklearn.model_selection import GridSearchCV

    from gatewise.sklearn import RecurrentClassifier

    y = np.array([x[:, 0].sum() > 0 for x in SEQUENCES])
    search = GridSearchCV(
        RecurrentClassifier(max_iter=5, random_state=0), {"hidden_size": [4, 8]}, cv=2
    )
    here = search.fit(SEQUENCES, y).cv_results_["mean_test_score"]
    with joblib.parallel_config("dask"):
        search.fit(SEQUENCES, y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], here)
    bag = dask.bag.from_sequence(SEQUENCES, npartitions=4)
    found = predict(search.best_estimator_, bag, method="predict_proba").compute()
    np.testing.assert_allclose(found, search.predict_proba(SEQUENCES), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((1, None), {}, TypeError, "model should be a layer, an estimator or the path"),
        ((network(), X), {}, TypeError, "data should be a Dask bag, .* got ndarray"),
        ((network(), []), {}, TypeError, "data should be a Dask bag, .* got list"),
        (
            (network(), None),
            {"method": "predict_proba"},
            ValueError,
            "method should be 'predict' for a layer, got 'predict_proba'",
        ),
        (
            (network(), None),
            {"batch_size": 0},
            ValueError,
            "batch_size should be at least 1, got 0",
        ),
        (
            (network(), None),
            {"num_threads": 1.5},
            TypeError,
            "num_threads should be an integer, got 1.5",
        ),
        (
            (network(), dask.array.from_array(X[:, 0, 0])),
            {},
            ValueError,
            r"data should have shape \(n, time, ...\), .* got \(60,\)",
        ),
    ],
)
def test_refusals(
    arguments: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=f"^{text}"):
        predict(*arguments, **options)
