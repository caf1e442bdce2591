"""The parameters of PyTorch's modules in the kernels' form, and gradients back.

They are packed anew where a version counter says that they have changed. It does not
always: what is written to ``parameter.data``, by another process or through an array counts
nowhere. So numbers are compared too, with the copies that were packed. Those of bfloat16
stand as float32 beside their packed form, since training needs them so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.kernels import bfloat16, cells, chooser
from gatewise.kernels.activations import STANDARD, Activation
from gatewise.weights import Prepared, Weights

Array = NDArray[Any]
_SINGLE = np.dtype(np.float32)

# What runs a mode of torch.nn's: a cell, and what its candidate goes through.
MODES = {
    "LSTM": ("lstm", STANDARD),
    "GRU": ("gru", STANDARD),
    "RNN_TANH": ("rnn", STANDARD),
    "RNN_RELU": ("rnn", STANDARD._replace(candidate=Activation("relu"))),
}

__all__ = [
    "MODES",
    "Sizes",
    "as_array",
    "as_tensor",
    "gradients_of",
    "known",
    "prepare",
    "sizes_of",
]


class Sizes(NamedTuple):
    """What a module's attributes say of its weights."""

    mode: str
    input_size: int
    hidden_size: int
    proj_size: int
    num_layers: int
    directions: int
    bias: bool

    @property
    def output_size(self) -> int:
        """The features of one direction's output."""
        return self.proj_size or self.hidden_size

    @property
    def for_direction(self) -> int:
        """How many tensors one direction of one layer has."""
        return 2 + 2 * self.bias + (self.proj_size > 0)

    @property
    def state_widths(self) -> list[int]:
        """The features of the parts of a state."""
        return [self.output_size, self.hidden_size][: 1 + (self.mode == "LSTM")]

    def shapes(self, layer: int) -> list[tuple[int, ...]]:
        """The shapes of the tensors of one direction of a layer, in PyTorch's order."""
        gates = cells.look_up(MODES[self.mode][0]).gates * self.hidden_size
        features = self.directions * self.output_size if layer else self.input_size
        found: list[tuple[int, ...]] = [(gates, features), (gates, self.output_size)]
        if self.bias:
            found += [(gates,), (gates,)]
        if self.proj_size:
            found.append((self.proj_size, self.hidden_size))
        return found


def sizes_of(module: Any) -> Sizes:
    """What the attributes of a LSTM, GRU or RNN say."""
    return Sizes(
        module.mode,
        module.input_size,
        module.hidden_size,
        module.proj_size,
        module.num_layers,
        2 if module.bidirectional else 1,
        module.bias,
    )


class _Kept:
    """What was packed, and whether the tensors that it was packed of are still the same."""

    def __init__(
        self,
        sizes: Sizes,
        tensors: list[Tensor],
        arrays: list[Array],
        copies: list[Array],
        prepared: dict[str, list[list[Prepared]]],
    ) -> None:
        self.sizes, self.kernels = sizes, chooser.kernels
        # By the formats that calls have asked for.
        self.prepared = prepared
        self._tensors = tensors
        self._versions = [each._version for each in tensors]
        self._places = [(each.data_ptr(), each.shape) for each in tensors]
        # As integers, of which no two bit patterns are equal and every one equals itself.
        bits = {2: np.int16, 4: np.int32, 8: np.int64}[copies[0].itemsize]
        self._bits = [
            (array.view(bits), copy.view(bits))
            for array, copy in zip(arrays, copies, strict=True)
        ]

    def is_of(self, sizes: Sizes, tensors: Sequence[Tensor]) -> bool:
        """Whether these tensors are the same, at the same place, with the same numbers."""
        if sizes != self.sizes or self.kernels is not chooser.kernels:
            return False
        if [each._version for each in tensors] != self._versions:
            return False
        for each, known, place in zip(tensors, self._tensors, self._places, strict=True):
            if each is not known or (each.data_ptr(), each.shape) != place:
                return False
            if not each.is_contiguous():
                return False
        return all((array == copy).all() for array, copy in self._bits)

    def packed(self, weight_format: str) -> list[list[Prepared]]:
        """Every layer's directions in a format."""
        found = self.prepared.get(weight_format)
        if found is None:
            known = next(iter(self.prepared.values()))
            found = self.prepared[weight_format] = [
                [
                    Prepared(each.weights._replace(weight_format=weight_format))
                    for each in directions
                ]
                for directions in known
            ]
        return found


# Beside the modules, not in them: what is pickled or copied stays torch.nn's.
_kept: WeakKeyDictionary[torch.nn.Module, _Kept] = WeakKeyDictionary()


