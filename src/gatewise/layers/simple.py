"""The layers around the recurrent ones: Embedding, Linear and Dropout."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gatewise import _checks
from gatewise.kernels import chooser, products, thread_limits
from gatewise.layers import inputs, parameters
from gatewise.layers.kinds import Feedforward
from gatewise.layers.masks import Mask
from gatewise.layers.module import SHOWN, Gradients, Module
from gatewise.layers.parameters import Snapshot
from gatewise.layers.simple_dicts import EmbeddingFromStateDict, LinearFromStateDict
from gatewise.layers.tape import ModuleTape, check_tape

Array = NDArray[Any]


class SimpleTape(ModuleTape):
    """Holds what one of these layers needs of its input: tokens, rows, or a mask.

    `shape` is that of the input, `dtype` that of the output.
    """

    def __init__(
        self,
        module: Module,
        snapshot: Snapshot,
        held: Any,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        super().__init__(module, snapshot)
        # A view, since the shape of the caller's own array may change.
        self.held: Any = held.view() if isinstance(held, np.ndarray) else held
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


class Embedding(EmbeddingFromStateDict, Feedforward):
    """A table with a row of features for each token.

    A call takes integers of any shape and adds an axis for the features.

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

    Raises
    ------
    TypeError
        If a size is no integer, or `dtype` no dtype.
    ValueError
        If a size is less than 1, or `dtype` another than these.

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
        generator = np.random.default_rng(seed)
        self._add_parameter("weight", shape, generator.standard_normal)

    def _tokens(self, x: ArrayLike) -> NDArray[np.int64]:
        tokens = inputs.as_array("x", x)
        if not inputs.is_integer(tokens) and tokens.size:
            raise TypeError(f"x should hold integers, got dtype {tokens.dtype}")
        return inputs.tokens("x", tokens, self.num_embeddings)

    def _call(self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None) -> Array:
        rows: Array = snapshot.arrays["weight"][self._tokens(x)]
        return rows

    def _forward(
        self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None
    ) -> tuple[Array, SimpleTape]:
        tokens = self._tokens(x)
        tape = SimpleTape(self, snapshot, tokens, tokens.shape, self._dtype)
        return snapshot.arrays["weight"][tokens], tape

    def backward(
        self, tape: SimpleTape, dy: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[None, Gradients]:
        """Return None, as tokens have no gradient, and the gradient of ``weight``.

        Raises
        ------
        TypeError
            If `tape` is not what `forward` returned, `dy` holds no real numbers, or
            `num_threads` is no integer.
        ValueError
            If `tape` is another layer's, a shape does not fit, or `num_threads` is less
            than 1.
        RuntimeError
            If the parameters have changed since `forward`.
        """
        check_tape(tape, SimpleTape, self)
        rows = _gradient(dy, (*tape.shape, self.embedding_dim), self._dtype)
        gradient = np.zeros_like(tape.snapshot.arrays["weight"])
        chooser.kernels.add_by_token(tape.held.reshape(-1), _as_rows(rows), gradient)
        return None, {"weight": gradient}

    def _features(self) -> tuple[int, int]:
        return 0, self.embedding_dim

    def _stream_input(self, array: Array) -> Array:
        return self._tokens(array)

    def _stages(
        self, snapshot: Snapshot, state: Any, *, is_first: bool
    ) -> list[tuple[Any, ...]] | None:
        return [("table", snapshot.arrays["weight"])] if is_first else None

    def _arguments_and_defaults(self) -> dict[str, tuple[Any, Any]]:
        return {
            "num_embeddings": (self.num_embeddings, SHOWN),
            "embedding_dim": (self.embedding_dim, SHOWN),
            **self._dtype_and_default(),
        }


class Linear(LinearFromStateDict, Feedforward):
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

    Raises
    ------
    TypeError
        If a size is no integer, or `dtype` no dtype.
    ValueError
        If a size is less than 1, or `dtype` another than these.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> layer = gatewise.Linear(3, 2, seed=0)
    >>> y, tape = layer.forward(np.ones((5, 3), np.float32))
    >>> dx, gradients = layer.backward(tape, np.ones_like(y))
    >>> gradients["bias"]
    array([5., 5.], dtype=float32)
    """

    _formats = ("float16", "bfloat16", "int8")
    _narrow_names = ("weight",)

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
        bound = 1 / np.sqrt(self.in_features)
        draw = parameters.uniform(np.random.default_rng(seed), bound)
        self._add_parameter("weight", (self.out_features, self.in_features), draw)
        if self.bias:
            self._add_parameter("bias", (self.out_features,), draw)

    def quantize(self, weight_format: str, *, activations: int | None = None) -> Self:
        """Return a copy of this layer for inference whose weights take fewer bytes.

        The copy is called and streams like this layer, but cannot be trained. A net's
        `quantize` leaves its `Linear` layers as they are: the last one's outputs feel every
        rounding, and the recurrent layers take most of the time.

        Parameters
        ----------
        weight_format : {"float16", "bfloat16", "int8"}
            As for a recurrent layer's `quantize`; ``"int8"`` multiplies integers.
        activations : {15, 8}, optional
            The bits that ``"int8"`` rounds each row of the input to; 15 if None.

        Returns
        -------
        Linear
            With the narrow weights and, of int8, their scales, ``weight_scale``, as
            parameters.

        Raises
        ------
        ValueError
            If there is no such format, it does not go with these bits, the layer is not
            float32, or has a weight that the format cannot hold.
        TypeError
            If the layer is quantized already.

        Examples
        --------
        >>> import gatewise
        >>> gatewise.Linear(256, 64, seed=0).quantize("int8")
        Linear(256, 64, weight_format='int8') with 16,896 bytes of weights
        """
        return self._quantized_copy(weight_format, activations)

    def _pack(self, snapshot: Snapshot) -> Any:
        """The parameters in the form that the present backend runs on."""
        arrays = snapshot.arrays
        weight, bias = arrays["weight"], arrays.get("bias")
        if not self._is_narrow:
            return chooser.kernels.pack_linear(weight, bias)
        return chooser.kernels.pack_linear(
            weight,
            bias,
            weight_format=self._kernel_format,
            scale=arrays.get("weight_scale"),
        )

    def _rows(self, x: ArrayLike) -> Array:
        rows = inputs.real("x", x, self._dtype)
        if rows.ndim == 0 or rows.shape[-1] != self.in_features:
            raise ValueError(
                f"x should have shape (..., {self.in_features}), got {rows.shape}"
            )
        return rows

    def _call(self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None) -> Array:
        packed = snapshot.prepared(self._pack)
        # A small product takes no longer than a look at the host's limits.
        given = num_threads is not None
        threads = (
            thread_limits.resolve(num_threads) if given else thread_limits.last_known()
        )
        y: Array | None = None
        if products.blas_from < math.inf and not self._is_narrow:
            weight, bias = snapshot.arrays["weight"], snapshot.arrays.get("bias")
            y = products.linear(self._rows(x), weight, bias)
        if y is None:
            y = chooser.kernels.linear(packed, x, num_threads=threads)
        if y is None:
            rows = np.ascontiguousarray(self._rows(x))
            y = chooser.kernels.linear(packed, rows, num_threads=threads)
            assert y is not None
        return y

    def _forward(
        self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None
    ) -> tuple[Array, SimpleTape]:
        self._check_trainable()
        rows = self._rows(x)
        tape = SimpleTape(self, snapshot, rows, rows.shape, self._dtype)
        return self._call(snapshot, rows, num_threads), tape

    def backward(
        self, tape: SimpleTape, dy: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[Array, Gradients]:
        """Return the gradients of `x` and of the parameters.

        Raises
        ------
        TypeError
            If `tape` is not what `forward` returned, `dy` holds no real numbers,
            `num_threads` is no integer, or the layer's weights are narrow.
        ValueError
            If `tape` is another layer's, a shape does not fit, or `num_threads` is less
            than 1.
        RuntimeError
            If the parameters have changed since `forward`.
        """
        self._check_trainable()
        check_tape(tape, SimpleTape, self)
        drows = _gradient(dy, (*tape.shape[:-1], self.out_features), self._dtype)
        flat = _as_rows(drows)
        weight = np.zeros_like(tape.snapshot.arrays["weight"])
        threads = thread_limits.resolve(num_threads)
        products.outer(flat, _as_rows(tape.held), weight, num_threads=threads)
        gradients = {"weight": weight}
        if self.bias:
            with np.errstate(all="ignore"):
                gradients["bias"] = flat.sum(axis=(0, 1))
        dx: Array = chooser.kernels.empty(tape.shape, self._dtype)
        rows = _as_rows(dx)
        if not products.write_back(flat, tape.snapshot.arrays["weight"], rows):
            packed = tape.snapshot.prepared(self._pack)
            chooser.kernels.linear_back(packed, flat, rows, num_threads=threads)
        return dx, gradients

    def _features(self) -> tuple[int, int]:
        return self.in_features, self.out_features

    def _stream_input(self, array: Array) -> Array:
        return inputs.real("x", array, self._dtype)

    def _stages(
        self, snapshot: Snapshot, state: Any, *, is_first: bool
    ) -> list[tuple[Any, ...]]:
        return [("linear", snapshot.prepared(self._pack))]

    def _arguments_and_defaults(self) -> dict[str, tuple[Any, Any]]:
        return {
            "in_features": (self.in_features, SHOWN),
            "out_features": (self.out_features, SHOWN),
            "bias": (self.bias, True),
            **self._dtype_and_default(),
        }


class Dropout(Feedforward):
    """Hides values at random in training, and scales the others up to make up for it.

    The output has the dtype of the input, float32 or float64.

    Parameters
    ----------
    p
        The probability that a value is hidden.
    seed
        Of what is drawn.

    Raises
    ------
    TypeError
        If `p` is no number.
    ValueError
        If `p` is less than 0, or 1 and more.

    Notes
    -----
    This is dropout as in [1]_, but scaled in training and not at inference.

    References
    ----------
    .. [1] Srivastava, N., et al. (2014). "Dropout: A Simple Way to Prevent Neural Networks
       from Overfitting". Journal of Machine Learning Research 15, 1929-1958.

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

    _changeable: ClassVar[Mapping[str, Callable[[str, Any], Any]]] = {
        "p": inputs.probability,
        "generator": inputs.generator,
    }
    p: float
    generator: np.random.Generator
    _keeps_dtype = True

    def __init__(
        self,
        p: float = 0.5,
        *,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.p = p
        self.generator = np.random.default_rng(seed)

    def _call(self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None) -> Array:
        return _checks.as_floating("x", x)

    def _forward(
        self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None
    ) -> tuple[Array, SimpleTape]:
        values = _checks.as_floating("x", x)
        mask = Mask.draw(self.generator, values.shape, self.p)
        tape = SimpleTape(self, snapshot, mask, values.shape, values.dtype)
        return mask.apply(values), tape

    def backward(
        self, tape: SimpleTape, dy: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[Array, Gradients]:
        """Return the gradient of `x`; there are no parameters.

        Raises
        ------
        TypeError
            If `tape` is not what `forward` returned, `dy` holds no real numbers, or
            `num_threads` is no integer.
        ValueError
            If `tape` is another layer's, a shape does not fit, or `num_threads` is less
            than 1.
        RuntimeError
            If the parameters have changed since `forward`.
        """
        check_tape(tape, SimpleTape, self)
        dx: Array = tape.held.apply(_gradient(dy, tape.shape, tape.dtype))
        return dx, {}

    def _arguments_and_defaults(self) -> dict[str, tuple[Any, Any]]:
        return {"p": (self.p, SHOWN)}

    def _stages(
        self, snapshot: Snapshot, state: Any, *, is_first: bool
    ) -> list[tuple[Any, ...]]:
        return []
