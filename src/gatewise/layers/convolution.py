"""The convolution over time, which stands around recurrent layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gatewise.kernels import chooser, products, thread_limits
from gatewise.kernels.resets import Flags
from gatewise.kernels.windows import Windows
from gatewise.layers import inputs, parameters
from gatewise.layers.kinds import Feedforward, Streaming
from gatewise.layers.module import SHOWN, Gradients, Module
from gatewise.layers.parameters import Snapshot
from gatewise.layers.simple_dicts import ConvolutionFromStateDict
from gatewise.layers.tape import ModuleTape, check_tape

Array = NDArray[Any]
Lengths = NDArray[np.int64]

__all__ = ["Conv1d"]


class ConvolutionTape(ModuleTape):
    """Holds the input ``(batch, time, in_channels)``, and how long its sequences are."""

    def __init__(
        self, module: Module, snapshot: Snapshot, x: Array, lengths: Lengths | None
    ) -> None:
        super().__init__(module, snapshot)
        # A view, since the shape of the caller's own array may change.
        self.x = x.view()
        self.lengths = lengths


def _exist(lengths: Lengths, time: int) -> NDArray[np.bool_]:
    """Which of so many steps exist, for every feature."""
    return (np.arange(time) < lengths[:, None])[:, :, None]


class Conv1d(ConvolutionFromStateDict, Feedforward, Streaming):
    """A convolution over the steps of sequences.

    Step t of the output is a product of the steps ``t * stride - before + k * dilation`` of
    the input, for k from 0 to ``kernel_size - 1``; steps before the first one and after the
    last count as zeros. `before` follows from the padding.

    Parameters
    ----------
    in_channels, out_channels
        Features of a step of input and output; ``weight`` is
        ``(out_channels, in_channels, kernel_size)``.
    kernel_size
        How many steps of the input a step of the output is made of.
    stride
        How many steps of the input lie between those that two neighbours of the output
        begin with.
    padding
        How many steps of zeros count as standing before the first step and after the last.
        ``"same"`` is as many as keep the number of steps, with a stride of 1; an odd one
        stands after the last. ``"causal"`` is ``dilation * (kernel_size - 1)`` before and
        none after, so that no step of the output depends on later ones of the input.
    dilation
        How many steps lie between two neighbours of those that are multiplied.
    bias
        Whether there is a ``bias`` ``(out_channels,)``.
    dtype
        ``"float32"`` or ``"float64"``; inputs are converted to it.
    seed
        Of the first values, which are uniform within
        ``1 / sqrt(in_channels * kernel_size)``.

    Raises
    ------
    TypeError
        If a size is no integer, or `dtype` no dtype.
    ValueError
        If a size is less than 1, or a window would reach over 2^31 steps and more;
        `padding` is less than 0, another word than these, or ``"same"`` for a stride of
        more than 1; or `dtype` another than these.

    Notes
    -----
    Parameters have PyTorch's names and shapes, while features come last, as in all layers
    of this package. A call takes whole sequences and returns just the output. In a
    `Sequential` that is called with lengths, what stands past a length counts as zeros, and
    the layers after this one have the lengths of its output.

    A causal one streams, alone or in a `Sequential`, and so does one with a kernel of 1 and
    no padding. Its stream keeps the steps that the next outputs still depend on, zeros at
    first, so that its outputs are those of a call with all chunks at once. Only where
    weights are not finite can they differ, since a call leaves the padding out.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> layer = gatewise.Conv1d(1, 1, 3, padding="causal", bias=False)
    >>> layer.set_parameters({"weight": [[[1, 10, 100]]]})
    >>> layer(np.array([[1], [2], [3]]))[:, 0]
    array([100., 210., 321.], dtype=float32)
    >>> gatewise.Conv1d(4, 8, 5, stride=2, padding=2)(np.ones((3, 10, 4))).shape
    (3, 5, 8)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | str = 0,
        dilation: int = 1,
        bias: bool = True,
        *,
        dtype: DTypeLike = "float32",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(dtype)
        self.in_channels = inputs.size("in_channels", in_channels)
        self.out_channels = inputs.size("out_channels", out_channels)
        self.kernel_size = inputs.size("kernel_size", kernel_size)
        self.stride = inputs.size("stride", stride)
        self.dilation = inputs.size("dilation", dilation)
        total = inputs.size(
            "dilation * (kernel_size - 1)",
            self.dilation * (self.kernel_size - 1),
            minimum=0,
        )
        self.padding, before, after = self._sides(padding, total)
        self.bias = bool(bias)
        self._windows = Windows(self.kernel_size, self.stride, self.dilation, before, after)
        bound = 1 / np.sqrt(self.in_channels * self.kernel_size)
        draw = parameters.uniform(np.random.default_rng(seed), bound)
        shape = (self.out_channels, self.in_channels, self.kernel_size)
        self._add_parameter("weight", shape, draw)
        if self.bias:
            self._add_parameter("bias", shape[:1], draw)

    def _sides(self, padding: int | str, total: int) -> tuple[int | str, int, int]:
        """The padding as it is kept, and how much there is before and after.

        `total` would keep the number of steps.
        """
        if not isinstance(padding, str):
            both = inputs.size("padding", padding, minimum=0)
            return both, both, both
        if padding == "causal":
            return padding, total, 0
        if padding != "same":
            raise ValueError(
                f"padding should be an integer, 'same' or 'causal', got {padding!r}"
            )
        if self.stride > 1:
            raise ValueError(
                "padding should be an integer or 'causal' for a stride of more than 1, "
                f"got 'same' for a stride of {self.stride}"
            )
        return padding, total // 2, total - total // 2

    def _pack(self, snapshot: Snapshot) -> Any:
        """The parameters in the form that the present backend runs on."""
        weight = snapshot.arrays["weight"].swapaxes(1, 2)
        flat = np.ascontiguousarray(weight).reshape(self.out_channels, -1)
        bias = snapshot.arrays.get("bias")
        return chooser.kernels.pack_convolution(flat, bias, self._windows)

    def _sequences(self, x: ArrayLike) -> Array:
        array = inputs.real("x", x, self._dtype)
        if array.ndim not in (2, 3) or array.shape[-1] != self.in_channels:
            raise ValueError(
                f"x should have shape (batch, time, {self.in_channels}) or "
                f"(time, {self.in_channels}), got {array.shape}"
            )
        time, span = array.shape[-2], self._windows.span
        least = span - self._windows.before - self._windows.after
        # Where any step gives an output, none give none.
        if time < least and (time or least > 1):
            raise ValueError(
                f"x should have at least {least} steps for a window of {span}, got {time}"
            )
        return array

    def _call(self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None) -> Array:
        # A small product takes no longer than a look at the host's limits.
        given = num_threads is not None
        threads = (
            thread_limits.resolve(num_threads) if given else thread_limits.last_known()
        )
        packed = snapshot.prepared(self._pack)
        if products.blas_from == math.inf:
            y: Array | None = chooser.kernels.convolve(packed, x, num_threads=threads)
            # Without a step it may be too short.
            if y is not None and y.size:
                return y
        return self._convolve(packed, self._sequences(x), threads=threads)

    def _convolve(
        self, packed: Any, x: Array, lengths: Lengths | None = None, *, threads: int
    ) -> Array:
        y = products.convolve(packed, x, lengths=lengths, num_threads=threads)
        if y is None:
            x = np.ascontiguousarray(x)
            y = products.convolve(packed, x, lengths=lengths, num_threads=threads)
            assert y is not None
        return y

    def _forward(
        self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None
    ) -> tuple[Array, ConvolutionTape]:
        sequences = self._sequences(x)
        y = self._call(snapshot, sequences, num_threads)
        return y, ConvolutionTape(self, snapshot, sequences, None)

    def _call_ragged(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        lengths: ArrayLike | None,
        num_threads: int | None,
    ) -> Array:
        if lengths is None:
            return self._call(snapshot, x, num_threads)
        sequences = self._sequences(x)
        threads = thread_limits.resolve(num_threads)
        counts = self._checked_lengths(sequences, lengths)
        packed = snapshot.prepared(self._pack)
        return self._convolve(packed, sequences, counts, threads=threads)

    def _forward_ragged(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        lengths: ArrayLike | None,
        num_threads: int | None,
    ) -> tuple[Array, ConvolutionTape]:
        if lengths is None:
            return self._forward(snapshot, x, num_threads)
        sequences = self._sequences(x)
        counts = self._checked_lengths(sequences, lengths)
        y = self._call_ragged(snapshot, sequences, counts, num_threads)
        exist = _exist(counts, sequences.shape[1])
        # What is past a length may be anything, and no factor makes a zero of infinity.
        held = np.where(exist, sequences, self._dtype.type(0))
        return y, ConvolutionTape(self, snapshot, held, counts)

    def _checked_lengths(self, sequences: Array, lengths: ArrayLike) -> Lengths:
        if sequences.ndim == 2:
            raise ValueError("lengths should be None for an x without a batch axis")
        return inputs.sequence_lengths(lengths, *sequences.shape[:2])

    def backward(
        self, tape: ConvolutionTape, dy: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[Array, Gradients]:
        """Return the gradients of `x` and of the parameters.

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
        check_tape(tape, ConvolutionTape, self)
        threads = thread_limits.resolve(num_threads)
        x = tape.x if tape.x.ndim == 3 else tape.x[None]
        batch, time, _ = x.shape
        count = self._windows.count(time)
        shape = (*tape.x.shape[:-2], count, self.out_channels)
        array = inputs.real("dy", dy, self._dtype)
        if array.shape != shape:
            raise ValueError(f"dy should have shape {shape}, got {array.shape}")
        rows = np.ascontiguousarray(array).reshape(batch, count, self.out_channels)
        if tape.lengths is not None:
            rows = np.where(_exist(self._counts(tape.lengths), count), rows, 0)
        weight = np.zeros(
            (self.kernel_size, self.out_channels, self.in_channels), self._dtype
        )
        dwindows: Array = chooser.kernels.empty(
            (batch, count, self.kernel_size, self.in_channels), self._dtype
        )
        self._multiply_back(tape.snapshot, rows, dwindows, threads)
        dx: Array = np.zeros(x.shape, self._dtype)
        for tap in range(self.kernel_size):
            outputs, steps = self._steps_at(tap, time, count)
            if outputs.stop <= outputs.start:
                continue
            products.outer(rows[:, outputs], x[:, steps], weight[tap], num_threads=threads)
            with np.errstate(all="ignore"):
                dx[:, steps] += dwindows[:, outputs, tap]
        if tape.lengths is not None:
            dx = np.where(_exist(tape.lengths, time), dx, 0)
        gradients = {"weight": np.ascontiguousarray(weight.transpose(1, 2, 0))}
        if self.bias:
            with np.errstate(all="ignore"):
                gradients["bias"] = rows.sum(axis=(0, 1))
        return dx.reshape(tape.x.shape), gradients

    def _multiply_back(
        self, snapshot: Snapshot, rows: Array, dwindows: Array, threads: int
    ) -> None:
        """Write the gradients of the steps of all windows."""
        packed = snapshot.prepared(self._pack)
        flat = rows.reshape(1, rows.shape[0] * rows.shape[1], self.out_channels)
        into = dwindows.reshape(1, flat.shape[1], self.kernel_size * self.in_channels)
        weight = snapshot.arrays["weight"].swapaxes(1, 2)
        if not products.write_back(flat, weight.reshape(self.out_channels, -1), into):
            chooser.kernels.linear_back(packed.product, flat, into, num_threads=threads)

    def _steps_at(self, tap: int, time: int, count: int) -> tuple[slice, slice]:
        """Which steps of the output have a step of the input at a tap, and which one."""
        shift = tap * self.dilation - self._windows.before
        first = max(0, -(shift // self.stride))
        end = min(count, (time - 1 - shift) // self.stride + 1)
        start = first * self.stride + shift
        return slice(first, end), slice(
            start, start + (end - first) * self.stride, self.stride
        )

    def _lengths_after(self, lengths: ArrayLike | None) -> Lengths | None:
        return None if lengths is None else self._counts(np.asarray(lengths))

    def _counts(self, lengths: Lengths) -> Lengths:
        return np.array([self._windows.count(n) for n in lengths.tolist()], np.int64)

    def _features(self) -> tuple[int, int]:
        return self.in_channels, self.out_channels

    def _steps_for_one(self) -> int:
        return self.stride

    def _no_stream(self) -> str | None:
        if self._windows.before == self._windows.span - 1 and not self._windows.after:
            return None
        return (
            "a Conv1d cannot stream unless its padding is 'causal', or its kernel_size 1 "
            "without padding, as it depends on steps to come"
        )

    def _no_resets(self) -> str | None:
        if self.kernel_size == self.stride == 1 and not self.padding:
            return None
        return (
            "resets should be None with a Conv1d, unless its kernel_size and stride are 1 "
            "and its padding 0, as what comes before and after a reset is in one window"
        )

    def _stream_input(self, array: Array) -> Array:
        return inputs.real("x", array, self._dtype)

    def _stream_state(self, name: str, state: Any, batch: int) -> Array:
        shape = (batch, self._windows.before, self.in_channels)
        if state is None:
            return np.zeros(shape, self._dtype)
        array = inputs.real(name, state, self._dtype)
        if array.shape != shape and (batch > 1 or array.shape != shape[1:]):
            raise ValueError(f"{name} should have shape {shape}, got {array.shape}")
        return np.array(array.reshape(shape), order="C")

    def _stages(
        self, snapshot: Snapshot, state: Any, *, is_first: bool
    ) -> list[tuple[Any, ...]]:
        packed = snapshot.prepared(self._pack)
        # A call has no history.
        return [
            ("convolution", packed) if state is None else ("convolution", packed, state)
        ]

    def _advance(
        self,
        snapshot: Snapshot,
        x: Array,
        state: Any,
        num_threads: int | None,
        resets: Flags | None = None,
    ) -> tuple[Array, Array]:
        sequences = self._sequences(x)
        longer = np.concatenate([state, sequences], axis=1)
        packed = snapshot.prepared(self._pack)
        threads = thread_limits.resolve(num_threads)
        y = chooser.kernels.convolve(
            packed, np.ascontiguousarray(sequences), history=state, num_threads=threads
        )
        assert y is not None
        return y, longer[:, longer.shape[1] - self._windows.before :]

    def _arguments_and_defaults(self) -> dict[str, tuple[Any, Any]]:
        return {
            "in_channels": (self.in_channels, SHOWN),
            "out_channels": (self.out_channels, SHOWN),
            "kernel_size": (self.kernel_size, SHOWN),
            "stride": (self.stride, 1),
            "padding": (self.padding, 0),
            "dilation": (self.dilation, 1),
            "bias": (self.bias, True),
            **self._dtype_and_default(),
        }
