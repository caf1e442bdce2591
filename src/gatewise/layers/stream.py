"""Running a recurrent layer step by step, with a deadline for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise import _backend, _threads
from gatewise.layers import direction, inputs
from gatewise.layers.parameters import Snapshot
from gatewise.layers.sequences import Batch

if TYPE_CHECKING:
    from gatewise.layers.recurrent import Recurrent

Array = NDArray[Any]


class Stream:
    """A layer and a state that each call advances in place.

    Made by ``layer.stream(batch=1, num_threads=None)``. ``stream(x)`` takes one step
    ``(batch, input_size)`` and returns its output ``(batch, output_size)``. For a batch of
    one, ``(input_size,)`` gives ``(output_size,)``. It takes a chunk ``(batch, time,
    input_size)`` too. For a layer made with ``tokens=True``, integers without the last axis
    are tokens.

    The output of a step is an array that the stream owns: **the next step overwrites it**,
    so copy what is to be kept. The output of a chunk is the caller's.

    Changed parameters take effect from the next call on.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> layer = gatewise.GRU(3, 4, seed=0)
    >>> stream = layer.stream()
    >>> x = np.ones((2, 3), np.float32)
    >>> steps = [stream(step).copy() for step in x]
    >>> bool(np.allclose(steps, layer(x)[0]))
    True
    """

    def __init__(
        self, layer: Recurrent, batch: int = 1, num_threads: int | None = None
    ) -> None:
        if layer.bidirectional:
            raise ValueError(
                "a bidirectional layer cannot stream, as one direction starts at the end"
            )
        self._layer = layer
        self._batch = inputs.size("batch", batch)
        # Checked here; None is for what the process's number will be at a call.
        self._num_threads = None if num_threads is None else _threads.resolve(num_threads)
        self._bind(self._zeros())

    @property
    def batch(self) -> int:
        """How many sequences advance together."""
        return self._batch

    def _zeros(self) -> tuple[Array, ...]:
        layer = self._layer
        sizes = (layer.output_size, layer.hidden_size)[: len(layer._state_parts)]
        return tuple(
            np.zeros((layer.num_layers, self._batch, size), layer.dtype) for size in sizes
        )

    def _bind(self, parts: tuple[Array, ...]) -> None:
        """Make these the state, with every buffer and view that a step needs."""
        layer = self._layer
        self._parts = parts
        self._states = [tuple(p[i] for p in parts) for i in range(layer.num_layers)]
        # The one object that arrays of this kind have for their dtype.
        self._dtype = np.dtype(layer.dtype.type)
        shape = (self._batch, layer.output_size)
        self._outputs = [np.empty(shape, layer.dtype) for _ in range(layer.num_layers)]
        self._y = self._outputs[-1]
        self._step: Callable[[Array], Array | None] | None = None
        self._snapshot: Snapshot | None = None
        self._seen: tuple[object, object] = (None, None)
        self._zoneout: tuple[float, ...] = ()
        self._threads = 0
        self._kernels: object = None

    @property
    def state(self) -> Any:
        """A copy of the state in the layer's form: h, or for an LSTM ``(h, c)``."""
        copies = tuple(part.copy() for part in self._parts)
        return copies if len(copies) > 1 else copies[0]

    def reset(self, state: Any = None) -> None:
        """Go back to `state`, in the layer's form, or to zeros."""
        shape = (self._batch, 0, self._layer.input_size)
        batch = Batch(np.empty(shape, self._layer.dtype), shape[2], self._layer.dtype)
        for part, value in zip(
            self._parts, self._layer._take_state("state", batch, state), strict=True
        ):
            part[...] = value

    def copy(self) -> Stream:
        """Return an independent stream of the same layer, in the same state."""
        other = Stream(self._layer, self._batch, self._num_threads)
        for part, own in zip(other._parts, self._parts, strict=True):
            part[...] = own
        return other

    def __call__(self, x: ArrayLike) -> Array:
        """Advance by the step or the chunk `x` and return its output."""
        # What a loop passes again and again goes straight to the kernels.
        if type(x) is np.ndarray and x.dtype is self._dtype:
            values, options = self._seen
            if (
                self._layer._values is not values
                or self._layer._options is not options
                or _backend.kernels is not self._kernels
                or (self._num_threads or _threads.last_known()) != self._threads
            ):
                self._renew()
            if self._step is not None:
                y = self._step(x)
                if y is not None:
                    return y
        return self._take(inputs.as_array("x", x))

    def _renew(self) -> None:
        """Make the kernels' step for the present weights, backend and number of threads."""
        layer = self._layer
        values, options = layer._values, layer._options
        self._snapshot, self._kernels = values.now(), _backend.kernels
        # While a change is under way, it can be made at any moment: look again then.
        self._seen = (values if values.before is values.after else None), options
        self._zoneout = layer._zoneout_rates
        self._threads = self._num_threads or _threads.last_known()
        self._step = None
        # Zoneout comes between the steps of the layers.
        if not any(self._zoneout):
            packed = [d[0].packed for d in layer._prepare(self._snapshot)]
            self._step = _backend.kernels.stepper(
                packed, self._states, self._outputs, num_threads=self._threads
            )

    def _take(self, array: Array) -> Array:
        """Take whatever a stream takes, or say what it does not."""
        layer = self._layer
        tokens = layer.tokens and inputs.is_integer(array) and array.ndim < 3
        if tokens:
            array = inputs.tokens("x", array, layer.input_size)
        else:
            array = inputs.real("x", array, layer.dtype)
        features = () if tokens else (layer.input_size,)
        if array.shape == (self._batch, *features):
            self._run_step(array)
            return self._y
        if array.shape == features and self._batch == 1:
            self._run_step(array[None])
            first: Array = self._y[0]
            return first
        if array.ndim == 2 + len(features) and array.shape[::2] == (self._batch, *features):
            rows = array.swapaxes(0, 1)
            shape = (self._batch, len(rows), layer.output_size)
            outputs = [np.empty(shape, layer.dtype).swapaxes(0, 1) for _ in self._outputs]
            return self._run(rows, outputs).swapaxes(0, 1)
        last = "" if tokens else f", {layer.input_size}"
        step = f"({self._batch}{last or ','})"
        raise ValueError(
            f"x should have shape {step} or ({self._batch}, time{last}), got {array.shape}"
        )

    def _run_step(self, step: Array) -> None:
        if np.may_share_memory(step, self._y):
            # A stream that is fed its own output, which the step writes over.
            step = step.copy()
        tokens = inputs.is_integer(step)
        rows = (
            step.reshape(1, self._batch)
            if tokens
            else step.reshape(1, self._batch, self._layer.input_size)
        )
        self._run(rows, [y[None] for y in self._outputs])

    def _run(self, rows: Array, outputs: list[Array]) -> Array:
        before = [part.copy() for part in self._parts]
        try:
            return self._advance(rows, outputs)
        except BaseException:
            # Interrupted, the layers stand at different times.
            for part, old in zip(self._parts, before, strict=True):
                part[...] = old
            raise

    def _advance(self, rows: Array, outputs: list[Array]) -> Array:
        layer = self._layer
        prepared_layers = layer._prepare(layer._snapshot())
        for prepared, state, y in zip(prepared_layers, self._states, outputs, strict=True):
            direction.infer(
                prepared[0],
                rows,
                state,
                y,
                zoneout=layer._zoneout_rates,
                num_threads=self._num_threads,
            )
            rows = y
        return rows

    def __getstate__(self) -> dict[str, Any]:
        names = ("_layer", "_batch", "_num_threads", "_parts")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bind(self._parts)

    def __copy__(self) -> Stream:
        return self.copy()

    def __repr__(self) -> str:
        return f"{self._layer!r}.stream(batch={self._batch})"
