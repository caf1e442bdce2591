"""The long short-term memory."""

from __future__ import annotations

from numpy.typing import ArrayLike

from gatewise._checks import Array
from gatewise.notebook import _run
from gatewise.notebook._cell import Cache, GatedCell, Parameters
from gatewise.notebook._run import Caches

__all__ = ["lstm_backward", "lstm_cell_backward", "lstm_cell_forward", "lstm_forward"]

CELL = GatedCell(
    name="lstm",
    kernel="lstm",
    states=("a", "c"),
    gates=("it", "ft", "cct", "ot"),
    fields=(
        "a_next",
        "c_next",
        "a_prev",
        "c_prev",
        "ft",
        "it",
        "cct",
        "ot",
        "xt",
        "parameters",
    ),
    own=("Wf", "bf", "Wi", "bi", "Wc", "bc", "Wo", "bo"),
    layout="aj a1 aj a1 aj a1 aj a1",
    head=("Wy", "by"),
)


def lstm_cell_forward(
    xt: ArrayLike, a_prev: ArrayLike, c_prev: ArrayLike, parameters: Parameters
) -> tuple[Array, Array, Array, Cache]:
    """Advance an LSTM by one step.

    With ``[a; x]`` the stack of `a_prev` above `xt`: the forget gate
    ``ft = sigmoid(Wf [a; x] + bf)``, the update gate ``it = sigmoid(Wi [a; x] + bi)``, the
    candidate ``cct = tanh(Wc [a; x] + bc)`` and the output gate
    ``ot = sigmoid(Wo [a; x] + bo)`` give ``c_next = ft * c_prev + it * cct``,
    ``a_next = ot * tanh(c_next)`` and ``yt_pred = softmax(Wy a_next + by)``.

    Parameters
    ----------
    xt : array_like, (n_x, m)
        The input of this step.
    a_prev, c_prev : array_like, (n_a, m)
        The hidden state and the cell state before it.
    parameters : mapping
        ``Wf``, ``Wi``, ``Wc``, ``Wo`` ``(n_a, n_a + n_x)``, ``bf``, ``bi``, ``bc``, ``bo``
        ``(n_a, 1)``, ``Wy (n_y, n_a)``, ``by (n_y, 1)``. Other keys are ignored.

    Returns
    -------
    a_next, c_next : ndarray, (n_a, m)
        The hidden state and the cell state after the step.
    yt_pred : ndarray, (n_y, m)
        The prediction.
    cache : tuple
        ``(a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, parameters)``, for
        `lstm_cell_backward`.

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
    The cell is that of [1]_, with the forget gate of [2]_.

    References
    ----------
    .. [1] Hochreiter, S., and Schmidhuber, J. (1997). "Long Short-Term Memory". Neural
       Computation 9(8), 1735-1780.
    .. [2] Gers, F. A., Schmidhuber, J., and Cummins, F. (2000). "Learning to Forget:
       Continual Prediction with LSTM". Neural Computation 12(10), 2451-2471.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import lstm_cell_forward
    >>> parameters = {f"W{gate}": np.zeros((1, 3)) for gate in "fico"}
    >>> parameters |= {f"b{gate}": np.zeros((1, 1)) for gate in "fico"}
    >>> parameters |= {"Wy": np.zeros((2, 1)), "by": np.zeros((2, 1))}
    >>> a_next, c_next, yt_pred, cache = lstm_cell_forward(
    ...     np.ones((2, 1)), np.zeros((1, 1)), np.full((1, 1), 4.0), parameters
    ... )
    >>> c_next, a_next.round(4)
    (array([[2.]]), array([[0.482]]))
    """
    before = (a_prev, c_prev)
    (a_next, c_next), yt_pred, cache = _run.cell_forward(CELL, xt, before, parameters)
    return a_next, c_next, yt_pred, cache


