"""The layers around the recurrent ones: Embedding, Linear and Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gatewise import _checks
from gatewise._direction import sum_by_token
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

    def __call__(self, x: ArrayLike) -> Array:
        """Return the tokens' rows: the shape of `x` with an axis for the features added."""
        rows: Array = self._arrays["weight"][self._tokens(x)]
        return rows

    def forward(self, x: ArrayLike) -> tuple[Array, SimpleTape]:
        """Return what a call returns, and a tape that refers to the tokens."""
        tokens = self._tokens(x)
        return self._arrays["weight"][tokens], SimpleTape(
            self, tokens, tokens.shape, self._dtype
        )

    def backward(self, tape: SimpleTape, dy: ArrayLike) -> tuple[None, Gradients]:
        """Return None, as tokens have no gradient, and the gradient of ``weight``."""
        check_tape(tape, SimpleTape, self)
        rows = _gradient(dy, (*tape.shape, self.embedding_dim), self._dtype)
        return None, {"weight": sum_by_token(tape.held, rows, self.num_embeddings)}

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

    def _project(self, rows: Array) -> Array:
        with np.errstate(all="ignore"):
            y: Array = rows @ self._arrays["weight"].T
            if self.bias:
                y += self._arrays["bias"]
        return y

    def __call__(self, x: ArrayLike) -> Array:
        """Return the output for `x` ``(..., in_features)``."""
        return self._project(self._rows(x))

    def forward(self, x: ArrayLike) -> tuple[Array, SimpleTape]:
        """Return what a call returns, and a tape that refers to `x`."""
        rows = self._rows(x)
        return self._project(rows), SimpleTape(self, rows, rows.shape, self._dtype)

    def backward(self, tape: SimpleTape, dy: ArrayLike) -> tuple[Array, Gradients]:
        """Return the gradients of `x` and of the parameters."""
        check_tape(tape, SimpleTape, self)
        drows = _gradient(dy, (*tape.shape[:-1], self.out_features), self._dtype)
        flat = drows.reshape(-1, self.out_features)
        with np.errstate(all="ignore"):
            dx: Array = drows @ self._arrays["weight"]
            gradients = {"weight": flat.T @ tape.held.reshape(-1, self.in_features)}
            if self.bias:
                gradients["bias"] = flat.sum(axis=0)
        return dx, gradients

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

    def __call__(self, x: ArrayLike) -> Array:
        """Return `x` as it is."""
        return _checks.as_floating("x", x)

    def forward(self, x: ArrayLike) -> tuple[Array, SimpleTape]:
        """Return `x` with values hidden, and a tape that holds one byte for each value."""
        values = _checks.as_floating("x", x)
        keep = self.generator.random(values.shape) >= self.p
        return self._drop(values, keep), SimpleTape(self, keep, values.shape, values.dtype)

    def backward(self, tape: SimpleTape, dy: ArrayLike) -> tuple[Array, Gradients]:
        """Return the gradient of `x`; there are no parameters."""
        check_tape(tape, SimpleTape, self)
        return self._drop(_gradient(dy, tape.shape, tape.dtype), tape.held), {}

    def _drop(self, values: Array, keep: NDArray[np.bool_]) -> Array:
        dropped: Array = values * (keep * values.dtype.type(1 / (1 - self.p)))
        return dropped

    def _sizes(self) -> str:
        return f"{self.p}"
