"""The vanilla recurrent network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike

from gatewise._checks import Array
from gatewise.direction import Weights
from gatewise.notebook import _run
from gatewise.notebook._cell import Cache, Cell, Parameters
from gatewise.notebook._run import Caches

__all__ = ["rnn_backward", "rnn_cell_backward", "rnn_cell_forward", "rnn_forward"]


@dataclass(frozen=True)
class _VanillaCell(Cell):
    def weights(self, arrays: Sequence[Array]) -> Weights:
        w_ax, w_aa, bias = arrays
        return self._weights(w_ax.copy(), w_aa.copy(), bias[:, 0].copy())

    def gradients(self, gradients: Weights) -> list[Array]:
        return [gradients.w_ih, gradients.w_hh, gradients.bias[:, None]]

    def cached_gates(self, gates: Array) -> list[Array]:
        return []


CELL = _VanillaCell(
    name="rnn",
    kernel="rnn",
    states=("a",),
    gates=(),
    fields=("a_next", "a_prev", "xt", "parameters"),
    own=("Wax", "Waa", "ba"),
    layout="ax aa a1",
    head=("Wya", "by"),
)


def rnn_cell_forward(
    xt: ArrayLike, a_prev: ArrayLike, parameters: Parameters
) -> tuple[Array, Array, Cache]:
    """Advance a vanilla recurrent network by one step.

    ``a_next = tanh(Waa a_prev + Wax xt + ba)`` and ``yt_pred = softmax(Wya a_next + by)``.

    Parameters
    ----------
    xt : array_like, (n_x, m)
        The input of this step.
    a_prev : array_like, (n_a, m)
        The hidden state before it.
    parameters : mapping
        ``Wax (n_a, n_x)``, ``Waa (n_a, n_a)``, ``Wya (n_y, n_a)``, ``ba (n_a, 1)``,
        ``by (n_y, 1)``. Other keys are ignored.

    Returns
    -------
    a_next : ndarray, (n_a, m)
        The hidden state after the step.
    yt_pred : ndarray, (n_y, m)
        The prediction.
    cache : tuple
        ``(a_next, a_prev, xt, parameters)``, for `rnn_cell_backward`.

    Raises
    ------
    KeyError
        If `parameters` lacks an array.
    TypeError
        If `parameters` is no mapping, or an array holds no real numbers of at most 64 bits.
    ValueError
        If something is no array, an array has the wrong shape, or there is no hidden unit.

    Notes
    -----
    The recurrence is that of [1]_.

    References
    ----------
    .. [1] Elman, J. L. (1990). "Finding Structure in Time". Cognitive Science 14(2),
       179-211.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import rnn_cell_forward
    >>> parameters = {
    ...     "Wax": np.eye(2), "Waa": np.zeros((2, 2)), "ba": np.zeros((2, 1)),
    ...     "Wya": np.zeros((4, 2)), "by": np.zeros((4, 1)),
    ... }
    >>> a_next, yt_pred, cache = rnn_cell_forward(
    ...     [[0.0], [1.0]], np.zeros((2, 1)), parameters
    ... )
    >>> a_next.round(4)
    array([[0.    ],
           [0.7616]])
    >>> yt_pred.ravel()
    array([0.25, 0.25, 0.25, 0.25])
    """
    (a_next,), yt_pred, cache = _run.cell_forward(CELL, xt, (a_prev,), parameters)
    return a_next, yt_pred, cache


def rnn_forward(
    x: ArrayLike, a0: ArrayLike, parameters: Parameters
) -> tuple[Array, Array, Caches]:
    """Run a vanilla recurrent network over a whole sequence.

    Parameters
    ----------
    x : array_like, (n_x, m, T_x)
        The inputs; T_x and m may be 0.
    a0 : array_like, (n_a, m)
        The hidden state before the first step.
    parameters : mapping
        As for `rnn_cell_forward`.

    Returns
    -------
    a : ndarray, (n_a, m, T_x)
        The hidden state after every step.
    y_pred : ndarray, (n_y, m, T_x)
        The predictions.
    caches : tuple
        ``(steps, x)``, for `rnn_backward`. ``steps[t]`` is the cache that
        `rnn_cell_forward` would have returned for step t.

    Raises
    ------
    KeyError
        If `parameters` lacks an array.
    TypeError
        If `parameters` is no mapping, or an array holds no real numbers of at most 64 bits.
    ValueError
        If something is no array, an array has the wrong shape, or there is no hidden unit.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import rnn_forward
    >>> parameters = {
    ...     "Wax": np.eye(2), "Waa": np.eye(2), "ba": np.zeros((2, 1)),
    ...     "Wya": np.zeros((4, 2)), "by": np.zeros((4, 1)),
    ... }
    >>> x = np.ones((2, 1, 3))
    >>> a, y_pred, (steps, x) = rnn_forward(x, np.zeros((2, 1)), parameters)
    >>> a[0, 0].round(4)
    array([0.7616, 0.9427, 0.9597])
    >>> y_pred.shape, len(steps)
    ((4, 1, 3), 3)
    """
    (a,), y_pred, caches = _run.forward(CELL, x, a0, parameters)
    return a, y_pred, caches


def rnn_cell_backward(da_next: ArrayLike, cache: Cache) -> dict[str, Array]:
    """Return the gradients of ``sum(da_next * a_next)`` for one step.

    Parameters
    ----------
    da_next : array_like, (n_a, m)
        The gradient of a loss with respect to `a_next`.
    cache : tuple
        What `rnn_cell_forward` returned, or one of the steps of `rnn_forward`.

    Returns
    -------
    dict
        ``dxt``, ``da_prev``, ``dWax``, ``dWaa``, ``dba``, each of the shape of what it
        belongs to.

    Raises
    ------
    KeyError
        If the parameters in `cache` lack an array.
    TypeError
        If an array holds no real numbers of at most 64 bits.
    ValueError
        If `cache` is not what `rnn_cell_forward` returns, or an array has the wrong shape.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import rnn_cell_backward, rnn_cell_forward
    >>> parameters = {
    ...     "Wax": np.eye(1), "Waa": 2 * np.eye(1), "ba": np.zeros((1, 1)),
    ...     "Wya": np.zeros((4, 1)), "by": np.zeros((4, 1)),
    ... }
    >>> a_next, yt_pred, cache = rnn_cell_forward(
    ...     np.zeros((1, 1)), np.zeros((1, 1)), parameters
    ... )
    >>> gradients = rnn_cell_backward(np.ones((1, 1)), cache)
    >>> gradients["dxt"], gradients["da_prev"]
    (array([[1.]]), array([[2.]]))
    """
    return _run.cell_backward(CELL, (da_next,), cache)


def rnn_backward(da: ArrayLike, caches: Caches) -> dict[str, Array]:
    """Return the gradients of ``sum(da * a)`` for a whole sequence.

    Parameters
    ----------
    da : array_like, (n_a, m, T_x)
        The gradient of a loss with respect to `a`, without what comes back to a step from
        those after it.
    caches : tuple
        What `rnn_forward` returned, which holds the run as it was, whatever became of `x`
        and the parameters since; or ``(steps, x)`` with a list of caches of single steps,
        each of which went on from where the one before ended, with the same parameters.

    Returns
    -------
    dict
        ``dx``, ``da0``, ``dWax``, ``dWaa``, ``dba``, each of the shape of what it belongs
        to.

    Raises
    ------
    KeyError
        If the parameters in a cache lack an array.
    TypeError
        If an array holds no real numbers of at most 64 bits.
    ValueError
        If `caches` are not what `rnn_forward` returns, or an array has the wrong shape.

    Notes
    -----
    This is backpropagation through time [1]_.

    References
    ----------
    .. [1] Werbos, P. J. (1990). "Backpropagation Through Time: What It Does and How to Do
       It". Proceedings of the IEEE 78(10), 1550-1560.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import rnn_backward, rnn_forward
    >>> parameters = {
    ...     "Wax": np.eye(1), "Waa": 2 * np.eye(1), "ba": np.zeros((1, 1)),
    ...     "Wya": np.zeros((4, 1)), "by": np.zeros((4, 1)),
    ... }
    >>> a, y_pred, caches = rnn_forward(np.zeros((1, 1, 3)), np.zeros((1, 1)), parameters)
    >>> rnn_backward(np.ones((1, 1, 3)), caches)["dx"]
    array([[[7., 3., 1.]]])
    """
    return _run.backward(CELL, da, caches)