def lstm_forward(
    x: ArrayLike, a0: ArrayLike, parameters: Parameters
) -> tuple[Array, Array, Array, Caches]:
    """Run an LSTM over a whole sequence; its cell state starts at zero.

    Parameters
    ----------
    x : array_like, (n_x, m, T_x)
        The inputs; T_x and m may be 0.
    a0 : array_like, (n_a, m)
        The hidden state before the first step.
    parameters : mapping
        As for `lstm_cell_forward`.

    Returns
    -------
    a : ndarray, (n_a, m, T_x)
        The hidden state after every step.
    y : ndarray, (n_y, m, T_x)
        The predictions.
    c : ndarray, (n_a, m, T_x)
        The cell state after every step.
    caches : tuple
        ``(steps, x)``, for `lstm_backward`. ``steps[t]`` is the cache that
        `lstm_cell_forward` would have returned for step t.

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
    >>> from gatewise import lstm_forward
    >>> parameters = {f"W{gate}": np.zeros((1, 3)) for gate in "fico"}
    >>> parameters |= {f"b{gate}": np.ones((1, 1)) for gate in "fico"}
    >>> parameters |= {"Wy": np.zeros((2, 1)), "by": np.zeros((2, 1))}
    >>> a, y, c, (steps, x) = lstm_forward(np.ones((2, 1, 3)), np.zeros((1, 1)), parameters)
    >>> c.round(4)
    array([[[0.5568, 0.9638, 1.2614]]])
    >>> y.shape, len(steps)
    ((2, 1, 3), 3)
    """
    (a, c), y, caches = _run.forward(CELL, x, a0, parameters)
    return a, y, c, caches


def lstm_cell_backward(
    da_next: ArrayLike, dc_next: ArrayLike, cache: Cache
) -> dict[str, Array]:
    """Return the gradients of ``sum(da_next * a_next + dc_next * c_next)`` for one step.

    Parameters
    ----------
    da_next, dc_next : array_like, (n_a, m)
        The gradients of a loss with respect to `a_next` and `c_next`; that of `c_next` does
        not include what reaches it through `a_next`.
    cache : tuple
        What `lstm_cell_forward` returned, or one of the steps of `lstm_forward`.

    Returns
    -------
    dict
        ``dxt``, ``da_prev``, ``dc_prev``, ``dWf``, ``dbf``, ``dWi``, ``dbi``, ``dWc``,
        ``dbc``, ``dWo``, ``dbo``, each of the shape of what it belongs to.

    Raises
    ------
    KeyError
        If the parameters in `cache` lack an array.
    TypeError
        If an array holds no real numbers of at most 64 bits.
    ValueError
        If `cache` is not what `lstm_cell_forward` returns, or an array has the wrong shape.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import lstm_cell_backward, lstm_cell_forward
    >>> parameters = {f"W{gate}": np.zeros((1, 3)) for gate in "fico"}
    >>> parameters |= {f"b{gate}": np.zeros((1, 1)) for gate in "fico"}
    >>> parameters |= {"Wy": np.zeros((2, 1)), "by": np.zeros((2, 1))}
    >>> *_, cache = lstm_cell_forward(
    ...     np.ones((2, 1)), np.zeros((1, 1)), np.zeros((1, 1)), parameters
    ... )
    >>> gradients = lstm_cell_backward(np.ones((1, 1)), np.ones((1, 1)), cache)
    >>> gradients["dc_prev"], gradients["dbc"]
    (array([[0.75]]), array([[0.75]]))
    """
    return _run.cell_backward(CELL, (da_next, dc_next), cache)


def lstm_backward(da: ArrayLike, caches: Caches) -> dict[str, Array]:
    """Return the gradients of ``sum(da * a)`` for a whole sequence, through both a and c.

    Parameters
    ----------
    da : array_like, (n_a, m, T_x)
        The gradient of a loss with respect to `a`, without what comes back to a step from
        those after it.
    caches : tuple
        What `lstm_forward` returned, which holds the run as it was, whatever became of `x`
        and the parameters since; or ``(steps, x)`` with a list of caches of single steps,
        each of which went on from where the one before ended, with the same parameters.

    Returns
    -------
    dict
        ``dx``, ``da0``, ``dWf``, ``dbf``, ``dWi``, ``dbi``, ``dWc``, ``dbc``, ``dWo``,
        ``dbo``, each of the shape of what it belongs to.

    Raises
    ------
    KeyError
        If the parameters in a cache lack an array.
    TypeError
        If an array holds no real numbers of at most 64 bits.
    ValueError
        If `caches` are not what `lstm_forward` returns, or an array has the wrong shape.

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
    >>> from gatewise import lstm_backward, lstm_forward
    >>> parameters = {f"W{gate}": np.zeros((1, 3)) for gate in "fico"}
    >>> parameters |= {f"b{gate}": np.zeros((1, 1)) for gate in "fico"}
    >>> parameters |= {"Wy": np.zeros((2, 1)), "by": np.zeros((2, 1))}
    >>> *_, caches = lstm_forward(np.ones((2, 1, 3)), np.zeros((1, 1)), parameters)
    >>> lstm_backward(np.ones((1, 1, 3)), caches)["dbc"]
    array([[1.0625]])
    """
    return _run.backward(CELL, da, caches)
