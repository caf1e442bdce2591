"""Workers of joblib and Dask start no more threads than their pools leave them."""

from __future__ import annotations

import pytest

from tests.new_process import TASKS, VARIABLES, threads_of_a_call

pytestmark = [
    pytest.mark.skipif(not TASKS.is_dir(), reason="needs Linux's /proc"),
    pytest.mark.parametrize("backend", ["native"], indirect=True),
]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("inner", [1, 3])
def test_a_worker_of_joblib(inner: int, backend: str) -> None:
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    from joblib.externals.loky import get_reusable_executor

    # Not the workers of the last test, in which there are threads already.
    get_reusable_executor().shutdown()
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=inner):
        found = joblib.Parallel()(joblib.delayed(threads_of_a_call)() for _ in range(2))
    get_reusable_executor().shutdown()
    assert [said for _, said in found] == [f"{inner} (OMP_NUM_THREADS)"] * 2
    # Both calls may have come to the same worker.
    assert found[0][0] == inner
    assert found[1][0] in (1, inner)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_worker_of_dask(threads: int, backend: str) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=threads,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert client.submit(threads_of_a_call).result(60) == (1, "1 (OMP_NUM_THREADS)")
