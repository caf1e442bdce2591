"""GuitarML's JSON: PyTorch's ``state_dict`` of one recurrent layer and one linear one.

References
----------
.. [1] Wright, A. "CoreAudioML", ``networks.py``, which GuitarML's training uses.
   https://github.com/Alec-Wright/CoreAudioML
.. [2] GuitarML. "Proteus", ``src/RTNeuralLSTM.cpp``. https://github.com/GuitarML/Proteus
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.containers import Container
from gatewise.formats.errors import FormatError
from gatewise.formats.fields import Fields
from gatewise.formats.json import files as json_files
from gatewise.layers import GRU, LSTM, RNN, Linear, Sequential

Array = NDArray[Any]

__all__ = ["FORMAT", "around", "container", "is_guitarml", "network"]

FORMAT = "guitarml"
_CELLS = {"LSTM": (LSTM, 4), "GRU": (GRU, 3), "RNN": (RNN, 1)}
_MOST_UNITS = 1 << 24


def is_guitarml(said: Mapping[str, Any]) -> bool:
    """Whether a dictionary that was read from JSON is one of these."""
    return "model_data" in said and "state_dict" in said


def container(said: dict[str, Any]) -> Container:
    """Return the arrays of a file by PyTorch's names.

    Raises
    ------
    FormatError
        If the file is damaged.
    """
    metadata = {name: value for name, value in said.items() if name != "state_dict"}
    return json_files.HeldArrays(FORMAT, _arrays(said), metadata)


def network(said: dict[str, Any]) -> Sequential:
    """Return the two layers of a file, without the sum that is around them.

    Raises
    ------
    FormatError
        If the file is damaged, or of a network of another kind.
    """
    with json_files.format_errors():
        fields, arrays = Fields(said, "guitarml").fields("model_data"), _arrays(said)
        kind = fields.text("model") if fields.has("model") else "SimpleRNN"
        if kind != "SimpleRNN":
            raise FormatError(
                f"model_data.model should be SimpleRNN, the only one that gatewise has "
                f"layers for, got {kind!r}"
            )
        unit = fields.text("unit_type")
        if unit not in _CELLS:
            raise FormatError(
                f"model_data.unit_type should be one of {', '.join(_CELLS)}, got {unit!r}"
            )
        cell, gate_count = _CELLS[unit]
        inputs, units, outputs = (
            fields.integer(name, lowest=1, highest=_MOST_UNITS)
            for name in ("input_size", "hidden_size", "output_size")
        )
        # More layers than arrays would be no true number.
        layers = fields.integer("num_layers", lowest=1, highest=len(arrays))
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(layers):
            rows = gate_count * units
            shapes[f"rec.weight_ih_l{layer}"] = (rows, units if layer else inputs)
            shapes[f"rec.weight_hh_l{layer}"] = (rows, units)
            shapes[f"rec.bias_ih_l{layer}"] = shapes[f"rec.bias_hh_l{layer}"] = (rows,)
        shapes["lin.weight"] = (outputs, units)
        has_bias = "lin.bias" in arrays
        if has_bias:
            shapes["lin.bias"] = (outputs,)
        _check(arrays, shapes)
        model = Sequential(
            cell(inputs, units, layers), Linear(units, outputs, bias=has_bias)
        )
        places = {"rec.": "0.", "lin.": "1."}
        model.set_parameters({places[name[:4]] + name[4:]: arrays[name] for name in shapes})
        return model


def around(said: dict[str, Any]) -> dict[str, float]:
    """Return ``{"skip": 1}`` where the output has the input added, and else nothing.

    A larger number is that of the features of the input that are added.

    Raises
    ------
    FormatError
        If it is no whole number.
    """
    with json_files.format_errors():
        fields = Fields(said, "guitarml").fields("model_data")
        if not fields.has("skip") or said["model_data"]["skip"] is False:
            return {}
        if said["model_data"]["skip"] is True:
            return {"skip": 1}
        skip = fields.integer("skip", lowest=0, highest=_MOST_UNITS)
        return {"skip": skip} if skip else {}


def _arrays(said: dict[str, Any]) -> dict[str, Array]:
    with json_files.format_errors():
        state = Fields(said, "guitarml").dictionary("state_dict")
        return {name: json_files.numbers(value, name) for name, value in state.items()}


def _check(arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if name not in arrays:
            raise FormatError(f"state_dict.{name} is missing")
        if np.shape(arrays[name]) != shape:
            raise FormatError(
                f"state_dict.{name} should have shape {shape}, got {arrays[name].shape}"
            )
    if unknown := arrays.keys() - shapes.keys():
        raise FormatError(f"state_dict should have no {min(unknown)!r}")
