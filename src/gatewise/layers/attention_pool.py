"""A weighted mean over the steps of a sequence, whose weights are learnt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gatewise.kernels import chooser, products
from gatewise.layers import inputs, parameters
from gatewise.layers.module import SHOWN, Gradients
from gatewise.layers.parameters import Snapshot
from gatewise.layers.pooling import Lengths, Pool, PoolTape, sum_of_steps

Array = NDArray[Any]

__all__ = ["AttentionPool"]


class _Held(NamedTuple):
    """All steps that exist, one after another, with what was computed of them."""

    rows: Array
    hidden: Array
    shares: Array


def _pack(snapshot: Snapshot) -> Any:
    """The parameters of both products, as the present backend runs on them."""
    arrays = snapshot.arrays
    return (
        chooser.kernels.pack_linear(arrays["weight"], arrays["bias"]),
        chooser.kernels.pack_linear(arrays["query"][None], None),
    )


class AttentionPool(Pool):
    """A mean over the steps of each sequence, weighted by what each step is.

    A step x has the score ``query . tanh(W x + b)``, and the softmax of a sequence's scores
    is how much each of its steps counts. A sequence without steps gives zeros.

    Parameters
    ----------
    input_size
        Features of a step.
    hidden_size
        How many features are compared with the query; as many as `input_size` if None.
        ``weight`` is ``(hidden_size, input_size)``, ``bias`` and ``query`` are
        ``(hidden_size,)``.
    dtype
        ``"float32"`` or ``"float64"``; inputs are converted to it.
    seed
        Of the first values, which are uniform within ``1 / sqrt(input_size)``, and those of
        the query within ``1 / sqrt(hidden_size)``.

    Raises
    ------
    TypeError
        If a size is no integer, or `dtype` no dtype.
    ValueError
        If a size is less than 1, or `dtype` another than these.

    Notes
    -----
    This is the attention over words of [1]_.

    References
    ----------
    .. [1] Yang, Z., et al. (2016). "Hierarchical Attention Networks for Document
       Classification". NAACL-HLT 2016, 1480-1489.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> pool = gatewise.AttentionPool(4, seed=0)
    >>> x = np.random.default_rng(0).standard_normal((2, 5, 4))
    >>> pool(x, lengths=[5, 3]).shape
    (2, 4)
    >>> shares = pool.attention(x, lengths=[5, 3])
    >>> shares.shape, bool(np.allclose(shares.sum(axis=1), 1)), shares[1, 3:]
    ((2, 5), True, array([0., 0.], dtype=float32))
    """

    _keeps_dtype = False

    def __init__(
        self,
        input_size: int,
        hidden_size: int | None = None,
        *,
        dtype: DTypeLike = "float32",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(dtype)
        self.input_size = inputs.size("input_size", input_size)
        self.hidden_size = (
            self.input_size
            if hidden_size is None
            else inputs.size("hidden_size", hidden_size)
        )
        generator = np.random.default_rng(seed)
        draw = parameters.uniform(generator, 1 / np.sqrt(self.input_size))
        self._add_parameter("weight", (self.hidden_size, self.input_size), draw)
        self._add_parameter("bias", (self.hidden_size,), draw)
        draw = parameters.uniform(generator, 1 / np.sqrt(self.hidden_size))
        self._add_parameter("query", (self.hidden_size,), draw)

    def attention(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """Return how much each step counts: ``(batch, time)``, or ``(time,)`` of one.

        Raises
        ------
        TypeError
            If `x` holds no real numbers, or `lengths` no integers.
        ValueError
            If a shape does not fit, or a length is out of range.
        """
        _, tape = self._forward_ragged(self._snapshot(), x, lengths, None)
        exist = np.arange(tape.shape[-2]) < tape.lengths[:, None]
        shares = np.zeros(exist.shape, self._dtype)
        shares[exist] = tape.held.shares
        return shares.reshape(tape.shape[:-1])

    def _checked(self, x: ArrayLike) -> Array:
        array = inputs.real("x", x, self._dtype)
        if array.ndim not in (2, 3) or array.shape[-1] != self.input_size:
            raise ValueError(
                f"x should have shape (batch, time, {self.input_size}) or "
                f"(time, {self.input_size}), got {array.shape}"
            )
        return array

    def _pool(
        self, snapshot: Snapshot, x: Array, lengths: Lengths, threads: int
    ) -> tuple[Array, _Held]:
        rows = x[np.arange(x.shape[1]) < lengths[:, None]]
        first, second = snapshot.prepared(_pack)
        hidden: Array = chooser.kernels.empty((len(rows), self.hidden_size), self._dtype)
        product = chooser.kernels.linear(first, rows, num_threads=threads)
        chooser.kernels.tanh(product.reshape(-1), hidden.reshape(-1))
        scores = chooser.kernels.linear(second, hidden, num_threads=threads).reshape(1, -1)
        shares = np.empty_like(scores)
        y = np.zeros((len(x), self.input_size), self._dtype)
        for row, part in _parts(lengths):
            own = shares[:, part]
            chooser.kernels.softmax(scores[:, part], own)
            y[row] = sum_of_steps(own[0][:, None] * rows[part])
        return y, _Held(rows, hidden, shares[0])

    def _unpool(self, tape: PoolTape, dy: Array, threads: int) -> tuple[Array, Gradients]:
        rows, hidden, shares = tape.held
        arrays = tape.snapshot.arrays
        dscores = np.empty_like(shares)
        drows: Array = np.empty_like(rows)
        for row, part in _parts(tape.lengths):
            dshares = (rows[part] * dy[row]).sum(axis=1)
            mean = (shares[part] * dshares).sum()
            dscores[part] = shares[part] * (dshares - mean)
            drows[part] = shares[part][:, None] * dy[row]
        dhidden = dscores[:, None] * arrays["query"]
        dproduct = np.ascontiguousarray(dhidden * (1 - hidden * hidden))[None]
        weight = np.zeros_like(arrays["weight"])
        products.outer(dproduct, rows[None], weight, num_threads=threads)
        through: Array = chooser.kernels.empty((1, *rows.shape), self._dtype)
        if not products.write_back(dproduct, arrays["weight"], through):
            packed = tape.snapshot.prepared(_pack)[0]
            chooser.kernels.linear_back(packed, dproduct, through, num_threads=threads)
        drows += through[0]
        dx = np.zeros((len(tape.lengths), *tape.shape[-2:]), self._dtype)
        dx[np.arange(tape.shape[-2]) < tape.lengths[:, None]] = drows
        return dx, {
            "weight": weight,
            "bias": dproduct.sum(axis=(0, 1)),
            "query": (dscores[:, None] * hidden).sum(axis=0),
        }

    def _features(self) -> tuple[int, int]:
        return self.input_size, self.input_size

    def _arguments_and_defaults(self) -> dict[str, tuple[Any, Any]]:
        return {
            "input_size": (self.input_size, SHOWN),
            "hidden_size": (self.hidden_size, self.input_size),
            **self._dtype_and_default(),
        }


def _parts(lengths: Lengths) -> Iterator[tuple[int, slice]]:
    """Each sequence that has steps, with where they stand among the steps of all."""
    end = 0
    for row, length in enumerate(lengths.tolist()):
        if length:
            yield row, slice(end, end + length)
        end += length
