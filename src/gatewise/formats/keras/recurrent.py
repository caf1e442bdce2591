"""Recurrent layers out of what was found in a file of Keras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gatewise import layers as room
from gatewise.formats.containers import Container
from gatewise.formats.errors import ArgumentNeeded, FormatError
from gatewise.formats.keras.activations import HARD_SIGMOIDS, spelling_of
from gatewise.formats.keras.first_version import merged
from gatewise.formats.keras.found import Found, Part
from gatewise.kernels.activations import Spelling
from gatewise.layers.keras_arrays import KerasWeights
from gatewise.layers.recurrent import Recurrent

Array = NDArray[Any]

__all__ = ["Given", "made"]

_CLASSES: Mapping[str, type[Recurrent]] = {
    "RNN": room.RNN,
    "LSTM": room.LSTM,
    "GRU": room.GRU,
}
_BY_GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}
# By Keras's word, what a layer here does with both directions; who multiplies gets both.
MERGE_MODES: Mapping[str, str] = {
    "concat": "concat",
    "sum": "sum",
    "ave": "mean",
    "mul": "concat",
}
# What the first version of Keras called it.
_GATE_KEYS = ("recurrent_activation", "inner_activation")


class Given(NamedTuple):
    """What the user says of the layer."""

    recurrent_activation: Spelling | None = None
    activation: Spelling | None = None
    reset_after: bool | None = None
    go_backwards: bool = False
    merge_mode: str | None = None
    dtype: DTypeLike | None = None


class _Read(NamedTuple):
    """One direction of one layer: its class, its arrays, and what else its class takes."""

    kind: str
    weights: KerasWeights
    options: dict[str, Any]


def made(container: Container, found: Found, version: int | None, given: Given) -> Any:
    """Return the layer that was found; a Sequential of such where its cells differ.

    Raises
    ------
    FormatError
        If the file does not say all that has to be known of it, or there is no such layer.
    """
    _check_order(found, given)
    rows = [
        [_read(container, found, part, version, given) for part in row]
        for row in found.parts
    ]
    dtype = given.dtype
    if dtype is None:
        dtype = _widest([each for row in rows for each in row])
    for first, *others in rows:
        for other in others:
            if not _alike(first, other):
                raise FormatError(
                    f"{found.name!r} has directions that differ in more than their arrays, "
                    "which here are separate layers"
                )
    with _named(found):
        if all(_alike(row[0], rows[0][0]) for row in rows):
            merge = _merge(found, given) if len(rows[0]) == 2 else "concat"
            return _layer(rows, dtype, merge)
        return room.Sequential(*(_layer([row], dtype) for row in rows))


def _alike(first: _Read, second: _Read) -> bool:
    """Whether two may be parts of one layer here."""
    return (
        (first.kind, first.options) == (second.kind, second.options)
        and first.weights.units == second.weights.units
        and (first.weights.bias is None) == (second.weights.bias is None)
    )


def _widest(every: Sequence[_Read]) -> str:
    arrays = [array for each in every for array in each.weights if array is not None]
    return "float64" if any(array.dtype == np.float64 for array in arrays) else "float32"


def _layer(
    rows: Sequence[Sequence[_Read]], dtype: DTypeLike, merge: str = "concat"
) -> Recurrent:
    first = rows[0][0]
    weights = [[each.weights for each in row] for row in rows]
    options = first.options | {"dtype": dtype, "merge": merge}
    return _CLASSES[first.kind]._from_keras(weights, options)


def _check_order(found: Found, given: Given) -> None:
    """Refuse what only a user can make up for who knows of it."""
    if found.go_backwards and not given.go_backwards:
        raise ArgumentNeeded(
            f"{found.name!r} goes backwards: go_backwards=True gives a layer that has to "
            "be given sequences from their ends, x[:, ::-1]",
            "go_backwards",
            True,
        )
    if given.go_backwards and not found.go_backwards and found.config is not None:
        raise FormatError(
            f"go_backwards should be False, as {found.name!r} does not go backwards"
        )


def _merge(found: Found, given: Given) -> str:
    """What becomes of the outputs of both directions."""
    # Where there is no configuration, nobody says it but the user.
    known = None if found.config is None else found.merge_mode
    mode = given.merge_mode or known or "concat"
    if mode == "mul" and given.merge_mode is None:
        raise ArgumentNeeded(
            f"{found.name!r} has the merge_mode 'mul': merge_mode='mul' gives a layer with "
            "both directions side by side, which you multiply yourself",
            "merge_mode",
            "mul",
        )
    if mode != "concat" and known not in (None, mode):
        raise FormatError(
            f"merge_mode should be {known!r}, which {found.name!r} has, got {mode!r}"
        )
    if mode not in MERGE_MODES:
        raise FormatError(
            f"{found.name!r} has a merge_mode that there is not, {mode[:40]!r}"
        )
    return MERGE_MODES[mode]


@contextmanager
def _named(found: Found) -> Iterator[None]:
    """Let what is wrong with a layer's arrays be the file's fault, and name the layer."""
    try:
        yield
    except FormatError:
        raise
    except ValueError as error:
        raise FormatError(f"{found.name!r}: {error}") from error


def _read(
    container: Container, found: Found, part: Part, version: int | None, given: Given
) -> _Read:
    weights = _weights(container, part, found)
    kind = part.kind or _BY_GATES.get(round(weights.gates), "")
    if not kind or weights.gates not in _BY_GATES:
        raise FormatError(f"{found.name!r} has arrays of no recurrent layer")
    said = (part.config or {}).get("units", (part.config or {}).get("output_dim"))
    if said is not None and said != weights.units:
        raise FormatError(
            f"{found.name!r} should have {said!r} units, got arrays of {weights.units}"
        )
    return _Read(kind, weights, _options(found, part, kind, weights, version, given))


def _weights(container: Container, part: Part, found: Found) -> KerasWeights:
    names = part.place.names()
    if not names:
        raise FormatError(f"{found.name!r} has no arrays in the file")
    arrays = [_real(container, name) for name in names]
    if part.kind and len(arrays) > 3:
        arrays = merged(arrays, part.kind, found.name)
    if len(arrays) > 3:
        raise FormatError(f"{found.name!r} should have 3 arrays, got {len(arrays)}")
    uses_bias = None if part.config is None else part.config.get("use_bias", True)
    if uses_bias is not None and len(arrays) != 2 + bool(uses_bias):
        raise FormatError(
            f"{found.name!r} should have {2 + bool(uses_bias)} arrays, got {len(arrays)}"
        )
    with _named(found):
        weights = KerasWeights.of("", *arrays)
    if part.is_cudnn and not weights.is_cudnn:
        raise FormatError(f"{found.name!r} should have a bias of {2 * arrays[0].shape[-1]}")
    if part.kind and part.config is not None and not part.is_cudnn and weights.is_cudnn:
        raise FormatError(
            f"{found.name!r} has the bias of a layer of cuDNN, which it is not"
        )
    return weights


def _real(container: Container, name: str) -> Array:
    header = container.headers[name]
    if header.dtype.kind != "f":
        raise FormatError(f"{name!r} should hold floating numbers, got {header}")
    array = container.read(name)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _options(
    found: Found,
    part: Part,
    kind: str,
    weights: KerasWeights,
    version: int | None,
    given: Given,
) -> dict[str, Any]:
    """What the class is given beside the arrays."""
    is_cudnn = part.is_cudnn or weights.is_cudnn
    options: dict[str, Any] = {}
    wanted = {"activation": given.activation}
    if kind != "RNN":
        wanted["recurrent_activation"] = given.recurrent_activation
    for argument, chosen in wanted.items():
        if chosen is not None:
            options[argument] = chosen
            continue
        if is_cudnn:
            # cuDNN has no others.
            continue
        keys = _GATE_KEYS if argument == "recurrent_activation" else ("activation",)
        config = part.config or {}
        said = [config[key] for key in keys if key in config]
        if said:
            options[argument] = spelling_of(argument, said[0], version, found.name)
        elif argument == "recurrent_activation":
            raise ArgumentNeeded(
                f"does not say what the gates of {found.name!r} go through: "
                "recurrent_activation should be 'sigmoid', Keras's default since 2.3, or "
                f"{HARD_SIGMOIDS[2]!r}, its default before, or what it was made with",
                argument,
                "sigmoid",
            )
        elif kind == "RNN":
            raise ArgumentNeeded(
                f"does not say the activation of {found.name!r}: activation should be "
                "'tanh', Keras's default, or 'relu', or what it was made with",
                argument,
                "tanh",
            )
    if kind == "GRU" and weights.bias is None:
        options["reset_after"] = _reset_after(found, part, given)
    elif kind == "GRU" and "reset_after" in (part.config or {}):
        # The bias says it too, and has to agree.
        options["reset_after"] = bool((part.config or {})["reset_after"])
    return options


def _reset_after(found: Found, part: Part, given: Given) -> bool:
    if part.config is not None:
        # Older versions had only the other form, and so no word for it.
        return bool(part.config.get("reset_after", False))
    if given.reset_after is None:
        raise ArgumentNeeded(
            f"does not say where the reset gate of {found.name!r} acts: reset_after should "
            "be True, Keras's default since 2.3, or False",
            "reset_after",
            True,
        )
    return bool(given.reset_after)
