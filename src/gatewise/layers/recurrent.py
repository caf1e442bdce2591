"""What RNN, LSTM and GRU share: layers upon layers, two directions, lengths, gradients."""

from __future__ import annotations

import copy
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gatewise import direction
from gatewise.direction import Weights, empty_like_rows
from gatewise.kernels import formats, thread_limits
from gatewise.kernels.activations import STANDARD, Activations
from gatewise.layers import inputs, quantized
from gatewise.layers.kinds import Stateful
from gatewise.layers.masks import Mask
from gatewise.layers.module import Gradients
from gatewise.layers.parameters import Snapshot
from gatewise.layers.sequences import Batch
from gatewise.layers.tape import RecurrentTape, check_tape

Array = NDArray[Any]
State = Array | tuple[Array, Array]
# Every layer's directions, in the forms that the kernels run on.
Prepared = list[list[direction.Prepared]]


class Recurrent(Stateful):
    """The base of RNN, LSTM and GRU."""

    _changeable: ClassVar[Mapping[str, Callable[[str, Any], Any]]] = {
        "dropout": inputs.probability,
        "recurrent_dropout": inputs.probability,
        "zoneout": inputs.probability,
        "variational": inputs.flag,
        "generator": inputs.generator,
    }
    dropout: float
    recurrent_dropout: float
    zoneout: float
    variational: bool
    generator: np.random.Generator
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
        tokens: bool,
        dtype: DTypeLike,
        seed: int | np.random.Generator | None,
    ) -> None:
        super().__init__(dtype)
        # How the weights are kept: as the dtype says, unless `quantize` makes them narrow.
        self.weight_format = self._dtype.name
        self.input_size = inputs.size("input_size", input_size)
        self.hidden_size = inputs.size("hidden_size", hidden_size)
        self.num_layers = inputs.size("num_layers", num_layers)
        self.bias = bool(bias)
        self.dropout = dropout
        self.bidirectional = bool(bidirectional)
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = zoneout
        self.variational = variational
        self.tokens = inputs.flag("tokens", tokens)
        self._directions = 2 if self.bidirectional else 1
        self.generator = np.random.default_rng(seed)
        if self.dropout and self.num_layers == 1:
            warnings.warn(
                f"dropout={self.dropout:g} hides outputs of a layer from the next one, and "
                "with num_layers=1 there is none; a Dropout layer hides the last one's",
                UserWarning,
                stacklevel=3,
            )

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

    def _features(self) -> tuple[int, int]:
        return self.input_size, self._directions * self.output_size

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
    def _activations(self) -> Activations:
        """The activations that the formula has."""
        return STANDARD

    @property
    def _zoneout_rates(self) -> tuple[float, ...]:
        return (self._holder.options["zoneout"],)

    def _weights(self, arrays: Mapping[str, Array], suffix: str) -> Weights:
        """The parameters of one direction in the kernels' form."""
        w_ih, w_hh = arrays["weight_ih" + suffix], arrays["weight_hh" + suffix]
        if self.bias:
            with np.errstate(all="ignore"):
                bias = arrays["bias_ih" + suffix] + arrays["bias_hh" + suffix]
        else:
            bias = np.zeros(len(w_ih), self._dtype)
        return Weights(self._cell, self._activations, self.weight_format, w_ih, w_hh, bias)

    def _named(self, gradients: Weights) -> Gradients:
        """The gradients of one direction by the names of `_shapes`."""
        named = {"weight_ih": gradients.w_ih, "weight_hh": gradients.w_hh}
        if self.bias:
            # Two arrays, since a caller may well scale gradients in place.
            named |= {"bias_ih": gradients.bias, "bias_hh": gradients.bias.copy()}
        return named

    def _prepare(self, snapshot: Snapshot) -> Prepared:
        """Every direction's weights, packed for the present backend."""
        prepared: Prepared = snapshot.prepared(self._pack)
        return prepared

    def _pack(self, snapshot: Snapshot) -> Prepared:
        return [
            [self._prepare_direction(snapshot.arrays, s) for s in self._suffixes(layer)]
            for layer in range(self.num_layers)
        ]

    def _prepare_direction(
        self, arrays: Mapping[str, Array], suffix: str
    ) -> direction.Prepared:
        scales = quantized.scales(arrays, suffix)
        return direction.Prepared(self._weights(arrays, suffix), scales)

    def _batch(self, x: ArrayLike, lengths: ArrayLike | None) -> Batch:
        return Batch(x, self.input_size, self._dtype, lengths, takes_tokens=self.tokens)

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
            ``(batch, time, input_size)``, or one sequence ``(time, input_size)``. For a
            layer made with ``tokens=True``, integers ``(batch, time)`` or ``(time,)`` are
            tokens from 0 to ``input_size - 1``. A transposed view of time-first data is not
            copied.
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
        return self._call(self._holder.values.now(), x, state, lengths, num_threads)

    def _call(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        state: Any,
        lengths: ArrayLike | None,
        num_threads: int | None,
    ) -> tuple[Array, State]:
        threads = thread_limits.resolve(num_threads)
        y, state, _ = self._infer(snapshot, self._batch(x, lengths), state, threads)
        return y, state

    def _infer(
        self,
        snapshot: Snapshot,
        batch: Batch,
        state: Any,
        threads: int,
        *,
        cells: bool = False,
    ) -> tuple[Array, State, list[Array]]:
        parts = self._take_state("state", batch, state)
        rows, size, zoneout = batch.rows, self.output_size, self._zoneout_rates
        all_cells = []
        for layer, directions in enumerate(self._prepare(snapshot)):
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
                    zoneout=zoneout,
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
        return self._forward(self._snapshot(), x, state, lengths, num_threads)

    def _forward(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        state: Any,
        lengths: ArrayLike | None,
        num_threads: int | None,
    ) -> tuple[Array, Any, RecurrentTape]:
        self._check_trainable()
        threads = thread_limits.resolve(num_threads)
        batch = self._batch(x, lengths)
        parts = self._take_state("state", batch, state)
        rows, size = batch.rows, self.output_size
        # Read once, so that a call has the same options from its first layer to its last.
        dropout, recurrent_dropout = self.dropout, self.recurrent_dropout
        zoneout, variational = self._zoneout_rates, self.variational
        runs: list[list[direction.Tape]] = []
        masks: list[Mask | None] = []
        for layer, directions in enumerate(self._prepare(snapshot)):
            runs.append(
                [
                    direction.forward(
                        prepared,
                        rows,
                        tuple(part[layer * self._directions + d] for part in parts),
                        self.generator,
                        batch_sizes=batch.batch_sizes,
                        reverse=d == 1,
                        recurrent_dropout=recurrent_dropout,
                        zoneout=zoneout,
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
            mask = None
            if dropout and layer < self.num_layers - 1:
                mask = self._draw_mask(batch, rows.shape, dropout, variational)
                rows = mask.apply(rows)
            masks.append(mask)
        y = batch.restore(rows)
        y.flags.writeable = False
        tape = RecurrentTape(self, snapshot, batch, runs, masks)
        return y, self._restore_state(batch, parts), tape

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
        self._check_trainable()
        check_tape(tape, RecurrentTape, self)
        threads = thread_limits.resolve(num_threads)
        batch, size = tape.batch, self.output_size
        drows: Array | None = batch.gradient_rows(dy, size * self._directions)
        dparts = self._take_state("dstate", batch, dstate)
        found: Gradients = {}
        for layer in reversed(range(self.num_layers)):
            mask = tape.masks[layer]
            assert drows is not None
            if mask is not None:
                drows = mask.apply(drows)
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
        ordered = {name: found[name] for name in tape.snapshot.arrays}
        dx = None if drows is None else batch.restore(drows)
        return dx, self._restore_state(batch, dparts), ordered

    def _draw_mask(
        self, batch: Batch, shape: tuple[int, ...], rate: float, variational: bool
    ) -> Mask:
        """Which outputs of a layer the next one sees; if `variational`, at every step."""
        if not variational:
            return Mask.draw(self.generator, shape, rate)
        keep = Mask.draw(self.generator, (batch.size, shape[2]), rate).keep
        sorted_keep = keep if batch.ragged is None else keep[batch.ragged.sorted]
        return Mask(sorted_keep[None], rate)

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

    def _stream_state(self, name: str, state: Any, batch: int) -> State:
        rows = np.empty((batch, 0, self.input_size), self._dtype)
        part = state[0] if isinstance(state, tuple | list) and state else state
        if batch == 1 and part is not None and inputs.as_array(name, part).ndim == 2:
            rows = rows[0]
        parts = self._take_state(name, self._batch(rows, None), state)
        return parts[0] if len(parts) == 1 else (parts[0], parts[1])

    def _no_stream(self) -> str | None:
        if self.bidirectional:
            return "a bidirectional layer cannot stream, as one direction starts at the end"
        return None

    def _stream_input(self, array: Array) -> Array:
        if self.tokens and inputs.is_integer(array) and array.ndim < 3:
            return inputs.tokens("x", array, self.input_size)
        return inputs.real("x", array, self._dtype)

    def _stages(
        self, snapshot: Snapshot, state: Any, *, is_first: bool
    ) -> list[tuple[Any, ...]] | None:
        if any(self._zoneout_rates):
            # It comes between the steps of the layers.
            return None
        parts = state if isinstance(state, tuple) else (state,)
        stages: list[tuple[Any, ...]] = []
        for layer, directions in enumerate(self._prepare(snapshot)):
            own = tuple(part[layer] for part in parts)
            table = [directions[0].table] if self.tokens and is_first and not layer else []
            stages.append(("recurrent", directions[0].packed, own, *table))
        return stages

    def _restore_state(self, batch: Batch, parts: tuple[Array, ...]) -> State:
        restored = [batch.restore_state(part) for part in parts]
        return restored[0] if len(restored) == 1 else (restored[0], restored[1])

    @property
    def nbytes(self) -> int:
        """The bytes of the parameters, with the scales of narrow weights."""
        return sum(array.nbytes for array in self._snapshot().arrays.values())

    def quantize(self, weight_format: str) -> Self:
        """Return a copy of this layer for inference whose weights take fewer bytes.

        A step of a stream reads every weight once and does little else, so narrow weights
        make it faster where they do not fit a cache otherwise. The copy is called and
        streams like this layer, but cannot be trained, and only arrays of the same dtypes
        can be given for its parameters. With tokens for input it makes a table in float32
        besides, one row a token.

        Parameters
        ----------
        weight_format : {"float16", "int8"}
            ``"float16"`` takes half the bytes and rounds each weight to 11 bits.
            ``"int8"`` takes a quarter and rounds it to a 127th of the largest in its row,
            the weights of one gate of one unit. Biases and peepholes, the state and all
            sums stay float32.

        Returns
        -------
        RNN, LSTM or GRU
            A layer of the same class whose parameters are the narrow weights, with an array
            of scales after each int8 one, such as ``weight_ih_l0_scale``. Its attribute
            `weight_format` has the name; it is that of the dtype where weights are not
            narrow.

        Raises
        ------
        ValueError
            If there is no such format, the layer is not float32, or has a weight that the
            format cannot hold.
        TypeError
            If the layer is quantized already, since rounding twice would lose more than
            rounding once.

        Examples
        --------
        >>> import numpy as np, gatewise
        >>> layer = gatewise.GRU(64, 256, seed=0)
        >>> narrow = layer.quantize("int8")
        >>> narrow
        GRU(64, 256, weight_format='int8') with 258,048 bytes of weights
        >>> x = np.ones((1, 10, 64), np.float32)
        >>> bool(np.abs(narrow(x)[0] - layer(x)[0]).max() < 0.01)
        True
        """
        if self._is_narrow:
            raise TypeError(
                f"a {type(self).__name__} with {self.weight_format} weights is quantized "
                "already; quantize the layer that it was made from"
            )
        quantized.check_format(weight_format)
        if self.dtype != np.float32:
            raise ValueError(f"only layers of float32 can be quantized, got {self.dtype}")
        state = self.__getstate__()
        arrays = quantized.narrowed(state.pop("_arrays"), weight_format)
        narrow = self.__new__(type(self))
        narrow.__setstate__(
            copy.deepcopy(state) | {"_arrays": arrays, "weight_format": weight_format}
        )
        return narrow

    @property
    def _is_narrow(self) -> bool:
        return formats.look_up(self.weight_format).narrow

    def _check_trainable(self) -> None:
        if self._is_narrow:
            raise TypeError(
                f"a {type(self).__name__} with {self.weight_format} weights is for "
                "inference only; train the layer that it was made from"
            )

    def _problem(self, name: str, parameter: Array, given: Array) -> str | None:
        problem = super()._problem(name, parameter, given)
        if problem or not self._is_narrow:
            return problem
        return quantized.misfit(name, parameter, given)

    def _sizes(self) -> str:
        options = {
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
            "recurrent_dropout": (self.recurrent_dropout, 0.0),
            "zoneout": (self.zoneout, 0.0),
            "variational": (self.variational, False),
            "tokens": (self.tokens, False),
            **self._own_options(),
            "weight_format": (self.weight_format, self._dtype.name),
        }
        changed = [
            f"{name}={v!r}" for name, (v, default) in options.items() if v != default
        ]
        return ", ".join([str(self.input_size), str(self.hidden_size), *changed])

    def _own_options(self) -> dict[str, tuple[Any, Any]]:
        """The options of this class alone, each with its default."""
        return {}

    def __repr__(self) -> str:
        if self._is_narrow:
            return f"{self._description()} with {self.nbytes:,} bytes of weights"
        return super().__repr__()


def _describe(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return type(value).__name__
