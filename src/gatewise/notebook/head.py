"""The way back through the prediction, which all cells have alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gatewise._checks import Array, as_floating, as_numbers, check_shape, common_dtype
from gatewise.notebook import gru, lstm, rnn
from gatewise.notebook._cell import Cell
from gatewise.notebook._run import Caches, read_steps
from gatewise.notebook._steps import Steps

__all__ = ["prediction_backward"]

_CELLS = (rnn.CELL, lstm.CELL, gru.CELL)


def prediction_backward(
    y_pred: ArrayLike, targets: ArrayLike, caches: Caches
) -> dict[str, Array]:
    """Return the gradients of the cross-entropy of a run's predictions.

    The loss is ``-sum(targets * log(y_pred))`` over all classes, examples and steps. Its
    slope at what softmax is given is ``y_pred - targets``, and from there one product leads
    to each gradient. `rnn_backward`, `lstm_backward` or `gru_backward` goes on from ``da``.

    Parameters
    ----------
    y_pred : array_like, (n_y, m, T_x)
        What `rnn_forward`, `lstm_forward` or `gru_forward` predicted.
    targets : array_like
        The right answers: probabilities ``(n_y, m, T_x)``, as a rule 1 for the right class
        and 0 for the others, or the numbers of the right classes ``(m, T_x)``, integers
        from 0 to n_y - 1. A column of zeros among probabilities, or -100 as a class, leaves
        a step out.
    caches : tuple
        What the same call returned. Its parameters should still be those of that call.

    Returns
    -------
    dict
        ``da (n_a, m, T_x)`` and the gradients of the prediction's matrix and bias, each of
        the shape of what it belongs to: ``dWya`` and ``dby`` for `rnn_forward`, ``dWy`` and
        ``dby`` for the others. For the loss of a mean divide all gradients, these and those
        that follow, by what the mean is over.

    Raises
    ------
    KeyError
        If the parameters in `caches` lack an array.
    TypeError
        If an array holds no real numbers of at most 64 bits.
    ValueError
        If `caches` are not what such a function returns, an array has the wrong shape, or a
        class is out of range.

    Notes
    -----
    That the loss and softmax together have so simple a slope is in [1]_.

    References
    ----------
    .. [1] Bridle, J. S. (1990). "Probabilistic Interpretation of Feedforward Classification
       Network Outputs, with Relationships to Statistical Pattern Recognition".
       Neurocomputing, NATO ASI Series 68, 227-236.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import prediction_backward, rnn_backward, rnn_forward
    >>> parameters = {
    ...     "Wax": np.eye(2), "Waa": np.eye(2), "ba": np.zeros((2, 1)),
    ...     "Wya": np.zeros((4, 2)), "by": np.zeros((4, 1)),
    ... }
    >>> x = np.ones((2, 1, 3))
    >>> a, y_pred, caches = rnn_forward(x, np.zeros((2, 1)), parameters)
    >>> gradients = prediction_backward(y_pred, [[0, 0, 3]], caches)
    >>> gradients["dby"].ravel()
    array([-1.25,  0.75,  0.75, -0.25])
    >>> gradients |= rnn_backward(gradients["da"], caches)
    >>> gradients["dWya"].shape, gradients["dWax"].shape
    ((4, 2), (2, 2))
    """
    a, cell, parameters = _read(caches)
    matrix, bias = cell.read_head(parameters, len(a))
    predictions = as_floating("y_pred", y_pred)
    check_shape("y_pred", predictions, (len(matrix), *a.shape[1:]))
    wanted = _probabilities(targets, predictions)
    dtype = common_dtype([predictions, a, matrix, bias])
    # Softmax shares out what a column of targets sums to, and as a rule that is 1.
    slopes = predictions * wanted.sum(axis=0) - wanted
    slopes = slopes.astype(dtype, copy=False)
    # Products over rows (m * T_x), since that is what is summed over.
    rows = slopes.reshape(len(slopes), -1)
    da = matrix.astype(dtype, copy=False).T @ rows
    name, bias_name = cell.head
    return {
        "da": da.reshape(a.shape),
        f"d{name}": rows @ a.astype(dtype, copy=False).reshape(len(a), -1).T,
        f"d{bias_name}": rows.sum(axis=1, keepdims=True),
    }


def _read(caches: Caches) -> tuple[Array, Cell, Mapping[str, ArrayLike]]:
    """Return the hidden states ``(n_a, m, T_x)`` that caches hold, and of what they are."""
    steps = read_steps(caches)
    if isinstance(steps, Steps):
        record = steps.record
        states = [record.step(t)[0] for t in range(len(steps))]
        a = np.stack(states, axis=-1) if states else np.empty(record.shape, record.dtype)
        return a, record.cell, steps.parameters
    known = {len(cell.fields): cell for cell in _CELLS}
    count = len(steps[0]) if isinstance(steps[0], tuple | list) else 0
    # A cache of any other length is refused by the first cell's words.
    cell = known.get(count, rnn.CELL)
    read = [cell.read_cache(f"caches[0][{t}]", step) for t, step in enumerate(steps)]
    for t, step in enumerate(read):
        check_shape(f"a_next in caches[0][{t}]", step["a_next"], read[0]["a_next"].shape)
    a = np.stack([step["a_next"] for step in read], axis=-1)
    return a, cell, read[0]["parameters"]


def _probabilities(targets: ArrayLike, predictions: Array) -> Array:
    """Return the targets as probabilities of the shape of the predictions."""
    given: Array = as_numbers("targets", targets)
    n_y, *places = predictions.shape
    if given.ndim != len(places):
        check_shape("targets", given, predictions.shape)
        return given.astype(predictions.dtype, copy=False)
    check_shape("targets", given, tuple(places))
    if not np.issubdtype(np.asarray(targets).dtype, np.integer) and given.size:
        raise ValueError(
            "targets should be integers where they are the numbers of classes, "
            f"got {np.asarray(targets).dtype}"
        )
    wrong = (given != -100) & ((given < 0) | (given >= n_y))
    if wrong.any():
        raise ValueError(
            f"targets should be from 0 to {n_y - 1}, or -100, got {given[wrong][0]:g}"
        )
    classes: Any = np.arange(n_y).reshape(-1, *[1] * len(places))
    found: Array = (classes == given).astype(predictions.dtype)
    return found
