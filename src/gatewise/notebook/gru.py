"""The gated recurrent unit, in the course's own convention."""

from __future__ import annotations

from numpy.typing import ArrayLike

from gatewise._checks import Array
from gatewise.notebook import _run
from gatewise.notebook._cell import Cache, GatedCell, Parameters
from gatewise.notebook._run import Caches

__all__ = ["gru_backward", "gru_cell_backward", "gru_cell_forward", "gru_forward"]

CELL = GatedCell(
    name="gru",
    kernel="gru_reset_before",
    states=("a",),
    gates=("r", "u", "cct"),
    fields=("a_next", "a_prev", "r", "u", "cct", "xt", "parameters"),
    own=("Wu", "bu", "Wr", "br", "Wc", "bc"),
    layout="aj a1 aj a1 aj a1",
    head=("Wy", "by"),
)


def gru_cell_forward(
    xt: ArrayLike, a_prev: ArrayLike, parameters: Parameters
) -> tuple[Array, Array, Cache]:
    """Advance a GRU by one step.

    The update gate ``u = sigmoid(Wu [a_prev; xt] + bu)``, the reset gate
    ``r = sigmoid(Wr [a_prev; xt] + br)`` and the candidate
    ``cct = tanh(Wc [r * a_prev; xt] + bc)``, where ``[a; x]`` is the stack of a above x,
    give ``a_next = u * cct + (1 - u) * a_prev`` and ``yt_pred = softmax(Wy a_next + by)``.

    Parameters
    ----------
    xt : array_like, (n_x, m)
        The input of this step.
    a_prev : array_like, (n_a, m)
        The hidden state before it.
    parameters : mapping
        ``Wu``, ``Wr``, ``Wc`` ``(n_a, n_a + n_x)``, ``bu``, ``br``, ``bc`` ``(n_a, 1)``,
        ``Wy (n_y, n_a)``, ``by (n_y, 1)``. Other keys are ignored.

    Returns
    -------
    a_next : ndarray, (n_a, m)
        The hidden state after the step.
    yt_pred : ndarray, (n_y, m)
        The prediction.
    cache : tuple
        ``(a_next, a_prev, r, u, cct, xt, parameters)``, for `gru_cell_backward`.

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
    The cell is that of [1]_, whose z is 1 - u.

    References
    ----------
    .. [1] Cho, K., et al. (2014). "Learning Phrase Representations using RNN
       Encoder-Decoder for Statistical Machine Translation". EMNLP 2014. arXiv:1406.1078.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import gru_cell_forward
    >>> parameters = {f"W{gate}": np.zeros((1, 3)) for gate in "urc"}
    >>> parameters |= {f"b{gate}": np.zeros((1, 1)) for gate in "urc"}
    >>> parameters |= {"Wy": np.zeros((2, 1)), "by": np.zeros((2, 1))}
    >>> a_next, yt_pred, cache = gru_cell_forward(
    ...     np.ones((2, 1)), np.ones((1, 1)), parameters
    ... )
    >>> a_next
    array([[0.5]])
    """
    (a_next,), yt_pred, cache = _run.cell_forward(CELL, xt, (a_prev,), parameters)
    return a_next, yt_pred, cache


def gru_forward(
    x: ArrayLike, a0: ArrayLike, parameters: Parameters
) -> tuple[Array, Array, Caches]:
    """Run a GRU over a whole sequence.

    Parameters
    ----------
    x : array_like, (n_x, m, T_x)
        The inputs; T_x and m may be 0.
    a0 : array_like, (n_a, m)
        The hidden state before the first step.
    parameters : mapping
        As for `gru_cell_forward`.

    Returns
    -------
    a : ndarray, (n_a, m, T_x)
        The hidden state after every step.
    y : ndarray, (n_y, m, T_x)
        The predictions.
    caches : tuple
        ``(steps, x)``, for `gru_backward`. ``steps[t]`` is the cache that
        `gru_cell_forward` would have returned for step t.

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
    >>> from gatewise import gru_forward
    >>> parameters = {f"W{gate}": np.zeros((1, 3)) for gate in "urc"}
    >>> parameters |= {f"b{gate}": np.zeros((1, 1)) for gate in "urc"}
    >>> parameters |= {"Wy": np.zeros((2, 1)), "by": np.zeros((2, 1))}
    >>> a, y, (steps, x) = gru_forward(np.ones((2, 1, 3)), np.ones((1, 1)), parameters)
    >>> a
    array([[[0.5  , 0.25 , 0.125]]])
    >>> y.shape, len(steps)
    ((2, 1, 3), 3)
    """
    (a,), y, caches = _run.forward(CELL, x, a0, parameters)
    return a, y, caches


