"""What RNN, LSTM and GRU share: layers upon layers, two directions, lengths, gradients."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gatewise import _backend, _threads
from gatewise._direction import Weights, empty_like_rows
from gatewise.layers import direction, inputs
from gatewise.layers.module import Gradients, Stateful, check_tape
from gatewise.layers.sequences import Batch
from gatewise.layers.stream import Stream
from gatewise.layers.tape import RecurrentTape

if TYPE_CHECKING:
    from gatewise.layers.quantized import Quantized

Array = NDArray[Any]
State = Array | tuple[Array, Array]

# No version of the parameters has this number.
_NOTHING: tuple[int, list[list[direction.Prepared]]] = (-1, [])


class Recurrent(Stateful):
    """The base of RNN, LSTM and GRU."""

    _changeable = frozenset(
        {
            "dropout",
            "recurrent_dropout",
            "zoneout",
            "cell_zoneout",
            "variational",
            "generator",
        }
    )
    _gates = 1
    _state_parts: tuple[str, ...] = ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        dropout: float,
        bidirectional: bool,
        recurrent_dropout: float,
        zoneout: float,
        variational: bool,
        dtype: DTypeLike,
        seed: int | np.random.Generator | None,
    ) -> None:
        super().__init__(dtype)
        self.input_size = inputs.size("input_size", input_size)
        self.hidden_size = inputs.size("hidden_size", hidden_size)
        self.num_layers = inputs.size("num_layers", num_layers)
        self.bias = bool(bias)
        self.dropout = inputs.probability("dropout", dropout)
        self.bidirectional = bool(bidirectional)
        self.recurrent_dropout = inputs.probability("recurrent_dropout", recurrent_dropout)
        self.zoneout = inputs.probability("zoneout", zoneout)
        self.variational = bool(variational)
        self._directions = 2 if self.bidirectional else 1
        self._prepared: tuple[int, list[list[direction.Prepared]]] = _NOTHING
        self.generator = np.random.default_rng(seed)

    def _initialise(self) -> None:
        """Draw every parameter as PyTorch does, uniform within 1 / sqrt(hidden_size)."""
        bound = 1 / np.sqrt(self.hidden_size)
        for layer in range(self.num_layers):
            for suffix in self._suffixes(layer):
                for name, shape in self._shapes(layer).items():
                    values = self.generator.uniform(-bound, bound, shape)
                    self._add_parameter(name + suffix, values)

    @property
    def output_size(self) -> int:
        """How many features one direction gives."""
        return self.hidden_size

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self._directions]

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The shapes of one direction's parameters, in PyTorch's order."""
        features = self.input_size if layer == 0 else self._directions * self.output_size
        rows = self._gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, features),
            "weight_hh": (rows, self.output_size),
        }
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        return shapes

    @property
    @abstractmethod
    def _cell(self) -> str:
        """The name that the kernels have for the formula."""

    @property
    def _zoneout_rates(self) -> tuple[float, ...]:
        return (self.zoneout,)

    def _weights(self, suffix: str) -> Weights:
        """The parameters of one direction in the kernels' form."""
        w_ih, w_hh = self._arrays["weight_ih" + suffix], self._arrays["weight_hh" + suffix]
        if self.bias:
            bias = self._arrays["bias_ih" + suffix] + self._arrays["bias_hh" + suffix]
        else:
            bias = np.zeros(len(w_ih), self._dtype)
        return Weights(self._cell, w_ih, w_hh, bias)

    def _named(self, gradients: Weights) -> Gradients:
        """The gradients of one direction by the names of `_shapes`."""
        named = {"weight_ih": gradients.w_ih, "weight_hh": gradients.w_hh}
        if self.bias:
            # Two arrays, since a caller may well scale gradients in place.
            named |= {"bias_ih": gradients.bias, "bias_hh": gradients.bias.copy()}
        return named

    def _prepare(self) -> list[list[direction.Prepared]]:
        """Every direction's weights, packed for the present backend, current ones."""
        version, kernels = self._version, _backend.kernels
        made, prepared = self._prepared
        if made != version or not isinstance(prepared[0][0].packed, kernels.Packed):
            prepared = [
                [self._prepare_direction(s) for s in self._suffixes(layer)]
                for layer in range(self.num_layers)
            ]
            # With its version, so that what one thread packs while another changes the
            # parameters is not taken for current afterwards.
            self._prepared = version, prepared
        return prepared

    def _prepare_direction(self, suffix: str) -> direction.Prepared:
        return direction.Prepared(self._weights(suffix))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_prepared": _NOTHING}

    def __call__(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> Any:
        """Return the outputs for the sequences `x` and the final state.

        Parameters
        ----------
        x
            ``(batch, time, input_size)``, or one sequence ``(time, input_size)``. An
            integer array ``(batch, time)`` or ``(time,)`` holds tokens from 0 to
            ``input_size - 1``, which stand for one-hot rows. A transposed view of
            time-first data is not copied.
        state
            The initial state, of the shapes of the final one; zeros if None.
        lengths
            How many steps of each sequence exist; integers from 0 to time, in any order.
            What stands in `x` past a length is never read. All steps exist if None.
        num_threads
            How many threads this call may use; as `gatewise.set_num_threads` says if None.

        Returns
        -------
        y
            ``(batch, time, D * H)``, the last layer's outputs, with zeros past each length.
            D is 2 for two directions, else 1, and H the size of one direction's output.
        state
            The state at each sequence's length, ``(num_layers * D, batch, H)``; for an LSTM
            a pair of h and c. Without a batch axis in `x` there is none here either.
        """
        threads = _threads.resolve(num_threads)
        batch = Batch(x, self.input_size, self._dtype, lengths)
        y, state, _ = self._infer(batch, state, threads)
        return y, state

    def _infer(
        self, batch: Batch, state: Any, threads: int, *, cells: bool = False
    ) -> tuple[Array, State, list[Array]]:
        parts = self._take_state("state", batch, state)
        rows, size = batch.rows, self.output_size
        all_cells = []
        for layer, directions in enumerate(self._prepare()):
            y = batch.empty(size * self._directions)
            for d, prepared in enumerate(directions):
                of_direction = batch.empty(self.hidden_size) if cells else None
                direction.infer(
                    prepared,
                    rows,
                    tuple(part[layer * self._directions + d] for part in parts),
                    y[..., d * size : (d + 1) * size],
                    of_direction,
                    batch_sizes=batch.batch_sizes,
                    reverse=d == 1,
                    zoneout=self._zoneout_rates,
                    num_threads=threads,
                )
                if of_direction is not None:
                    all_cells.append(of_direction)
            rows = y
        return batch.restore(rows), self._restore_state(batch, parts), all_cells

    def forward(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> tuple[Array, Any, RecurrentTape]:
        """Return outputs, final state and a tape, with the dropout and zoneout of training.

        The arguments are those of a call. `y` may be a read-only array that the tape refers
        to. `RecurrentTape` says how much memory a tape takes.
        """
        threads = _threads.resolve(num_threads)
        batch = Batch(x, self.input_size, self._dtype, lengths)
        parts = self._take_state("state", batch, state)
        rows, size = batch.rows, self.output_size
        runs: list[list[direction.Run]] = []
        keeps: list[NDArray[np.bool_] | None] = []
        for layer, directions in enumerate(self._prepare()):
            runs.append(
                [
                    direction.forward(
                        prepared,
                        rows,
                        tuple(part[layer * self._directions + d] for part in parts),
                        self.generator,
                        batch_sizes=batch.batch_sizes,
                        reverse=d == 1,
                        recurrent_dropout=self.recurrent_dropout,
                        zoneout=self._zoneout_rates,
                        num_threads=threads,
                    )
                    for d, prepared in enumerate(directions)
                ]
            )
            rows = runs[-1][0].y
            if self.bidirectional:
                rows = empty_like_rows(rows, 2 * size, self._dtype)
                for d, run in enumerate(runs[-1]):
                    rows[..., d * size : (d + 1) * size] = run.y
            keep = None
            if self.dropout and layer < self.num_layers - 1:
                keep = self._draw_mask(batch, rows.shape)
                rows = self._drop(rows, keep)
            keeps.append(keep)
        y = batch.restore(rows)
        y.flags.writeable = False
        return y, self._restore_state(batch, parts), RecurrentTape(self, batch, runs, keeps)

    def backward(
        self,
        tape: RecurrentTape,
        dy: ArrayLike | None,
        dstate: Any = None,
        *,
        num_threads: int | None = None,
    ) -> tuple[Array | None, Any, Gradients]:
        """Return the gradients of the input, of the initial state and of the parameters.

        Parameters
        ----------
        tape
            From `forward`; it can be used more than once, until the parameters change.
        dy
            The gradient of the outputs, of their shape; None if the loss does not use them.
            What it holds past a length does not matter.
        dstate
            The gradient of the final state, of its shapes; None if the loss does not use
            it.
        num_threads
            How many threads this call may use; as `gatewise.set_num_threads` says if None.

        Returns
        -------
        dx
            The gradient of `x`, with zeros past each length; None for tokens.
        dstate
            The gradient of the initial state.
        gradients
            The gradients of the parameters, by the names of `parameters`.
        """
        check_tape(tape, RecurrentTape, self)
        threads = _threads.resolve(num_threads)
        batch, size = tape.batch, self.output_size
        drows: Array | None = batch.gradient_rows(dy, size * self._directions)
        dparts = self._take_state("dstate", batch, dstate)
        found: Gradients = {}
        for layer in reversed(range(self.num_layers)):
            keep = tape.keeps[layer]
            assert drows is not None
            if keep is not None:
                drows = self._drop(drows, keep)
            dx = None
            for d, (suffix, run) in enumerate(
                zip(self._suffixes(layer), tape.runs[layer], strict=True)
            ):
                of_direction, gradients = direction.backward(
                    run,
                    drows[..., d * size : (d + 1) * size],
                    tuple(part[layer * self._directions + d] for part in dparts),
                    num_threads=threads,
                )
                dx = of_direction if dx is None else dx + of_direction
                named = self._named(gradients)
                found |= {name + suffix: gradient for name, gradient in named.items()}
            drows = dx
        ordered = {name: found[name] for name in self._arrays}
        dx = None if drows is None else batch.restore(drows)
        return dx, self._restore_state(batch, dparts), ordered

    def _draw_mask(self, batch: Batch, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Which outputs of a layer the next one sees; with `variational`, at every step."""
        if not self.variational:
            return self.generator.random(shape) >= self.dropout
        keep = self.generator.random((batch.size, shape[2])) >= self.dropout
        return keep[None] if batch.ragged is None else keep[batch.ragged.sorted][None]

    def _drop(self, rows: Array, keep: NDArray[np.bool_]) -> Array:
        scale = self._dtype.type(1 / (1 - self.dropout))
        dropped: Array = rows * (keep * scale)
        return dropped

    def _take_state(self, name: str, batch: Batch, state: Any) -> tuple[Array, ...]:
        names = self._state_parts
        parts: tuple[Any, ...] = (state,)
        if len(names) == 1:
            names = (name,)
        elif state is None:
            parts = (None,) * len(names)
        else:
            if not isinstance(state, tuple | list) or len(state) != len(names):
                raise TypeError(
                    f"{name} should be a pair (h, c) of arrays, got {_describe(state)}"
                )
            parts, names = tuple(state), tuple(f"{name}[{i}]" for i in range(len(names)))
        count = self.num_layers * self._directions
        sizes = (self.output_size, self.hidden_size)
        return tuple(
            batch.take_state(own, part, count, features)
            for own, part, features in zip(names, parts, sizes, strict=False)
        )

    def _restore_state(self, batch: Batch, parts: tuple[Array, ...]) -> State:
        restored = [batch.restore_state(part) for part in parts]
        return restored[0] if len(restored) == 1 else (restored[0], restored[1])

    def stream(self, batch: int = 1, num_threads: int | None = None) -> Stream:
        """Return a stream that runs this layer step by step; see `Stream`.

        Parameters
        ----------
        batch
            How many sequences advance together.
        num_threads
            How many threads each call of the stream may use; as `gatewise.set_num_threads`
            says at the time if None.
        """
        return Stream(self, batch, num_threads)

    def quantize(self, weight_format: str) -> Quantized:
        """Return a copy of this layer for inference whose weights take fewer bytes.

        A step of a stream reads every weight once and does little else, so narrow weights
        make it faster where they do not fit a cache otherwise. The copy is called and
        streams like this layer, but cannot be trained.

        Parameters
        ----------
        weight_format : {"float16", "int8"}
            ``"float16"`` takes half the bytes and rounds each weight to 11 bits.
            ``"int8"`` takes a quarter and rounds it to a 127th of the largest in its row,
            the weights of one gate of one unit. Biases and peepholes, the state and all
            sums stay float32.

        Returns
        -------
        Quantized
            A layer whose parameters are the narrow weights, with an array of scales after
            each int8 one, such as ``weight_ih_l0_scale``.

        Raises
        ------
        ValueError
            If the layer is not float32, or has a weight that the format cannot hold.

        Examples
        --------
        >>> import numpy as np, gatewise
        >>> layer = gatewise.GRU(64, 256, seed=0)
        >>> narrow = layer.quantize("int8")
        >>> narrow
        QuantizedGRU(64, 256, weight_format='int8') with 258,048 bytes of weights
        >>> x = np.ones((1, 10, 64), np.float32)
        >>> bool(np.abs(narrow(x)[0] - layer(x)[0]).max() < 0.01)
        True
        """
        # Imported here, since it builds on the layers.
        from gatewise.layers import quantized

        return quantized.quantize(self, weight_format)

    def _sizes(self) -> str:
        options = {
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
            "recurrent_dropout": (self.recurrent_dropout, 0.0),
            "zoneout": (self.zoneout, 0.0),
            "variational": (self.variational, False),
            **self._own_options(),
        }
        changed = [
            f"{name}={v!r}" for name, (v, default) in options.items() if v != default
        ]
        return ", ".join([str(self.input_size), str(self.hidden_size), *changed])

    def _own_options(self) -> dict[str, tuple[Any, Any]]:
        """The options of this class alone, each with its default."""
        return {}


def _describe(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return type(value).__name__
