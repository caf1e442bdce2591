"""The arrays that Keras has for a recurrent layer, and the parameters that they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise import gates
from gatewise.kernels import cells
from gatewise.layers import inputs, parameters
from gatewise.layers.recurrent_weights import RecurrentWeights

Array = NDArray[Any]

__all__ = ["KerasArrays", "KerasWeights"]

# Options that follow from the arrays.
_SIZES = (
    "input_size",
    "hidden_size",
    "num_layers",
    "bias",
    "bidirectional",
    "forget_bias",
)
_MOST_PARAMETERS = 1 << 20


class KerasWeights(NamedTuple):
    """What Keras keeps for one direction of one layer, in the shapes that Keras has."""

    kernel: Array
    recurrent_kernel: Array
    bias: Array | None = None

    @classmethod
    def of(cls, where: str, *given: ArrayLike | None) -> KerasWeights:
        """Return arrays of whatever was given; `where` stands before their names in errors.

        Raises
        ------
        TypeError
            If one holds no real numbers.
        ValueError
            If a shape is that of no recurrent layer.
        """
        names = [f"{where}{name}" for name in cls._fields]
        if not 2 <= len(given) <= 3:
            raise ValueError(
                f"{where}weights should be a kernel, a recurrent kernel and perhaps "
                f"a bias, got {len(given)} arrays"
            )
        arrays: list[Array | None] = []
        for name, value in zip(names, given, strict=False):
            array = None if value is None else inputs.weight(name, value)
            if array is not None and array.dtype.kind not in "fiub":
                raise TypeError(f"{name} should hold real numbers, got {array.dtype}")
            arrays.append(array)
        kernel, recurrent = arrays[:2]
        if recurrent is None or recurrent.ndim != 2 or 0 in recurrent.shape:
            got = None if recurrent is None else recurrent.shape
            raise ValueError(
                f"{names[1]} should have shape (units, gates * units), got {got}"
            )
        columns = recurrent.shape[1]
        if kernel is None or kernel.ndim != 2 or kernel.shape[1] != columns:
            got = None if kernel is None else kernel.shape
            raise ValueError(f"{names[0]} should have shape (inputs, {columns}), got {got}")
        return cls(kernel, recurrent, *arrays[2:])

    @property
    def units(self) -> int:
        """How many units the layer has."""
        return len(self.recurrent_kernel)

    @property
    def gates(self) -> float:
        """How many blocks of units stand beside each other: 1, 3 or 4."""
        return float(self.recurrent_kernel.shape[1] / self.units)

    @property
    def is_cudnn(self) -> bool:
        """Whether this is what CuDNNLSTM or CuDNNGRU keeps, which has two biases in one."""
        return (
            self.bias is not None
            and self.gates > 1
            and self.bias.shape == (2 * self.recurrent_kernel.shape[1],)
        )


class KerasArrays(RecurrentWeights):
    """Recurrent layers from Keras's arrays, and back."""

    @classmethod
    def from_keras(
        cls,
        kernel: ArrayLike,
        recurrent_kernel: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        backward: Sequence[ArrayLike] | None = None,
        **options: Any,
    ) -> Self:
        """Return a layer with the arrays of one of Keras, as its `get_weights` has them.

        Arrays do not say their activations: what is not given is what this class has
        unless told otherwise, sigmoid and tanh, as a layer of Keras has since 2.3. One made
        before, or with another ``recurrent_activation`` or ``activation``, needs the same
        here. `gatewise.from_keras` takes them from a file.

        Parameters
        ----------
        kernel
            ``(inputs, gates * units)``.
        recurrent_kernel
            ``(units, gates * units)``.
        bias
            ``(gates * units,)``; for a GRU ``(2, 3 * units)`` where the reset gate comes
            after the product, as Keras has it unless told otherwise, and ``(3 * units,)``
            where it comes before. ``(8 * units,)`` or ``(6 * units,)`` is what a CuDNNLSTM
            or a CuDNNGRU keeps, whose kernels are in another order; they are taken so. None
            for ``use_bias=False``; a GRU then needs `reset_after`.
        backward
            The arrays of the second direction: the second half of a Bidirectional's.
        **options
            Those of the class but for the sizes, such as `recurrent_activation`. `dtype` is
            float64 unless given if an array is, else float32.

        Returns
        -------
        RNN, LSTM or GRU
            A layer of this class.

        Raises
        ------
        TypeError
            If an array holds no real numbers, or an option is none of this class.
        ValueError
            If a shape does not fit the others, `reset_after` is missing or contradicts
            `bias`, or an option is out of range.

        Examples
        --------
        >>> import numpy as np, gatewise
        >>> weights = [np.ones((3, 12)), np.ones((4, 12)), np.zeros((2, 12))]
        >>> gatewise.GRU.from_keras(*weights, dtype="float32")
        GRU(3, 4) with 108 parameters
        >>> gatewise.GRU.from_keras(*weights, backward=weights).bidirectional
        True
        """
        directions = [KerasWeights.of("", kernel, recurrent_kernel, bias)]
        if backward is not None:
            directions.append(KerasWeights.of("backward ", *backward))
        return cls._from_keras([directions], options)

    @classmethod
    def _from_keras(
        cls, layers: Sequence[Sequence[KerasWeights]], options: Mapping[str, Any]
    ) -> Self:
        """A layer of all directions of all `layers`, from the first to the last."""
        for name in _SIZES:
            if name in options:
                raise TypeError(
                    f"options should leave out {name}, which follows from the arrays, got "
                    f"{options[name]!r}"
                )
        first = layers[0][0]
        every = [weights for directions in layers for weights in directions]
        chosen = dict(options)
        given = [array for weights in every for array in weights if array is not None]
        double = any(array.dtype == np.float64 for array in given)
        chosen.setdefault("dtype", "float64" if double else "float32")
        chosen |= cls._keras_options(first, chosen)
        with parameters.left_out(_MOST_PARAMETERS):
            # So that shapes are compared before memory is taken for them.
            layer = cls(
                len(first.kernel),
                first.units,
                len(layers),
                bias=first.bias is not None,
                bidirectional=len(layers[0]) == 2,
                **chosen,
            )
        places: dict[str, KerasWeights] = {}
        for index, directions in enumerate(layers):
            features = (
                layer.input_size if index == 0 else layer._directions * layer.output_size
            )
            for suffix, weights in zip(layer._suffixes(index), directions, strict=True):
                place = "" if suffix == "_l0" else f"{suffix[1:]}: "
                _check(place, weights, layer, features)
                places[suffix] = weights
        # A state that is learnt starts from zeros.
        values = {
            name: np.zeros(array.shape, array.dtype)
            for name, array in layer._snapshot().arrays.items()
            if name.startswith("initial")
        }
        for suffix, weights in places.items():
            for name, array in _parameters(weights, layer._cell).items():
                values[name + suffix] = _own(array, layer.dtype)
        layer._take_over(values)
        return layer

    @classmethod
    def _keras_options(
        cls, weights: KerasWeights, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What the arrays themselves say of the layer's options."""
        return {}

    def to_keras(self, layer: int | None = None) -> list[Array]:
        """Return what the `set_weights` of Keras's layers takes.

        The arrays are a kernel, a recurrent kernel and a bias, for two directions those of
        the second after those of the first, which is what Keras's Bidirectional takes. Of
        several layers those of each follow those of the one before, as an
        ``RNN([cell, cell])`` takes them; for separate layers of Keras give `layer`.

        Keras has one bias where this layer has two, which are added; only a GRU with
        `reset_after` has both there too. So what came from Keras goes back bit for bit, and
        a layer trained here gives the same outputs there, if it is made with the same
        activations and starts from zeros.

        Parameters
        ----------
        layer
            Which one, from 0; all if None.

        Returns
        -------
        list of arrays

        Raises
        ------
        TypeError
            If `layer` is no integer, or the weights are narrow.
        ValueError
            If there is no such layer, or Keras has no such layers: a projection or
            peepholes.

        Examples
        --------
        >>> import gatewise
        >>> layer = gatewise.LSTM(3, 4, bidirectional=True)
        >>> [array.shape for array in layer.to_keras()]
        [(3, 16), (4, 16), (16,), (3, 16), (4, 16), (16,)]
        """
        chosen = range(self.num_layers)
        if layer is not None:
            index = inputs.size("layer", layer, minimum=0)
            if index >= self.num_layers:
                raise ValueError(
                    f"layer should be below num_layers {self.num_layers}, got {index}"
                )
            chosen = range(index, index + 1)
        for option in ("proj_size", "peepholes"):
            if getattr(self, option, 0):
                raise ValueError(
                    f"{option} should be {type(getattr(self, option))(0)}, as Keras has no "
                    f"such layer, got {getattr(self, option)}"
                )
        if self._is_narrow:
            raise TypeError(
                f"the weights should be float32 or float64, got {self.weight_format}; "
                "convert the layer that was quantized"
            )
        arrays = self._snapshot().arrays
        return [
            array
            for index in chosen
            for suffix in self._suffixes(index)
            for array in _keras_arrays(arrays, suffix, self._cell)
        ]


def _own(array: Array, dtype: np.dtype[Any]) -> Array:
    """A copy that is nobody else's, in the order that parameters have."""
    with np.errstate(over="ignore"):
        return np.array(array, dtype, order="C")


def _check(where: str, weights: KerasWeights, layer: RecurrentWeights, inputs: int) -> None:
    """Refuse arrays that are not those of `layer`, all parts of which are alike."""
    count = cells.look_up(layer._cell).gates
    units = layer.hidden_size
    columns = count * units
    if weights.recurrent_kernel.shape != (units, columns):
        raise ValueError(
            f"{where}recurrent_kernel of a {type(layer).__name__} should have shape "
            f"({units}, {columns}), got {weights.recurrent_kernel.shape}"
        )
    if weights.kernel.shape[0] != inputs:
        raise ValueError(
            f"{where}kernel should have shape ({inputs}, {columns}), got "
            f"{weights.kernel.shape}"
        )
    wanted: list[tuple[int, ...] | None] = [None]
    if layer.bias and layer._cell == "gru":
        wanted = [(2, columns), (2 * columns,)]
    elif layer.bias and layer._cell == "lstm":
        wanted = [(columns,), (2 * columns,)]
    elif layer.bias:
        wanted = [(columns,)]
    got = None if weights.bias is None else weights.bias.shape
    if got not in wanted:
        raise ValueError(f"{where}bias should have shape {wanted[0]}, got {got}")


def _parameters(weights: KerasWeights, cell: str) -> dict[str, Array]:
    kernel, recurrent, bias = weights
    if weights.is_cudnn:
        # cuDNN keeps each gate's matrix by columns of what Keras keeps by rows.
        kernel = _by_gate(kernel, cell, lambda k: k.T.reshape(k.shape, order="F"))
        recurrent = _by_gate(recurrent, cell, np.transpose)
    found = {"weight_ih": kernel.T, "weight_hh": recurrent.T}
    if bias is not None:
        rows = bias.reshape(-1, kernel.shape[1])
        found["bias_ih"] = rows[0]
        found["bias_hh"] = rows[1] if len(rows) == 2 else np.zeros_like(rows[0])
    return {name: gates.reordered(each, cell, "keras") for name, each in found.items()}


def _by_gate(array: Array, cell: str, change: Any) -> Array:
    blocks = np.split(array, cells.look_up(cell).gates, axis=1)
    return np.concatenate([change(block) for block in blocks], axis=1)


def _keras_arrays(arrays: Mapping[str, Array], suffix: str, cell: str) -> list[Array]:
    own = {
        name: gates.reordered(arrays[name + suffix], cell, "pytorch", "keras")
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        if name + suffix in arrays
    }
    found = [np.ascontiguousarray(own[name].T) for name in ("weight_ih", "weight_hh")]
    if "bias_ih" in own:
        first, second = own["bias_ih"], own["bias_hh"]
        if cell == "gru":
            found.append(np.stack([first, second]))
        else:
            with np.errstate(all="ignore"):
                # So that a negative zero stays one.
                found.append(np.where(second == 0, first, first + second))
    return found
