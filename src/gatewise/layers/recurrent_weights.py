"""The weights of RNN, LSTM and GRU: which there are, and what becomes of them."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gatewise.direction import Prepared, Weights
from gatewise.kernels import activations, cells, computing
from gatewise.kernels.activations import STANDARD, Activations, Spelling
from gatewise.kernels.formats import TO_BFLOAT16
from gatewise.layers import inputs, parameters, quantized
from gatewise.layers.kinds import Stateful
from gatewise.layers.module import SHOWN, Gradients
from gatewise.layers.parameters import Snapshot
from gatewise.layers.quantizable import Quantizable

Array = NDArray[Any]

# What becomes of the outputs of two directions.
_MERGES = ("concat", "sum", "mean")


def shapes(
    gates: int,
    features: int,
    hidden_size: int,
    output_size: int,
    *,
    bias: bool,
    peepholes: bool = False,
) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters of one direction of one layer, in PyTorch's order."""
    rows = gates * hidden_size
    found: dict[str, tuple[int, ...]] = {
        "weight_ih": (rows, features),
        "weight_hh": (rows, output_size),
    }
    if bias:
        found |= {"bias_ih": (rows,), "bias_hh": (rows,)}
    if output_size != hidden_size:
        found["weight_hr"] = (output_size, hidden_size)
    if peepholes:
        found["weight_peephole"] = (3, hidden_size)
    return found


