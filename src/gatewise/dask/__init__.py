"""Networks and estimators on a Dask cluster, or on whatever scheduler Dask has.

`predict` scores bags, arrays and delayed batches where they are. To search for options,
let joblib run on Dask, as in ``with joblib.parallel_config("dask"): search.fit(X, y)``;
`gatewise.training.DataParallel` trains one network in several processes.
"""

from __future__ import annotations

try:
    import dask as _dask  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "dask":
        raise
    raise ModuleNotFoundError(
        "gatewise.dask needs Dask, which is not installed: pip install 'gatewise[dask]'",
        name="dask",
    ) from None

from gatewise.dask.predicting import predict

__all__ = ["predict"]
