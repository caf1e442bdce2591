"""What a model says of data that a cluster holds."""

from __future__ import annotations

import math
import os
from typing import Any

import dask.array
import dask.bag
import numpy as np
from dask.delayed import Delayed, delayed
from numpy.typing import NDArray

import gatewise
from gatewise.dask.models import Shipped

Array = NDArray[Any]

__all__ = ["predict"]


def predict(
    model: Any,
    data: Any,
    *,
    method: str = "predict",
    batch_size: int = 32,
    num_threads: int | None = 1,
) -> Any:
    """Return, lazily, what a model says of sequences that Dask holds.

    The model goes to each worker once, and is loaded there once, however many partitions
    there are. What it says has the bits that it has without Dask; a partition whose worker
    dies is computed by another.

    Parameters
    ----------
    model : layer, estimator or path
        A layer of gatewise; an estimator of `gatewise.sklearn`, or a pipeline with one; or
        the path of a file for `gatewise.load`, which all workers can read.
    data : dask.bag.Bag, dask.array.Array, Delayed or list of Delayed
        A bag of sequences ``(time_i, ...)``, an array cut along its first axis, or batches:
        arrays ``(n, time, ...)`` or lists of sequences.
    method : str, default "predict"
        Of an estimator, "predict_proba" for instance.
    batch_size : int, default 32
        How many sequences a layer computes at once.
    num_threads : int or None, default 1
        How many threads a task may use, since Dask has one task for each core; None for as
        many as the worker has. For an estimator it is set for the process of a worker.

    Returns
    -------
    Bag, Array, Delayed or list of Delayed
        Of the kind of `data`: a result for each sequence, or for each batch.

    Raises
    ------
    TypeError
        If `model` or `data` is none of these, or a number is no integer.
    ValueError
        If a number is less than 1, `method` is none of the model's, or only the first axis
        of an array has a known size.
    OSError
        If there is no file at the path.

    Examples
    --------
    >>> import dask.array
    >>> import dask.config
    >>> import numpy as np
    >>> import gatewise
    >>> from gatewise.dask import predict
    >>> model = gatewise.Sequential(
    ...     gatewise.GRU(3, 8, seed=0), gatewise.Last(), gatewise.Linear(8, 2, seed=1)
    ... )
    >>> x = np.random.default_rng(0).standard_normal((10, 6, 3)).astype("float32")
    >>> found = predict(model, dask.array.from_array(x).rechunk((4, -1, -1)))
    >>> found.chunks
    ((4, 4, 2), (2,))
    >>> with dask.config.set(scheduler="threads"):
    ...     y = np.asarray(found)
    >>> bool((y == gatewise.predict(model, x)).all())
    True
    """
    for name, number in (("batch_size", batch_size), ("num_threads", num_threads)):
        if number is None and name == "num_threads":
            continue
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise TypeError(f"{name} should be an integer, got {number!r}")
        if number < 1:
            raise ValueError(f"{name} should be at least 1, got {number}")
    _check_model(model, method)
    shipped = Shipped(model, num_threads)
    arguments = {"method": method, "batch_size": batch_size}
    # One key of the graph, which goes to a worker once.
    sent = delayed(shipped, name=shipped.key, traverse=False)
    if isinstance(data, dask.bag.Bag):
        return data.map_partitions(_of_partition, sent, **arguments)
    if isinstance(data, dask.array.Array):
        return _of_array(shipped, sent, data, arguments)
    batch = delayed(_of_batch)
    if isinstance(data, Delayed):
        return batch(data, sent, **arguments)
    if isinstance(data, list) and data and all(isinstance(d, Delayed) for d in data):
        return [batch(each, sent, **arguments) for each in data]
    raise TypeError(
        "data should be a Dask bag, a Dask array, or delayed batches, "
        f"got {type(data).__name__}"
    )


def _check_model(model: Any, method: str) -> None:
    if isinstance(model, str | os.PathLike | gatewise.layers.Module):
        if method != "predict":
            raise ValueError(f"method should be 'predict' for a layer, got {method!r}")
        return
    if isinstance(model, type) or not hasattr(model, "predict"):
        raise TypeError(
            "model should be a layer, an estimator or the path of a file, "
            f"got {type(model).__name__}"
        )
    if not callable(getattr(model, method, None)):
        raise ValueError(
            f"method should be one of {type(model).__name__}'s, got {method!r}"
        )


def _of_batch(batch: Any, shipped: Shipped, *, method: str, batch_size: int) -> Any:
    """What the model says of one batch, in a task."""
    model = shipped.get()
    if isinstance(model, gatewise.layers.Module):
        say: Any = gatewise.predict
        return say(model, batch, batch_size=batch_size, num_threads=shipped.num_threads)
    return getattr(model, method)(batch)


def _of_partition(partition: Any, shipped: Shipped, **arguments: Any) -> list[Any]:
    sequences = list(partition)
    return list(_of_batch(sequences, shipped, **arguments)) if sequences else []


def _of_block(block: Array, shipped: Shipped, empty: Array, **arguments: Any) -> Any:
    return _of_batch(block, shipped, **arguments) if len(block) else empty


def _of_array(
    shipped: Shipped, sent: Delayed, array: Any, arguments: dict[str, Any]
) -> Any:
    inner = array.shape[1:]
    if not inner or any(math.isnan(size) for size in inner):
        raise ValueError(
            "data should have shape (n, time, ...), of which n alone may be unknown, "
            f"got {array.shape}"
        )
    whole = array.rechunk(dict.fromkeys(range(1, array.ndim), -1))
    # What one example of zeros gives says the shape and the dtype of all.
    sample = np.asarray(_of_batch(np.zeros((1, *inner), array.dtype), shipped, **arguments))
    of_block = delayed(_of_block)
    parts = [
        dask.array.from_delayed(
            of_block(block, sent, sample[:0], **arguments),
            (size, *sample.shape[1:]),
            sample.dtype,
        )
        for block, size in zip(whole.to_delayed().ravel(), whole.chunks[0], strict=True)
    ]
    return dask.array.concatenate(parts, allow_unknown_chunksizes=True)
