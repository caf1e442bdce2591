"""The layers around the recurrent ones: Embedding, Linear and Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gatewise import _backend, _checks, _threads
from gatewise.layers import inputs
from gatewise.layers.module import Feedforward, Gradients, Module, ModuleTape, check_tape

Array = NDArray[Any]


class SimpleTape(ModuleTape):
    """Holds what one of these layers needs of its input: tokens, rows, or a mask.

    `shape` is that of the input, `dtype` that of the output.
    """

    def __init__(
        self,
        module: Module,
        held: Array,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        super().__init__(module)
        self.held = held
        self.shape = shape
        self.dtype = dtype


def _gradient(dy: ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    array = inputs.real("dy", dy, dtype)
    if array.shape != shape:
        raise ValueError(f"dy should have shape {shape}, got {array.shape}")
    return array


def _as_rows(array: Array) -> Array:
    """``(..., features)`` as rows ``(1, n, features)`` that the kernels take."""
    return np.ascontiguousarray(array).reshape(1, -1, array.shape[-1])


class Embedding(Feedforward):
    """A table with a row of features for each token.

    Parameters
    ----------
    num_embeddings
        How many tokens there are.
    embedding_dim
        Features of a token.
    dtype
        ``"float32"`` or ``"float64"``.
    seed
        Of the first values, which are drawn from a standard normal distribution.

    Examples
    --------
    >>> import gatewise
    >>> embedding = gatewise.Embedding(10, 4, seed=0)
    >>> embedding([[1, 2, 3], [4, 5, 6]]).shape
    (2, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        dtype: DTypeLike = "float32",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(dtype)
        self.num_embeddings = inputs.size("num_embeddings", num_embeddings)
        self.embedding_dim = inputs.size("embedding_dim", embedding_dim)
        shape = (self.num_embeddings, self.embedding_dim)
        self._add_parameter("weight", np.random.default_rng(seed).standard_normal(shape))

    def _tokens(self, x: ArrayLike) -> Array:
        tokens = inputs.as_array("x", x)
        if not inputs.is_tokens(tokens) and tokens.size:
            raise TypeError(f"x should hold integers, got dtype {tokens.dtype}")
        return inputs.check_tokens("x", tokens, self.num_embeddings)

    def __call__(self, x: ArrayLike, *, num_threads: int | None = None) -> Array:
        """Return the tokens' rows: the shape of `x` with an axis for the features added."""
        rows: Array = self._arrays["weight"][self._tokens(x)]
        return rows

    def forward(
        self, x: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[Array, SimpleTape]:
        """Return what a call returns, and a tape that refers to the tokens."""
        tokens = self._tokens(x)
        return self._arrays["weight"][tokens], SimpleTape(
            self, tokens, tokens.shape, self._dtype
        )

    def backward(
        self, tape: SimpleTape, dy: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[None, Gradients]:
        """Return None, as tokens have no gradient, and the gradient of ``weight``."""
        check_tape(tape, SimpleTape, self)
        rows = _gradient(dy, (*tape.shape, self.embedding_dim), self._dtype)
        gradient = np.zeros_like(self._arrays["weight"])
        tokens = np.ascontiguousarray(tape.held.reshape(-1), np.int64)
        _backend.kernels.add_by_token(tokens, _as_rows(rows), gradient)
        return None, {"weight": gradient}

    def _sizes(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"


class Linear(Feedforward):
    """``y = x W^T + b`` on the last axis.

    Parameters
    ----------
    in_features, out_features
        The sizes of the last axis of input and output; ``weight`` is
        ``(out_features, in_features)``.
    bias
        Whether there is a ``bias`` ``(out_features,)``.
    dtype
        ``"float32"`` or ``"float64"``; inputs are converted to it.
    seed
        Of the first values, which are uniform within ``1 / sqrt(in_features)``.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> layer = gatewise.Linear(3, 2, seed=0)
    >>> y, tape = layer.forward(np.ones((5, 3), np.float32))
    >>> dx, gradients = layer.backward(tape, np.ones_like(y))
    >>> gradients["bias"]
    array([5., 5.], dtype=float32)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = "float32",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(dtype)
        self.in_features = inputs.size("in_features", in_features)
        self.out_features = inputs.size("out_features", out_features)
        self.bias = bool(bias)
        generator = np.random.default_rng(seed)
        bound = 1 / np.sqrt(self.in_features)
        shape = (self.out_features, self.in_features)
        self._add_parameter("weight", generator.uniform(-bound, bound, shape))
        if self.bias:
            self._add_parameter("bias", generator.uniform(-bound, bound, shape[0]))

    def _rows(self, x: ArrayLike) -> Array:
        rows = inputs.real("x", x, self._dtype)
        if rows.ndim == 0 or rows.shape[-1] != self.in_features:
            raise ValueError(
                f"x should have shape (..., {self.in_features}), got {rows.shape}"
            )
        return rows

    def _project(self, rows: Array, num_threads: int | None) -> Array:
        y = self._multiply(rows, self._arrays["weight"], num_threads)
        if self.bias:
            with np.errstate(all="ignore"):
                y += self._arrays["bias"]
        return y

    def _multiply(self, rows: Array, matrix: Array, num_threads: int | None) -> Array:
        """``rows @ matrix.T`` by the kernels, whose threads would wait for BLAS's own."""
        shape = (*rows.shape[:-1], len(matrix))
        product: Array = _backend.kernels.empty(shape, self._dtype)
        _backend.kernels.multiply(
            _as_rows(rows),
            matrix,
            _as_rows(product),
            num_threads=_threads.resolve(num_threads),
        )
        return product

    def __call__(self, x: ArrayLike, *, num_threads: int | None = None) -> Array:
        """Return the output for `x` ``(..., in_features)``."""
        return self._project(self._rows(x), num_threads)

    def forward(
        self, x: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[Array, SimpleTape]:
        """Return what a call returns, and a tape that refers to `x`."""
        rows = self._rows(x)
        return self._project(rows, num_threads), SimpleTape(
            self, rows, rows.shape, self._dtype
        )

    def backward(
        self, tape: SimpleTape, dy: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[Array, Gradients]:
        """Return the gradients of `x` and of the parameters."""
        check_tape(tape, SimpleTape, self)
        drows = _gradient(dy, (*tape.shape[:-1], self.out_features), self._dtype)
        flat = _as_rows(drows)
        weight = np.zeros_like(self._arrays["weight"])
        threads = _threads.resolve(num_threads)
        _backend.kernels.outer(flat, _as_rows(tape.held), weight, num_threads=threads)
        gradients = {"weight": weight}
        if self.bias:
            with np.errstate(all="ignore"):
                gradients["bias"] = flat.sum(axis=(0, 1))
        return self._multiply(drows, self._arrays["weight"].T, num_threads), gradients

    def _sizes(self) -> str:
        return (
            f"{self.in_features}, {self.out_features}{'' if self.bias else ', bias=False'}"
        )


class Dropout(Feedforward):
    """Hides values at random in training, and scales the others up to make up for it.

    The output has the dtype of the input, float32 or float64.

    Parameters
    ----------
    p
        The probability that a value is hidden.
    seed
        Of what is drawn.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> dropout = gatewise.Dropout(0.5, seed=0)
    >>> y, tape = dropout.forward(np.ones(6, np.float32))
    >>> sorted({float(value) for value in y})
    [0.0, 2.0]
    >>> dropout(np.ones(3, np.float32))
    array([1., 1., 1.], dtype=float32)
    """

    _changeable = frozenset({"p", "generator"})

    def __init__(
        self,
        p: float = 0.5,
        *,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.p = inputs.probability("p", p)
        self.generator = np.random.default_rng(seed)

    def __call__(self, x: ArrayLike, *, num_threads: int | None = None) -> Array:
        """Return `x` as it is."""
        return _checks.as_floating("x", x)

    def forward(
        self, x: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[Array, SimpleTape]:
        """Return `x` with values hidden, and a tape that holds one byte for each value."""
        values = _checks.as_floating("x", x)
        keep = self.generator.random(values.shape) >= self.p
        return self._drop(values, keep), SimpleTape(self, keep, values.shape, values.dtype)

    def backward(
        self, tape: SimpleTape, dy: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[Array, Gradients]:
        """Return the gradient of `x`; there are no parameters."""
        check_tape(tape, SimpleTape, self)
        return self._drop(_gradient(dy, tape.shape, tape.dtype), tape.held), {}

    def _drop(self, values: Array, keep: NDArray[np.bool_]) -> Array:
        dropped: Array = values * (keep * values.dtype.type(1 / (1 - self.p)))
        return dropped

    def _sizes(self) -> str:
        return f"{self.p}"
