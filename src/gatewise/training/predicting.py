"""A trained model over many sequences: what it says, and how good that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.layers import Stateful
from gatewise.training.arguments import as_count
from gatewise.training.batches import Batches, check_batches
from gatewise.training.measuring import (
    Loss,
    Model,
    check_loss,
    check_model,
    example_axes,
    measure,
)
from gatewise.training.metrics import MetricLike, as_metrics
from gatewise.training.padding import as_sequences, pad_sequences

Array = NDArray[Any]

__all__ = ["evaluate", "predict"]


def evaluate(
    model: Model,
    batches: Batches,
    loss: Loss | None = None,
    *,
    metrics: Sequence[MetricLike] = (),
) -> dict[str, float]:
    """Measure a model on batches, as `fit` does with its `validation`.

    Parameters
    ----------
    model : layer
    batches : sequence
        As for `fit`.
    loss : callable, optional
    metrics : sequence, optional

    Returns
    -------
    dict of str to float
        The loss, as ``"loss"``, and the metrics by their names. A loss is a mean over
        batches, each counting as many times as it has examples; a `Metric` does not depend
        on how examples are cut into batches.

    Raises
    ------
    TypeError
        If an argument is not what it should be.
    ValueError
        If there is nothing to measure, or a shape does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import gatewise
    >>> x = np.random.default_rng(0).standard_normal((64, 10, 1)).astype("float32")
    >>> labels = (x.sum(axis=(1, 2)) > 0).astype(int)
    >>> model = gatewise.Sequential(
    ...     gatewise.GRU(1, 8, seed=0), gatewise.Last(), gatewise.Linear(8, 2, seed=1)
    ... )
    >>> batches = gatewise.training.minibatches(x, labels, batch_size=16)
    >>> history = gatewise.fit(
    ...     model,
    ...     batches,
    ...     gatewise.cross_entropy,
    ...     gatewise.Adam(0.03),
    ...     epochs=20,
    ...     progress=False,
    ... )
    >>> found = gatewise.evaluate(
    ...     model, batches, gatewise.cross_entropy, metrics=[gatewise.accuracy]
    ... )
    >>> found["accuracy"] > 0.9
    True
    """
    check_model(model)
    check_batches("batches", batches)
    if loss is not None:
        check_loss(loss)
    value, found = measure(model, batches, loss, as_metrics(metrics), "batches")
    return found if value is None else {"loss": value, **found}


@overload
def predict(
    model: Model,
    x: NDArray[Any],
    *,
    lengths: ArrayLike | None = ...,
    batch_size: int = ...,
    num_threads: int | None = ...,
) -> Array: ...
@overload
def predict(
    model: Model,
    x: Sequence[ArrayLike],
    *,
    lengths: None = ...,
    batch_size: int = ...,
    num_threads: int | None = ...,
) -> Any: ...
def predict(
    model: Model,
    x: Any,
    *,
    lengths: ArrayLike | None = None,
    batch_size: int = 32,
    num_threads: int | None = None,
) -> Any:
    """Return what a model says of many sequences, in batches.

    Compiled, what it says of a sequence does not depend on the others, or on `batch_size`.

    Parameters
    ----------
    model : layer
    x : ndarray or sequence of array_like
        An array, whose first axis is that of the examples; or a list of sequences
        ``(time_i, ...)`` of any lengths, or whatever can be indexed like one, which are put
        together with others of about their length.
    lengths : array_like of int, optional
        Of the sequences in an array.
    batch_size : int, default 32
        How many sequences are computed at once.
    num_threads : int, optional
        How many threads the layers may use; as `gatewise.set_num_threads` says if None.

    Returns
    -------
    ndarray or list of ndarray
        The outputs, one row for each example. For a list of sequences, unless the model
        makes one vector of each, a list of outputs, each as long as its sequence.

    Raises
    ------
    TypeError
        If an argument is not what it should be.
    ValueError
        If there is no example, `batch_size` is less than 1, `lengths` are given for a list,
        or a shape does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import gatewise
    >>> encoder = gatewise.GRU(3, 8, seed=0)
    >>> sequences = [np.ones((5, 3)), np.ones((2, 3)), np.ones((9, 3))]
    >>> [y.shape for y in gatewise.predict(encoder, sequences)]
    [(5, 8), (2, 8), (9, 8)]
    >>> gatewise.predict(gatewise.Sequential(encoder, gatewise.Last()), sequences).shape
    (3, 8)
    """
    check_model(model)
    batch_size = as_count("batch_size", batch_size, 1)
    if isinstance(x, np.ndarray):
        return _of_array(model, x, lengths, batch_size, num_threads)
    if lengths is not None:
        raise ValueError("lengths should be None for a list of sequences, which have them")
    return _of_list(model, as_sequences("x", x), batch_size, num_threads)


def _of_array(
    model: Model, x: Array, lengths: Any, batch_size: int, num_threads: int | None
) -> Array:
    if x.ndim == 0 or not len(x):
        raise ValueError(f"x should hold at least one example, got shape {x.shape}")
    if lengths is not None:
        lengths = np.asarray(lengths)
        if lengths.shape != (len(x),):
            raise ValueError(
                f"lengths should have shape ({len(x)},), one a sequence, "
                f"got {lengths.shape}"
            )
    parts = []
    for examples in _cuts(len(x), batch_size):
        own = None if lengths is None else lengths[examples]
        parts.append(_run(model, x[examples], own, num_threads))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _of_list(
    model: Model, sequences: list[Array], batch_size: int, num_threads: int | None
) -> Any:
    found: list[Any] = [None] * len(sequences)
    # Those of about one length together, so that little is computed of padding.
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    is_pooled = False
    for cut in _cuts(len(order), batch_size):
        places = order[cut]
        x, lengths = pad_sequences([sequences[place] for place in places])
        # No lengths for rows that are no sequences, to a Linear alone for instance.
        is_whole = bool((lengths == lengths[0]).all())
        y = _run(model, x, None if is_whole else lengths, num_threads)
        after: Any = model._lengths_after(lengths)
        is_pooled = after is None
        for row, place in enumerate(places):
            found[place] = y[row] if is_pooled else y[row, : after[row]].copy()
    return np.stack(found) if is_pooled else found


def _cuts(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, start + size)


def _run(model: Model, x: Array, lengths: Any, num_threads: int | None) -> Array:
    if x.ndim <= example_axes(model, x):
        # It would be taken for a single sequence, and cut where batches end.
        wanted = "(time, features)" if example_axes(model, x) == 2 else "(time,)"
        raise ValueError(
            f"x should hold examples of shape {wanted}, got one of {x.shape[1:]}"
        )
    snapshot = model._snapshot()
    if isinstance(model, Stateful):
        y: Array = model._call(snapshot, x, None, lengths, None, num_threads)[0]
        return y
    return model._call_ragged(snapshot, x, lengths, num_threads)
