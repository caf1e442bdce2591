"""Neural Amp Modeler's files: JSON with all the weights of a network in one list.

References
----------
.. [1] Atkinson, S. "NeuralAmpModelerCore", ``NAM/lstm.cpp`` and
   ``docs/nam_file_version.rst``. https://github.com/sdatkinson/NeuralAmpModelerCore
.. [2] Atkinson, S. "neural-amp-modeler", ``nam/models/recurrent.py``.
   https://github.com/sdatkinson/neural-amp-modeler
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.containers import Container
from gatewise.formats.errors import FormatError
from gatewise.formats.fields import Fields
from gatewise.formats.files import replacing
from gatewise.formats.json import files as json_files
from gatewise.formats.opening import open_regular
from gatewise.formats.recognising import expecting
from gatewise.layers import LSTM, Linear, Module, Sequential

Array = NDArray[Any]

__all__ = ["container", "from_nam", "is_nam", "network", "open_nam", "to_nam"]

FORMAT = "nam"
# An LSTM has been written in the same way ever since the first of them; of later versions
# nobody can know.
_FIRST_VERSION, _LAST_VERSION = (0, 5), (0, 7)
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})")
# What every program that plays such networks reads, and the first that has more channels.
_WRITTEN, _WRITTEN_CHANNELS = "0.5.4", "0.6.0"
_MOST_UNITS = 1 << 24


class _Sizes(NamedTuple):
    inputs: int
    units: int
    layers: int
    outputs: int

    def taken(self, layer: int) -> int:
        """How many features a layer reads."""
        return self.units if layer else self.inputs

    @property
    def total(self) -> int:
        """How many numbers the weights are."""
        read = self.inputs + (self.layers - 1) * self.units + self.layers * self.units
        return (
            4 * self.units * read
            + self.layers * (4 + 1 + 1) * self.units
            + self.outputs * (self.units + 1)
        )


def from_nam(path: str | os.PathLike[str]) -> Sequential:
    """Return the network of a Neural Amp Modeler's file.

    What else the file says, such as ``sample_rate`` and the loudness, is in
    ``gatewise.load_arrays(path).metadata``.

    Parameters
    ----------
    path
        A ``.nam`` file of versions 0.5 to 0.7 whose architecture is LSTM.

    Returns
    -------
    Sequential
        An `LSTM` whose `initial_state` is the file's, and a `Linear`; it takes samples as
        ``(batch, time, 1)``. The file has one bias where an LSTM has two: the second is 0.

    Raises
    ------
    FormatError
        If the file is damaged, of another version, or its architecture is no LSTM, as
        WaveNet and ConvNet are.
    OSError
        If it cannot be read.

    Notes
    -----
    The programs that play such files let half a second of silence through a network before
    the first sample, so that their first outputs come from a later state than the file's.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, gatewise
    >>> amp = gatewise.Sequential(gatewise.LSTM(1, 8, seed=0), gatewise.Linear(8, 1))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "amp.nam")
    ...     gatewise.to_nam(amp, path, sample_rate=48000)
    ...     same = gatewise.from_nam(path)
    >>> same
    Sequential(LSTM(1, 8), Linear(8, 1)) with 377 parameters
    >>> x = np.ones((1, 5, 1), np.float32)
    >>> bool(np.allclose(same(x)[0], amp(x)[0], atol=1e-6))
    True
    """
    with open_regular(path) as file:
        with expecting(file, path, ("json",), "a Neural Amp Modeler's .nam file"):
            said = json_files.read_json(file)
        if not {"architecture", "weights"} & set(said):
            raise FormatError(
                "should be a Neural Amp Modeler's .nam file, with architecture and "
                "weights, got other JSON; gatewise.from_rtneural reads that of others"
            )
        return network(said)


def to_nam(
    model: Sequential,
    path: str | os.PathLike[str],
    *,
    sample_rate: float | None = 48000,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a network as a Neural Amp Modeler's file, of which `from_nam` gives it back.

    Parameters
    ----------
    model
        An `LSTM` in one direction, with PyTorch's activations and neither projection,
        peepholes nor zoneout, and a `Linear` after it. Its two biases are written as their
        sum, which is what it computes with, and its start state as zeros if it has none.
        What came from a file goes back bit for bit; parameters of float64 are rounded.
    path
        The file, which is replaced whole or not at all.
    sample_rate
        For how many samples a second the network is; not written if None.
    metadata
        What else to say, such as ``{"name": "Plexi", "loudness": -18.0}``, in JSON's types.

    Raises
    ------
    TypeError
        If `model` is no Sequential, or `metadata` holds what JSON has not.
    ValueError
        If the network is another one, a parameter or a number of `metadata` is not finite,
        or `sample_rate` is no number above 0.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import gatewise
    >>> amp = gatewise.Sequential(gatewise.LSTM(1, 8), gatewise.Linear(8, 1))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "amp.nam")
    ...     gatewise.to_nam(amp, path, metadata={"name": "Plexi"})
    ...     gatewise.load_arrays(path).metadata["metadata"]
    {'name': 'Plexi'}
    """
    lstm, head = _parts(model)
    if sample_rate is not None:
        numeric = isinstance(sample_rate, int | float) and not isinstance(sample_rate, bool)
        if not (numeric and 0 < sample_rate < float("inf")):
            raise ValueError(
                f"sample_rate should be a finite number above 0, got {sample_rate!r}"
            )
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(f"metadata should be a dictionary, got {type(metadata).__name__}")
    config = {
        "input_size": lstm.input_size,
        "hidden_size": lstm.hidden_size,
        "num_layers": lstm.num_layers,
    }
    has_channels = lstm.input_size > 1 or head.out_features > 1
    if has_channels:
        config |= {"in_channels": lstm.input_size, "out_channels": head.out_features}
    said: dict[str, Any] = {
        "version": _WRITTEN_CHANNELS if has_channels else _WRITTEN,
        "metadata": dict(metadata or {}),
        "architecture": "LSTM",
        "config": config,
        "weights": _flat(lstm, head).tolist(),
    }
    if sample_rate is not None:
        said["sample_rate"] = sample_rate
    try:
        text = json.dumps(said, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"metadata should hold what JSON has: {error}") from error
    with replacing(path) as file:
        file.write(text.encode("ascii"))