class RecurrentWeights(Quantizable, Stateful):
    """What a recurrent layer is before it runs: its sizes, its options and its weights.

    Raises
    ------
    TypeError
        If a size is no integer, a probability no number, `tokens`, `variational` or
        `learn_initial_state` no bool, or `dtype` no dtype.
    ValueError
        If an option is out of range, or none of those that there are.
    """

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
    _formats = ("float16", "bfloat16", "int8")
    _narrow_names = quantized.RECURRENT
    _has_peepholes = False
    # What the formula's gates and candidates go through.
    _activations: Activations = STANDARD

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        dropout: float,
        bidirectional: bool,
        merge: str,
        recurrent_dropout: float,
        zoneout: float,
        variational: bool,
        tokens: bool,
        learn_initial_state: bool,
        dtype: DTypeLike,
        seed: int | np.random.Generator | None,
    ) -> None:
        super().__init__(dtype)
        self.input_size = inputs.size("input_size", input_size)
        self.hidden_size = inputs.size("hidden_size", hidden_size)
        self.num_layers = inputs.size("num_layers", num_layers)
        self.bias = bool(bias)
        self.dropout = dropout
        self.bidirectional = bool(bidirectional)
        self.merge = self._checked_merge(merge)
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = zoneout
        self.variational = variational
        self.tokens = inputs.flag("tokens", tokens)
        self.learn_initial_state = inputs.flag("learn_initial_state", learn_initial_state)
        self._directions = 2 if self.bidirectional else 1
        self.generator = np.random.default_rng(seed)
        if self.dropout and self.num_layers == 1 and not parameters.are_left_out():
            warnings.warn(
                f"dropout={self.dropout:g} hides outputs of a layer from the next one, and "
                "with num_layers=1 there is none; a Dropout layer hides the last one's",
                UserWarning,
                stacklevel=3,
            )

    def _checked_merge(self, merge: str) -> str:
        if merge not in _MERGES:
            wanted = " or ".join(map(repr, _MERGES))
            raise ValueError(f"merge should be {wanted}, got {merge!r}")
        if merge != "concat" and not self.bidirectional:
            raise ValueError(
                f"merge should be 'concat' for a layer of one direction, got {merge!r}"
            )
        return merge

    def _initialise(self) -> None:
        """Draw every parameter as PyTorch does, uniform within 1 / sqrt(hidden_size)."""
        bound = 1 / np.sqrt(self.hidden_size)
        draw = parameters.uniform(self.generator, bound)
        for layer in range(self.num_layers):
            for suffix in self._suffixes(layer):
                for name, shape in self._shapes(layer).items():
                    self._add_parameter(name + suffix, shape, draw)

    def _choose_activations(self, gates: Spelling, candidate: Spelling) -> None:
        """Take the activations of an LSTM or a GRU, as they were given."""
        gate = activations.activation("recurrent_activation", gates)
        other = activations.activation("activation", candidate)
        self.recurrent_activation = activations.spelling(gate)
        self.activation = activations.spelling(other)
        # A GRU has no c for the last to look at.
        self._activations = Activations(gate, other, output=other)

    @property
    def output_size(self) -> int:
        """How many features one direction gives."""
        return self.hidden_size

    def _features(self) -> tuple[int, int]:
        given = self._directions if self.merge == "concat" else 1
        return self.input_size, given * self.output_size

    def _time_axis(self) -> tuple[bool, bool]:
        return True, False

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self._directions]

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The shapes of one direction's parameters, in PyTorch's order."""
        features = self.input_size if layer == 0 else self._directions * self.output_size
        gates, sizes = cells.look_up(self._cell).gates, (self.hidden_size, self.output_size)
        return shapes(
            gates, features, *sizes, bias=self.bias, peepholes=self._has_peepholes
        )

    @property
    @abstractmethod
    def _cell(self) -> str:
        """The name that the kernels have for the formula."""

    def _weights(self, arrays: Mapping[str, Array], suffix: str) -> Weights:
        """The parameters of one direction in the kernels' form."""
        w_ih, w_hh = arrays["weight_ih" + suffix], arrays["weight_hh" + suffix]
        if self.bias:
            with np.errstate(all="ignore"):
                bias = arrays["bias_ih" + suffix] + arrays["bias_hh" + suffix]
        else:
            bias = np.zeros(len(w_ih), self._dtype)
        return Weights(self._cell, self._activations, self._kernel_format, w_ih, w_hh, bias)

    def _named(self, gradients: Weights) -> Gradients:
        """The gradients of one direction by the names of `_shapes`."""
        named = {"weight_ih": gradients.w_ih, "weight_hh": gradients.w_hh}
        if self.bias:
            # Two arrays, since a caller may well scale gradients in place.
            named |= {"bias_ih": gradients.bias, "bias_hh": gradients.bias.copy()}
        return named

    def _prepare(self, snapshot: Snapshot) -> list[list[Prepared]]:
        """Every layer's directions, packed for the present backend."""
        prepared: list[list[Prepared]] = snapshot.prepared(self._pack)
        return prepared

    def _prepare_to_train(self, snapshot: Snapshot) -> list[list[Prepared]]:
        """The same for training, in the precision that it is to multiply in."""
        if self.dtype != np.float32 or not computing.is_bfloat16():
            return self._prepare(snapshot)
        prepared: list[list[Prepared]] = snapshot.prepared(self._pack_rounded, "bfloat16")
        return prepared

    def _pack_rounded(self, snapshot: Snapshot) -> list[list[Prepared]]:
        return [
            [
                Prepared(weights._replace(weight_format=TO_BFLOAT16))
                for weights in (
                    self._weights(snapshot.arrays, s) for s in self._suffixes(layer)
                )
            ]
            for layer in range(self.num_layers)
        ]

    def _pack(self, snapshot: Snapshot) -> list[list[Prepared]]:
        return [
            [self._prepare_direction(snapshot.arrays, s) for s in self._suffixes(layer)]
            for layer in range(self.num_layers)
        ]

    def _prepare_direction(self, arrays: Mapping[str, Array], suffix: str) -> Prepared:
        scales = quantized.scales(arrays, suffix)
        return Prepared(self._weights(arrays, suffix), scales)

    def quantize(self, weight_format: str, *, activations: int | None = None) -> Self:
        """Return a copy of this layer for inference whose weights take fewer bytes.

        ``"int8"`` multiplies integers: on a processor with instructions for it, from 256
        units on, a layer takes a half to a sixth of its time in float32, as PERFORMANCE.md
        says. Each row that meets the weights, of x or of h, is rounded to whole steps of
        its own: of its largest element or, where h cannot exceed 1, of 1. So a sequence's
        result depends on no other. The sums of integers are exact, and so the same
        everywhere; gates and state are float32. A row with NaN or infinity gives NaN, in
        its sequence alone.

        The copy is called and streams like this layer, but cannot be trained, and only
        arrays of the same dtypes can be given for its parameters. With tokens for input it
        makes a table in float32 besides, one row a token.

        Parameters
        ----------
        weight_format : {"float16", "bfloat16", "int8"}
            ``"float16"`` takes half the bytes and rounds each weight to 11 bits.
            ``"bfloat16"`` takes half the bytes, kept as uint16, and rounds weights, inputs
            and h to 8 bits, whose products processors have that know it; elsewhere float32
            multiplies the rounded numbers, as fast as others.
            ``"int8"`` takes a quarter and rounds it to a 127th of the largest in its row,
            the weights of one gate of one unit. Biases, peepholes and the state stay
            float32.
        activations : {15, 8}, optional
            The bits that ``"int8"`` rounds the rows to; 15 if None. With 15 all but the
            weights are as good as in float32; 8 take about two thirds of the time in
            batches, and little less where reading the weights takes most of it.

        Returns
        -------
        RNN, LSTM or GRU
            A layer of the same class whose parameters are the narrow weights, with an array
            of scales after each int8 one, such as ``weight_ih_l0_scale``. Its attribute
            `weight_format` has the name; it is that of the dtype where weights are not
            narrow. `activation_bits` has the bits.

        Raises
        ------
        ValueError
            If there is no such format, it does not go with these bits, the layer is not
            float32, or has a weight that the format cannot hold.
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
        return self._quantized_copy(weight_format, activations)

    def _arguments_and_defaults(self) -> dict[str, tuple[Any, Any]]:
        return {
            "input_size": (self.input_size, SHOWN),
            "hidden_size": (self.hidden_size, SHOWN),
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
            "merge": (self.merge, "concat"),
            "recurrent_dropout": (self.recurrent_dropout, 0.0),
            "zoneout": (self.zoneout, 0.0),
            "variational": (self.variational, False),
            "tokens": (self.tokens, False),
            "learn_initial_state": (self.learn_initial_state, False),
            **self._own_options(),
            **self._dtype_and_default(),
        }

    @abstractmethod
    def _own_options(self) -> dict[str, tuple[Any, Any]]:
        """The options of this class alone, each with its default."""
