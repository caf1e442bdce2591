"""The base of layers of one's own: two methods, and all that layers share is there."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gatewise.kernels import thread_limits
from gatewise.layers import inputs
from gatewise.layers.kinds import Feedforward
from gatewise.layers.module import Gradients, Module
from gatewise.layers.parameters import Snapshot
from gatewise.layers.tape import ModuleTape, check_tape

Array = NDArray[Any]

__all__ = ["Call", "Layer"]


class Call(ModuleTape):
    """One call of a layer of one's own, from `Layer.compute` to `Layer.gradients`.

    Attributes
    ----------
    x : ndarray
        The input, which is read-only.
    y : ndarray
        What `compute` returned; None until then.
    lengths : ndarray of int64, shape (batch,), or None
        How many steps of each sequence exist, for a layer over time.
    training : bool
        Whether this is training, where dropout hides something.
    num_threads : int
    kept : Any
        What `compute` leaves for `gradients`.
    """

    def __init__(
        self,
        module: Module,
        snapshot: Snapshot,
        x: Array,
        lengths: NDArray[np.int64] | None,
        *,
        training: bool,
        num_threads: int,
    ) -> None:
        super().__init__(module, snapshot)
        self.x = x.view()
        self.x.flags.writeable = False
        self.y: Any = None
        self.lengths = lengths
        self.training = training
        self.num_threads = num_threads
        self.kept: Any = None

    @property
    def parameters(self) -> Mapping[str, Array]:
        """The parameters of this call by name, as read-only arrays."""
        return self.snapshot.arrays

    def exists(self) -> NDArray[np.bool_]:
        """Return which steps exist, ``(batch, time)``; for a layer over time.

        Raises
        ------
        ValueError
            If `x` has no batch axis.
        """
        if self.x.ndim < 3:
            raise ValueError(
                f"x should have shape (batch, time, features), got {self.x.shape}"
            )
        size, time = self.x.shape[:2]
        if self.lengths is None:
            return np.ones((size, time), bool)
        return np.arange(time) < self.lengths[:, None]


class Layer(Feedforward):
    """The base of layers of one's own.

    A layer says in `compute` what it makes of its input and in `gradients` the way back.
    It then is called, trained, put into a `Sequential`, copied and pickled as all others
    are, and its parameters change as theirs do: all at once. `gatewise.testing.check_layer`
    compares the gradients with finite differences, and looks at what else can go wrong.
    `gatewise.save` keeps it if `arguments` says what makes it again, and
    ``gatewise.load(path, layers=[Scale])`` is told the class.

    Attributes are fixed once they are set, but for those that begin with an underscore. A
    layer that draws random numbers draws them from a ``self.generator``, whose state the
    checkpoints of `fit` keep.

    Parameters
    ----------
    dtype
        ``"float32"`` or ``"float64"``; inputs are converted to it.

    Attributes
    ----------
    in_features, out_features : int or None
        How many features the last axis has before and after, if that is fixed; a
        `Sequential` compares them, and inputs are. Set them in ``__init__``.
    over_time : bool
        Whether the input has to be ``(batch, time, features)``, or ``(time, features)``,
        and lengths are asked for.
    ends_time : bool
        Whether the output is one vector for each sequence.

    Raises
    ------
    TypeError
        If `dtype` is no dtype.
    ValueError
        If `dtype` is another than float32 and float64.

    Examples
    --------
    >>> from typing import Any
    >>> import numpy as np, gatewise
    >>> from gatewise.layers import Call
    >>> class Scale(gatewise.Layer):
    ...     def __init__(self, features: int, dtype: str = "float32") -> None:
    ...         super().__init__(dtype)
    ...         self.in_features = self.out_features = features
    ...         self.add_parameter("scale", np.ones(features))
    ...
    ...     def arguments(self) -> dict[str, Any]:
    ...         return {"features": self.in_features}
    ...
    ...     def compute(self, x: Any, call: Call) -> Any:
    ...         return x * call.parameters["scale"]
    ...
    ...     def gradients(self, dy: Any, call: Call) -> Any:
    ...         leading = tuple(range(dy.ndim - 1))
    ...         scale = (dy * call.x).sum(axis=leading)
    ...         return dy * call.parameters["scale"], {"scale": scale}
    >>> model = gatewise.Sequential(gatewise.GRU(3, 4), Scale(4), gatewise.Linear(4, 1))
    >>> model
    Sequential(GRU(3, 4), Scale(features=4), Linear(4, 1)) with 117 parameters
    >>> gatewise.testing.check_layer(Scale(4, "float64"), np.ones((2, 5, 4)))
    """

    in_features: int | None = None
    out_features: int | None = None
    over_time: ClassVar[bool] = False
    ends_time: ClassVar[bool] = False

    def __init__(self, dtype: DTypeLike = "float32") -> None:
        super().__init__(dtype)

    @abstractmethod
    def compute(self, x: Array, call: Call) -> Array:
        """Return the output for an input of the layer's dtype.

        Parameters
        ----------
        x : ndarray
            ``call.x``, which is read-only.
        call : Call
            The parameters and the lengths, and ``call.kept`` for what `gradients` needs.
        """

    @abstractmethod
    def gradients(self, dy: Array, call: Call) -> tuple[Array | None, Mapping[str, Array]]:
        """Return the gradients of the input and, by name, of all parameters.

        Parameters
        ----------
        dy : ndarray
            The gradient of the output, of its shape and dtype.
        call : Call
            As `compute` has left it.
        """

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make this layer again, but for its dtype."""
        return {}

    def add_parameter(self, name: str, values: ArrayLike) -> None:
        """Have a parameter that starts from these values; for ``__init__``.

        Raises
        ------
        TypeError
            If `name` is no string, or `values` hold no real numbers.
        ValueError
            If the name is taken, or no name that a parameter can have.
        """
        if not isinstance(name, str):
            raise TypeError(f"name should be a string, got {type(name).__name__}")
        if not name.isidentifier():
            raise ValueError(f"name should be a name such as 'weight', got {name!r}")
        if name in self._holder.values.now().arrays:
            raise ValueError(f"name should be one that is not taken, got {name!r}")
        array = inputs.real("values", values, self._dtype)
        self._add_parameter(name, array.shape, lambda shape: array)

    def __call__(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> Array:
        """Return the output for `x`, as at inference.

        Parameters
        ----------
        x
            The input.
        lengths
            How many steps of each sequence exist, for a layer over time.
        num_threads
            How many threads this call may use; as `gatewise.set_num_threads` says if None.

        Raises
        ------
        TypeError
            If `x` holds no real numbers, `lengths` no integers, or `num_threads` is no
            integer.
        ValueError
            If a shape does not fit, a length is out of range, or `num_threads` is less than
            1.
        """
        return self._call_ragged(self._snapshot(), x, lengths, num_threads)

    def forward(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> tuple[Array, Call]:
        """Return the output for `x`, as in training, and the call for `backward`.

        Raises
        ------
        TypeError
            If `x` holds no real numbers, `lengths` no integers, or `num_threads` is no
            integer.
        ValueError
            If a shape does not fit, a length is out of range, or `num_threads` is less than
            1.
        """
        return self._forward_ragged(self._snapshot(), x, lengths, num_threads)

    def backward(
        self, tape: Call, dy: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[Array | None, Gradients]:
        """Return the gradients of `x` and of the parameters.

        Raises
        ------
        TypeError
            If `tape` is not what `forward` returned, `dy` or a gradient holds no real
            numbers, `gradients` returns something else, or `num_threads` is no integer.
        ValueError
            If `tape` is another layer's, a shape does not fit, or `num_threads` is less
            than 1.
        RuntimeError
            If the parameters have changed since `forward`.
        """
        check_tape(tape, Call, self)
        tape.num_threads = thread_limits.resolve(num_threads)
        array = inputs.real("dy", dy, self._dtype)
        if array.shape != tape.y.shape:
            raise ValueError(f"dy should have shape {tape.y.shape}, got {array.shape}")
        with np.errstate(all="ignore"):
            given: Any = self.gradients(array, tape)
        if not (
            isinstance(given, tuple | list)
            and len(given) == 2
            and isinstance(given[1], Mapping)
        ):
            raise TypeError(
                f"gradients of {type(self).__name__} should return a tuple of the gradient "
                f"of x and a dict of those of parameters, got {type(given).__name__}"
            )
        dx, found = given
        if dx is not None:
            dx = self._checked("the gradient of x", dx, tape.x.shape)
        own = tape.parameters
        if found.keys() != own.keys():
            raise ValueError(
                f"gradients of {type(self).__name__} should return those of "
                f"{', '.join(own) or 'no parameter'}, got {', '.join(found) or 'none'}"
            )
        return dx, {
            name: self._checked(f"the gradient of {name}", found[name], own[name].shape)
            for name in own
        }

    def _checked(self, what: str, value: Any, shape: tuple[int, ...]) -> Array:
        array = inputs.real(what, value, self._dtype)
        if array.shape != shape:
            raise ValueError(f"{what} should have shape {shape}, got {array.shape}")
        return array

    def _run(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        lengths: ArrayLike | None,
        num_threads: int | None,
        *,
        training: bool,
    ) -> Call:
        array = inputs.real("x", x, self._dtype)
        features = "features" if self.in_features is None else self.in_features
        fits = array.ndim and self.in_features in (None, array.shape[-1])
        if not fits or (self.over_time and array.ndim not in (2, 3)):
            wanted = (
                f"(batch, time, {features}) or (time, {features})"
                if self.over_time
                else f"(..., {features})"
            )
            raise ValueError(f"x should have shape {wanted}, got {array.shape}")
        counts = None
        if lengths is not None and self.over_time:
            if array.ndim == 2:
                raise ValueError("lengths should be None for an x without a batch axis")
            counts = inputs.sequence_lengths(lengths, *array.shape[:2])
        threads = thread_limits.resolve(num_threads)
        call = Call(self, snapshot, array, counts, training=training, num_threads=threads)
        with np.errstate(all="ignore"):
            y: Any = self.compute(call.x, call)
        if not isinstance(y, np.ndarray) or y.dtype != self._dtype:
            got = y.dtype if isinstance(y, np.ndarray) else type(y).__name__
            raise TypeError(
                f"compute of {type(self).__name__} should return an array of "
                f"{self._dtype}, got {got}"
            )
        call.y = y
        return call

    def _call(self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None) -> Array:
        return self._call_ragged(snapshot, x, None, num_threads)

    def _forward(
        self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None
    ) -> tuple[Array, Call]:
        return self._forward_ragged(snapshot, x, None, num_threads)

    def _call_ragged(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        lengths: ArrayLike | None,
        num_threads: int | None,
    ) -> Array:
        y: Array = self._run(snapshot, x, lengths, num_threads, training=False).y
        return y

    def _forward_ragged(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        lengths: ArrayLike | None,
        num_threads: int | None,
    ) -> tuple[Array, Call]:
        call = self._run(snapshot, x, lengths, num_threads, training=True)
        return call.y, call

    def _features(self) -> tuple[int | None, int | None]:
        return self.in_features, self.out_features

    def _lengths_after(self, lengths: ArrayLike | None) -> ArrayLike | None:
        return None if self.ends_time else lengths

    def _time_axis(self) -> tuple[bool, bool]:
        return self.over_time, self.ends_time

    def _no_stream(self) -> str | None:
        if not self.over_time:
            return None
        return f"a {type(self).__name__} cannot stream, as it takes whole sequences"

    def _arguments_and_defaults(self) -> dict[str, tuple[Any, Any]]:
        # Their values are none of these defaults, so all of them are shown.
        shown = {name: (value, _NEVER) for name, value in self.arguments().items()}
        takes_dtype = "dtype" in inspect.signature(type(self)).parameters
        return {**shown, **(self._dtype_and_default() if takes_dtype else {})}


_NEVER = object()
