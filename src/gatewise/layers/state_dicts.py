"""Layers out of arrays that PyTorch's names tell the use of, and back."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gatewise import _checks
from gatewise._checks import with_article
from gatewise.layers import inputs, parameters
from gatewise.layers.module import Module

Array = NDArray[Any]
Shape = tuple[int, ...]

__all__ = ["FromStateDict", "Read", "complain", "matrix", "shape_of"]

# As many places for a layer as a message lists; a dictionary can have thousands.
_LISTED = 50


class Read(NamedTuple):
    """What a dictionary says of a layer: the arguments that it implies, and the arrays.

    `arrays` have the names of the layer's parameters.
    """

    arguments: dict[str, Any]
    arrays: dict[str, Array]


class FromStateDict(Module):
    """A layer that can be made of a dictionary of arrays with PyTorch's names."""

    @classmethod
    def from_state_dict(
        cls, state_dict: Mapping[str, Any], prefix: str = "", **options: Any
    ) -> Self:
        """Return the layer whose parameters are in `state_dict`, under a prefix.

        Sizes and whatever else follows from the names and the shapes need not be said. What
        the arrays cannot tell, such as activations, does: it takes the constructor's
        defaults, which are PyTorch's.

        Parameters
        ----------
        state_dict
            Arrays or PyTorch's tensors and parameters by name, as ``state_dict()`` of one
            of PyTorch's modules gives them. For a recurrent layer they may also be those of
            one of its cells, ``weight_ih`` to ``bias_hh``; may have peepholes and an
            initial state, under this package's names; and may be int8 with scales, as
            `quantize` leaves them. Other floating numbers are widened to float32, exactly,
            and float64 makes a layer of float64.
        prefix
            What the names begin with, as in ``prefix="encoder.lstm."``. Whatever else there
            is under the prefix is passed over if it cannot be the layer's.
        **options
            For the constructor. What follows from the arrays may be given too, and is then
            compared with them; `dtype` decides.

        Returns
        -------
        layer
            Of this class.

        Raises
        ------
        ValueError
            If there is no such layer under the prefix, which the message then names others
            for; if a parameter is missing or unknown, a shape does not fit the others, or
            an option does not fit the arrays or is out of range.
        TypeError
            If `state_dict` is no mapping, an array holds no real numbers, or the
            constructor knows no such option.

        Examples
        --------
        >>> import numpy as np, gatewise
        >>> arrays = {
        ...     "encoder.gru.weight_ih_l0": np.zeros((12, 3)),
        ...     "encoder.gru.weight_hh_l0": np.zeros((12, 4)),
        ...     "head.weight": np.zeros((2, 4), np.float16),
        ... }
        >>> gatewise.GRU.from_state_dict(arrays, "encoder.gru.")
        GRU(3, 4, bias=False, dtype='float64') with 84 parameters
        >>> gatewise.Linear.from_state_dict(arrays, "head.")
        Linear(4, 2, bias=False) with 8 parameters
        """
        if not isinstance(prefix, str):
            raise TypeError(f"prefix should be a string, got {type(prefix).__name__}")
        if not isinstance(state_dict, Mapping):
            kind = type(state_dict).__name__
            hint = ""
            if isinstance(state_dict, str | os.PathLike):
                hint = "; gatewise.load_arrays gives the arrays of a file"
            raise TypeError(f"state_dict should map names to arrays, got {kind}{hint}")
        named = {name: value for name, value in state_dict.items() if isinstance(name, str)}
        own: dict[str, Array] = {}
        for name, value in named.items():
            rest = name.removeprefix(prefix)
            if name.startswith(prefix) and cls._is_like(rest):
                given = f"state_dict[{name!r}]"
                own[rest] = _checks.as_numbers(given, inputs.weight(given, value))
        if not any(name.startswith("weight") for name in own):
            hint = cls._hint(state_dict)
            if not hint and isinstance(getattr(state_dict, "format", None), str):
                # Out of a file, which may have its layers under other names.
                hint = "; `gatewise inspect` says what loads the layers of a file"
            raise ValueError(
                f"state_dict should have {with_article(cls)}'s parameters under prefix "
                f"{prefix!r}, got {_others(named, prefix)}{hint}"
            )
        layer, arrays = cls._unfilled(own, options)
        return layer._filled(arrays)

    def to_state_dict(self, prefix: str = "") -> dict[str, Array]:
        """Return copies of the parameters, for `from_state_dict` or for PyTorch.

        Where PyTorch's module has the same parameters, they have its names, shapes and
        order.

        Parameters
        ----------
        prefix
            What to put before each name.

        Returns
        -------
        dict
            Arrays by name, all of one moment.

        Raises
        ------
        TypeError
            If `prefix` is no string.

        Examples
        --------
        >>> import gatewise
        >>> layer = gatewise.RNN(3, 4)
        >>> list(layer.to_state_dict("rnn."))[:2]
        ['rnn.weight_ih_l0', 'rnn.weight_hh_l0']
        """
        if not isinstance(prefix, str):
            raise TypeError(f"prefix should be a string, got {type(prefix).__name__}")
        return {prefix + name: array for name, array in self.state_dict().items()}

    @classmethod
    def _unfilled(
        cls, own: dict[str, Array], options: dict[str, Any]
    ) -> tuple[Self, dict[str, Array]]:
        """The layer that these arrays are of, before it has them, and they by its names.

        What they hold is not looked at, so they may be `parameters.placeholder`.
        """
        arguments, arrays = cls._read(own)
        for name, value in options.items():
            if name in arguments and value != arguments[name]:
                raise ValueError(
                    f"{name} should be {arguments[name]!r}, as state_dict has it, or left "
                    f"out, got {value!r}"
                )
        kinds = {array.dtype.char for array in arrays.values()}
        # With narrow weights everything else is float32.
        is_wide = "d" in kinds and "b" not in kinds
        dtype = {"dtype": "float64" if is_wide else "float32"}
        # An initial state that is to be learnt may come on top.
        with parameters.left_out(len(arrays) + 2):
            layer = cls(**(arguments | dtype | options))
        return layer, arrays

    @classmethod
    def _check_headers(cls, own: Mapping[str, tuple[Shape, np.dtype[Any]]]) -> None:
        """Raise what `from_state_dict` would of arrays of these shapes and dtypes."""
        arrays = {
            name: _checks.as_numbers(name, parameters.placeholder(shape, dtype))
            for name, (shape, dtype) in own.items()
        }
        cls._unfilled(arrays, {})

    def _filled(self, arrays: dict[str, Array]) -> Self:
        """Return this new layer with these parameters, or a narrow one in its place."""
        snapshot = self._snapshot()
        values = self._fitting(
            "state_dict", arrays, snapshot, missing=True, unexpected=False
        )
        self._write(values, snapshot)
        return self

    @classmethod
    @abstractmethod
    def _is_like(cls, name: str) -> bool:
        """Whether a name, of what is under the prefix, can be meant as the layer's."""

    @classmethod
    @abstractmethod
    def _read(cls, own: dict[str, Array]) -> Read:
        """What the arrays that can be meant as the layer's say, or an error that says why.

        All shapes are looked at here, before a layer of that size is made.
        """

    @classmethod
    @abstractmethod
    def _found_at(cls, name: str, shape: Shape, named: Mapping[str, Any]) -> str | None:
        """The prefix of the layer that this name of a dictionary belongs to, if to one.

        Asked of all names, it gives each prefix once.
        """

    @classmethod
    def _describe_found(cls, prefix: str, shape: Shape, named: Mapping[str, Any]) -> str:
        """What to say of a place where `_found_at` found a layer."""
        return f"{with_article(cls)} with prefix={prefix!r}"

    @classmethod
    def _hint(cls, state_dict: Mapping[Any, Any]) -> str:
        """Where there are such layers, in the dictionary or else in one inside it."""
        found = list(cls._places_in(state_dict))
        where = ""
        if not found:
            for key, inner in state_dict.items():
                if isinstance(inner, Mapping) and (found := list(cls._places_in(inner))):
                    where = f" in state_dict[{key!r}]"
                    break
        if not found:
            return ""
        more = f", and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        return f"; there is{where} {', '.join(found[:_LISTED])}{more}"

    @classmethod
    def _places_in(cls, state_dict: Mapping[Any, Any]) -> Iterator[str]:
        named = {name: value for name, value in state_dict.items() if isinstance(name, str)}
        for name, value in named.items():
            shape = shape_of(value)
            prefix = cls._found_at(name, shape, named)
            if prefix is not None:
                yield cls._describe_found(prefix, shape, named)


def complain(kind: type, problems: list[str]) -> None:
    """Raise ValueError if there are problems with what should be a layer's arrays."""
    if problems:
        raise ValueError(
            f"state_dict should have {with_article(kind)}'s parameters: "
            f"{'; '.join(problems[:_LISTED])}"
        )


def shape_of(value: Any) -> Shape:
    """The shape of what may be an array, without making one of it; () if it has none."""
    found = getattr(value, "shape", ())
    return tuple(found) if isinstance(found, tuple) else ()


def matrix(kind: type, name: str, own: Mapping[str, Array]) -> tuple[int, int]:
    """The shape of an array that should be a matrix, with something in it."""
    shape = own[name].shape
    if len(shape) != 2 or 0 in shape:
        complain(kind, [f"{name} should have two axes with something in it, got {shape}"])
    return shape[0], shape[1]


def _others(named: Mapping[str, Any], prefix: str) -> str:
    """A few of the names that there are under a prefix, or else anywhere."""
    under = [name for name in named if name.startswith(prefix)]
    shown = ", ".join((under or list(named))[:3])
    return f"{shown}{', ...' if len(under or named) > 3 else ''}" if named else "none"