def as_array(tensor: Tensor) -> Array:
    """The numbers of a plain tensor, without a copy; those of bfloat16 as float32."""
    own = tensor.detach()
    array: Array = (_widened(own) if own.dtype is torch.bfloat16 else own).numpy()
    return array


def _widened(tensor: Tensor) -> Tensor:
    """A tensor as float32, in memory that was used before: fresh pages take longer."""
    is_turned = tensor.dim() == 3 and tensor.stride(0) < tensor.stride(1)
    own = tensor.transpose(0, 1) if is_turned else tensor
    made = torch.from_numpy(chooser.kernels.empty(tuple(own.shape), _SINGLE)).copy_(own)
    return made.transpose(0, 1) if is_turned else made


def as_tensor(array: Array, dtype: torch.dtype) -> Tensor:
    """A tensor of an array's numbers, without a copy where they have that dtype."""
    return torch.from_numpy(array).to(dtype)


def known(
    module: torch.nn.Module, sizes: Sizes, tensors: Sequence[Tensor], weight_format: str
) -> list[list[Prepared]] | None:
    """Return every layer's directions where these tensors are those of the last call."""
    kept = _kept.get(module)
    if kept is None or not kept.is_of(sizes, tensors):
        return None
    return kept.packed(weight_format)


def prepare(
    module: torch.nn.Module, sizes: Sizes, tensors: Sequence[Tensor], weight_format: str
) -> list[list[Prepared]] | None:
    """Return every layer's directions, packed, or None where the shapes are not these."""
    count, found = sizes.for_direction, []
    if len(tensors) != sizes.num_layers * sizes.directions * count:
        return None
    arrays = [_memory(tensor) for tensor in tensors]
    copies = [np.array(array, order="C") for array in arrays]
    numbers = copies
    if tensors[0].dtype is torch.bfloat16:
        numbers = [bfloat16.widened(copy) for copy in copies]
    for layer in range(sizes.num_layers):
        shapes, directions = sizes.shapes(layer), []
        for d in range(sizes.directions):
            start = (layer * sizes.directions + d) * count
            own = numbers[start : start + count]
            if [array.shape for array in own] != shapes:
                return None
            directions.append(Prepared(_weights(sizes, own, weight_format)))
        found.append(directions)
    # What is computed anew for each call is not worth keeping; nor has a tensor made in
    # inference mode versions, or one with other strides the bits of its copy.
    if all(map(_is_lasting, tensors)):
        prepared = {weight_format: found}
        _kept[module] = _Kept(sizes, list(tensors), arrays, copies, prepared)
    return found


def _memory(tensor: Tensor) -> Array:
    """What stands in a tensor's memory; NumPy has no bfloat16, but its bits."""
    if tensor.dtype is torch.bfloat16:
        bits: Array = tensor.detach().view(torch.int16).numpy().view(np.uint16)
        return bits
    return as_array(tensor)


def _is_lasting(tensor: Tensor) -> bool:
    return tensor.is_leaf and tensor.is_contiguous() and not tensor.is_inference()


def _weights(sizes: Sizes, arrays: list[Array], weight_format: str) -> Weights:
    """The tensors of one direction in the kernels' form."""
    cell, activations = MODES[sizes.mode]
    w_ih, w_hh, dtype = arrays[0], arrays[1], arrays[0].dtype
    hn, bias_hn = slice(2 * sizes.hidden_size, None), None
    if sizes.bias:
        with np.errstate(all="ignore"):
            bias = arrays[2] + arrays[3]
        if cell == "gru":
            # The reset gate acts on the hidden bias of n, which so stays apart.
            bias[hn], bias_hn = arrays[2][hn], arrays[3][hn].copy()
    else:
        bias = np.zeros(len(w_ih), dtype)
        if cell == "gru":
            bias_hn = np.zeros(sizes.hidden_size, dtype)
    return Weights(
        cell,
        activations,
        weight_format,
        w_ih,
        w_hh,
        bias,
        bias_hn,
        arrays[-1] if sizes.proj_size else None,
    )


def gradients_of(sizes: Sizes, gradients: Weights) -> list[Array]:
    """The gradients of one direction's tensors, each an array of its own."""
    found = [gradients.w_ih, gradients.w_hh]
    if sizes.bias:
        hidden = gradients.bias.copy()
        if gradients.bias_hn is not None:
            hidden[2 * sizes.hidden_size :] = gradients.bias_hn
        found += [gradients.bias, hidden]
    if gradients.w_hr is not None:
        found.append(gradients.w_hr)
    return found