def gru_cell_backward(da_next: ArrayLike, cache: Cache) -> dict[str, Array]:
    """Return the gradients of ``sum(da_next * a_next)`` for one step.

    Parameters
    ----------
    da_next : array_like, (n_a, m)
        The gradient of a loss with respect to `a_next`.
    cache : tuple
        What `gru_cell_forward` returned, or one of the steps of `gru_forward`.

    Returns
    -------
    dict
        ``dxt``, ``da_prev``, ``dWu``, ``dbu``, ``dWr``, ``dbr``, ``dWc``, ``dbc``, each of
        the shape of what it belongs to.

    Raises
    ------
    KeyError
        If the parameters in `cache` lack an array.
    TypeError
        If an array holds no real numbers of at most 64 bits.
    ValueError
        If `cache` is not what `gru_cell_forward` returns, or an array has the wrong shape.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import gru_cell_backward, gru_cell_forward
    >>> parameters = {f"W{gate}": np.zeros((1, 3)) for gate in "urc"}
    >>> parameters |= {f"b{gate}": np.zeros((1, 1)) for gate in "urc"}
    >>> parameters |= {"Wy": np.zeros((2, 1)), "by": np.zeros((2, 1))}
    >>> a_next, yt_pred, cache = gru_cell_forward(
    ...     np.ones((2, 1)), np.ones((1, 1)), parameters
    ... )
    >>> gradients = gru_cell_backward(np.ones((1, 1)), cache)
    >>> gradients["da_prev"], gradients["dbu"], gradients["dbc"]
    (array([[0.5]]), array([[-0.25]]), array([[0.5]]))
    """
    return _run.cell_backward(CELL, (da_next,), cache)


def gru_backward(da: ArrayLike, caches: Caches) -> dict[str, Array]:
    """Return the gradients of ``sum(da * a)`` for a whole sequence.

    Parameters
    ----------
    da : array_like, (n_a, m, T_x)
        The gradient of a loss with respect to `a`, without what comes back to a step from
        those after it.
    caches : tuple
        What `gru_forward` returned, which holds the run as it was, whatever became of `x`
        and the parameters since; or ``(steps, x)`` with a list of caches of single steps,
        each of which went on from where the one before ended, with the same parameters.

    Returns
    -------
    dict
        ``dx``, ``da0``, ``dWu``, ``dbu``, ``dWr``, ``dbr``, ``dWc``, ``dbc``, each of the
        shape of what it belongs to.

    Raises
    ------
    KeyError
        If the parameters in a cache lack an array.
    TypeError
        If an array holds no real numbers of at most 64 bits.
    ValueError
        If `caches` are not what `gru_forward` returns, or an array has the wrong shape.

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
    >>> from gatewise import gru_backward, gru_forward
    >>> parameters = {f"W{gate}": np.zeros((1, 3)) for gate in "urc"}
    >>> parameters |= {f"b{gate}": np.zeros((1, 1)) for gate in "urc"}
    >>> parameters |= {"Wy": np.zeros((2, 1)), "by": np.zeros((2, 1))}
    >>> *_, caches = gru_forward(np.ones((2, 1, 3)), np.ones((1, 1)), parameters)
    >>> gru_backward(np.ones((1, 1, 3)), caches)["da0"]
    array([[0.875]])
    """
    return _run.backward(CELL, da, caches)