def open_nam(file: BinaryIO) -> Container:
    """Return the arrays of a file: an LSTM's by their names in `from_nam`'s network.

    What another architecture's ``weights`` are only its program knows: they are one array.

    Raises
    ------
    FormatError
        If it is no file of a Neural Amp Modeler, or a damaged one.
    """
    return container(json_files.read_json(file))


def is_nam(said: Mapping[str, Any]) -> bool:
    """Whether a dictionary that was read from JSON is one of these."""
    return "architecture" in said and "weights" in said


def container(said: dict[str, Any]) -> Container:
    """Return what `open_nam` does, of what was read.

    Raises
    ------
    FormatError
        As `open_nam`.
    """
    with json_files.format_errors():
        fields = Fields(said, "nam")
        is_lstm = fields.text("architecture") == "LSTM"
        arrays = _named(said) if is_lstm else {"weights": _weights(said)}
    metadata = {name: value for name, value in said.items() if name != "weights"}
    return json_files.HeldArrays(FORMAT, arrays, metadata)


def network(said: dict[str, Any]) -> Sequential:
    """Return what `from_nam` does, of what was read.

    Raises
    ------
    FormatError
        As `from_nam`.
    """
    with json_files.format_errors():
        sizes, arrays = _sizes(said), _named(said)
        start = arrays.pop("0.initial_h"), arrays.pop("0.initial_c")
        lstm = LSTM(sizes.inputs, sizes.units, sizes.layers)
        model = Sequential(lstm, Linear(sizes.units, sizes.outputs))
        model.load_state_dict(arrays)
        lstm.initial_state = start
    return model


def _sizes(said: dict[str, Any]) -> _Sizes:
    """The sizes that a file gives, which need not be true."""
    fields = Fields(said, "nam")
    architecture = fields.text("architecture")
    if architecture != "LSTM":
        raise FormatError(
            f"architecture should be LSTM, the only one that gatewise has layers for, "
            f"got {architecture!r}"
        )
    version = fields.text("version")
    parts = _VERSION.fullmatch(version)
    if not parts or not _FIRST_VERSION <= (int(parts[1]), int(parts[2])) <= _LAST_VERSION:
        raise FormatError(f"version should be from 0.5.0 to 0.7, got {version!r}")
    config = fields.fields("config")
    inputs, units, layers = (
        config.integer(name, lowest=1, highest=_MOST_UNITS)
        for name in ("input_size", "hidden_size", "num_layers")
    )
    channels, outputs = (
        config.integer(name, lowest=1, highest=_MOST_UNITS) if config.has(name) else None
        for name in ("in_channels", "out_channels")
    )
    if channels is not None and channels != inputs:
        raise FormatError(f"in_channels should be input_size {inputs}, got {channels}")
    return _Sizes(inputs, units, layers, outputs or 1)


