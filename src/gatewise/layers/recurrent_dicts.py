"""What the names and shapes of arrays say of the recurrent layer that they are of."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gatewise._checks import with_article
from gatewise.kernels import cells
from gatewise.layers.initial_state import InitialState
from gatewise.layers.recurrent_weights import shapes
from gatewise.layers.state_dicts import (
    FromStateDict,
    Read,
    Shape,
    complain,
    matrix,
    shape_of,
)

Array = NDArray[Any]

__all__ = ["RecurrentFromStateDict"]

_GATES = {kind: cells.look_up(kind.lower()).gates for kind in ("RNN", "GRU", "LSTM")}
_NAME = re.compile(
    r"(weight_ih|weight_hh|weight_hr|weight_peephole|bias_ih|bias_hh)"
    # No longer number than a layer can have, so that it is read in no time.
    r"(?:_l(0|[1-9][0-9]{0,8})(_reverse)?)?(_scale)?"
)
_LIKE = re.compile(r"(weight|bias)_(ih|hh|hr|peephole)(_[^.]*)?|initial_[hc]")
_FOUND = re.compile(r"(.*\.)?weight_hh(_l0)?")
# The parameters that come with a scale for each row where weights are int8.
_NARROW = ("weight_ih", "weight_hh", "weight_hr")
# Those that an LSTM alone has.
_LSTM_ONLY = ("weight_hr", "weight_peephole", "initial_c")


class RecurrentFromStateDict(FromStateDict, InitialState):
    """A recurrent layer that can be made of arrays."""

    @classmethod
    def _is_like(cls, name: str) -> bool:
        return _LIKE.fullmatch(name) is not None

    @classmethod
    def _kind(cls) -> str:
        for kind in cls.__mro__:
            if kind.__name__ in _GATES:
                return kind.__name__
        raise TypeError(
            f"the class should be one of {', '.join(_GATES)}, got {cls.__name__}"
        )

    @classmethod
    def _read(cls, own: dict[str, Array]) -> Read:
        arrays = cls._as_layers(own)
        try:
            return cls._read_layers(arrays)
        except ValueError as error:
            if not any(_NAME.fullmatch(name) and "_l" not in name for name in own):
                raise
            # A cell's names have no number.
            raise ValueError(str(error).replace("_l0", "")) from None

    @classmethod
    def _read_layers(cls, arrays: dict[str, Array]) -> Read:
        directions = cls._directions_of(arrays)
        bases = {base for each in directions.values() for base in each}
        cls._check_complete(directions, bases)

        rows, output_size = matrix(cls, "weight_hh_l0", arrays)
        hidden_size = output_size
        if "weight_hr" in bases:
            output_size, hidden_size = matrix(cls, "weight_hr_l0", arrays)
        cls._check_kind(rows, hidden_size, arrays)

        count = 1 + any(reverse for _, reverse in directions)
        num_layers = len(directions) // count
        _, input_size = matrix(cls, "weight_ih_l0", arrays)
        bias, peepholes = "bias_ih" in bases, "weight_peephole" in bases
        expected: dict[str, Shape] = {}
        for layer, reverse in sorted(directions):
            features = count * output_size if layer else input_size
            gates = _GATES[cls._kind()]
            of_direction = shapes(
                gates, features, hidden_size, output_size, bias=bias, peepholes=peepholes
            )
            for base, shape in of_direction.items():
                expected[f"{base}_l{layer}{reverse}"] = shape
        if any(name.startswith("initial") for name in arrays):
            expected["initial_h"] = (num_layers * count, output_size)
            if cls._kind() == "LSTM":
                expected["initial_c"] = (num_layers * count, hidden_size)
        cls._check_shapes(arrays, expected)

        arguments: dict[str, Any] = {
            "input_size": input_size,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "bias": bias,
            "bidirectional": count == 2,
        }
        if cls._kind() == "LSTM":
            arguments["proj_size"] = output_size if "weight_hr" in bases else 0
            arguments["peepholes"] = peepholes
            # Where to start biases that are there is no question.
            arguments["forget_bias"] = None
        return Read(arguments, arrays)

    @classmethod
    def _as_layers(cls, own: dict[str, Array]) -> dict[str, Array]:
        """The arrays by the names of layers, though they may be those of a cell."""
        arrays: dict[str, Array] = {}
        bare, unknown, numbered = [], [], []
        for name, array in own.items():
            match = _NAME.fullmatch(name)
            if match is None and not name.startswith("initial"):
                unknown.append(name)
            elif match is not None and match[2] is None:
                bare.append(name)
                arrays[f"{match[1]}_l0{match[4] or ''}"] = array
            else:
                if match is not None:
                    numbered.append(name)
                arrays[name] = array
        problems = [f"unexpected {', '.join(unknown)}"] if unknown else []
        if bare and numbered:
            problems.append(
                "names should be those of a cell or those of layers, got both "
                f"{bare[0]} and {numbered[0]}"
            )
        complain(cls, problems)
        return arrays

    @classmethod
    def _directions_of(
        cls, arrays: Mapping[str, Array]
    ) -> dict[tuple[int, str], dict[str, None]]:
        """What each direction of each layer has, but for scales."""
        found: dict[tuple[int, str], dict[str, None]] = {}
        for name in arrays:
            match = _NAME.fullmatch(name)
            if match is not None and not match[4]:
                place = int(match[2]), match[3] or ""
                found.setdefault(place, {})[match[1]] = None
        layers = sorted({layer for layer, _ in found})
        gap = next((i for i, layer in enumerate(layers) if i != layer), None)
        if gap is not None:
            complain(cls, [f"nothing of layer {gap}, while there is a layer {layers[gap]}"])
        reverses = {reverse for _, reverse in found}
        for place in itertools.product(layers or [0], sorted(reverses | {""})):
            found.setdefault(place, {})
        return found

    @classmethod
    def _check_complete(
        cls, directions: Mapping[tuple[int, str], dict[str, None]], bases: set[str]
    ) -> None:
        """Raise unless all directions have what one has."""
        wanted = {"weight_ih": None, "weight_hh": None}
        if any(base.startswith("bias") for base in bases):
            wanted |= {"bias_ih": None, "bias_hh": None}
        wanted |= dict.fromkeys(base for base in _LSTM_ONLY if base in bases)
        missing = [
            f"{base}_l{layer}{reverse}"
            for (layer, reverse), found in sorted(directions.items())
            for base in wanted
            if base not in found
        ]
        if missing:
            complain(cls, [f"missing {', '.join(missing)}"])

    @classmethod
    def _check_kind(cls, rows: int, hidden_size: int, arrays: Mapping[str, Array]) -> None:
        """Raise unless the rows are those of as many gates as the cell has."""
        kind = cls._kind()
        gates = _GATES[kind]
        is_lstm = kind == "LSTM"
        marks = [name for name in arrays if name.startswith(_LSTM_ONLY) and not is_lstm]
        if rows == gates * hidden_size and not marks:
            return
        other = next(
            (other for other, count in _GATES.items() if rows == count * hidden_size), None
        )
        if marks and other == kind:
            complain(cls, [f"unexpected {', '.join(marks)}, which only an LSTM has"])
        hint = ""
        if other not in (None, kind):
            hint = f"; these are {with_article(str(other))}'s shapes: use gatewise.{other}"
        complain(
            cls,
            [f"weight_hh_l0 should have {gates} * {hidden_size} rows, got {rows}{hint}"],
        )

    @classmethod
    def _check_shapes(
        cls, arrays: Mapping[str, Array], expected: Mapping[str, Shape]
    ) -> None:
        """Raise unless all arrays are there, of shapes that fit each other."""
        problems = []
        is_scaled = any(name.endswith("_scale") for name in arrays)
        wanted = dict(expected)
        for name, shape in expected.items():
            if not name.startswith(_NARROW):
                continue
            dtype = arrays[name].dtype
            if is_scaled:
                wanted[f"{name}_scale"] = shape[:1]
            if is_scaled and dtype != np.int8:
                problems.append(f"{name} should be int8 as others are, got {dtype}")
            elif dtype == np.int8 and not is_scaled:
                problems.append(f"{name} should have scales with its int8, got none")
        missing = [name for name in wanted if name not in arrays]
        if missing:
            problems.append(f"missing {', '.join(missing)}")
        unexpected = [name for name in arrays if name not in wanted]
        if unexpected:
            problems.append(f"unexpected {', '.join(unexpected)}")
        for name, shape in wanted.items():
            if name in arrays and arrays[name].shape != shape:
                got = arrays[name].shape
                problems.append(f"{name} should have shape {shape}, got {got}")
        complain(cls, problems)

    def _filled(self, arrays: dict[str, Array]) -> Self:
        parts = [arrays[name] for name in self._initial_shapes() if name in arrays]
        if parts:
            self.initial_state = parts if len(parts) > 1 else parts[0]
        if any(name.endswith("_scale") for name in arrays):
            return self.quantize("int8")._written(arrays)
        return self._written(arrays)

    def _written(self, arrays: dict[str, Array]) -> Self:
        return super()._filled(arrays)

    @classmethod
    def _found_at(cls, name: str, shape: Shape, named: Mapping[str, Any]) -> str | None:
        match = _FOUND.fullmatch(name)
        if match is None or len(shape) != 2:
            return None
        prefix = match[1] or ""
        # Once only, where the names of a cell and of layers stand side by side.
        return None if match[2] and f"{prefix}weight_hh" in named else prefix

    @classmethod
    def _describe_found(cls, prefix: str, shape: Shape, named: Mapping[str, Any]) -> str:
        hidden_size = shape[1]
        for name in ("weight_hr_l0", "weight_hr"):
            projection = shape_of(named.get(prefix + name))
            if len(projection) == 2:
                hidden_size = projection[1]
        for kind, gates in _GATES.items():
            if shape[0] == gates * hidden_size:
                return f"{with_article(kind)} with prefix={prefix!r}"
        return f"prefix={prefix!r}"