def _weights(said: dict[str, Any]) -> Array:
    Fields(said, "nam").dictionary("config")
    return json_files.numbers(said.get("weights"), "weights", 1)


def _named(said: dict[str, Any]) -> dict[str, Array]:
    """An LSTM's arrays by their names in the network, none of them larger than the file."""
    sizes, weights = _sizes(said), _weights(said)
    if len(weights) != sizes.total:
        raise FormatError(
            f"weights should be {sizes.total} numbers, as config says, got {len(weights)}"
        )
    place = 0

    def take(*shape: int) -> Array:
        nonlocal place
        begin, place = place, place + int(np.prod(shape))
        return weights[begin:place].reshape(shape)

    found: dict[str, Array] = {}
    hidden, cell = [], []
    for layer in range(sizes.layers):
        read = sizes.taken(layer)
        both = take(4 * sizes.units, read + sizes.units)
        found[f"0.weight_ih_l{layer}"] = both[:, :read]
        found[f"0.weight_hh_l{layer}"] = both[:, read:]
        found[f"0.bias_ih_l{layer}"] = take(4 * sizes.units)
        found[f"0.bias_hh_l{layer}"] = np.zeros(4 * sizes.units, np.float32)
        hidden.append(take(sizes.units))
        cell.append(take(sizes.units))
    found["0.initial_h"], found["0.initial_c"] = np.stack(hidden), np.stack(cell)
    found["1.weight"] = take(sizes.outputs, sizes.units)
    found["1.bias"] = take(sizes.outputs)
    return found


def _parts(model: Sequential) -> tuple[LSTM, Linear]:
    """The two layers of a network that the format has."""
    if not isinstance(model, Sequential):
        raise TypeError(f"model should be a Sequential, got {type(model).__name__}")
    layers: tuple[Module, ...] = model.layers
    if len(layers) != 2 or type(layers[0]) is not LSTM or type(layers[1]) is not Linear:
        raise ValueError(
            f"model should be an LSTM and a Linear, got {model._description()}"
        )
    lstm, head = layers
    assert isinstance(lstm, LSTM)
    assert isinstance(head, Linear)
    plain = LSTM(lstm.input_size, lstm.hidden_size, lstm.num_layers)
    for name in (
        "proj_size",
        "peepholes",
        "recurrent_activation",
        "activation",
        "bidirectional",
        "zoneout",
        "cell_zoneout",
        "tokens",
    ):
        got, wanted = getattr(lstm, name), getattr(plain, name)
        if got != wanted:
            raise ValueError(f"model should have {name}={wanted!r}, got {got!r}")
    for layer in (lstm, head):
        if layer.weight_format not in ("float32", "float64"):
            raise ValueError(f"model should not be quantized, got {layer.weight_format}")
    return lstm, head


def _flat(lstm: LSTM, head: Linear) -> Array:
    """All weights in the file's order."""
    arrays, ends = lstm.state_dict(), head.state_dict()
    shape = (lstm.num_layers, lstm.hidden_size)
    start = lstm.initial_state
    hidden, cell = (np.zeros(shape), np.zeros(shape)) if start is None else start
    pieces = []
    for layer in range(lstm.num_layers):
        inner = arrays[f"weight_ih_l{layer}"], arrays[f"weight_hh_l{layer}"]
        pieces += [np.concatenate(inner, axis=1), _bias(arrays, layer, lstm.hidden_size)]
        pieces += [hidden[layer], cell[layer]]
    pieces += [ends["weight"], ends.get("bias", np.zeros(head.out_features))]
    with np.errstate(over="ignore"):
        flat = np.concatenate([np.ravel(piece) for piece in pieces]).astype(np.float32)
    if not np.isfinite(flat).all():
        raise ValueError("model should have finite parameters within float32, got others")
    return flat


def _bias(arrays: Mapping[str, Array], layer: int, units: int) -> Array:
    first = arrays.get(f"bias_ih_l{layer}", np.zeros(4 * units, np.float32))
    second = arrays.get(f"bias_hh_l{layer}", np.zeros_like(first))
    with np.errstate(over="ignore", invalid="ignore"):
        # A sum with 0 would lose the sign of a 0.
        return np.where(second == 0, first, first + second)
