"""What is known of a layer in a file of Keras, whether or not there is a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gatewise.formats.keras.places import Place

__all__ = ["CELLS", "LAYERS", "Found", "Part"]

# By the classes of layers and of cells, whatever their version: the class here.
LAYERS = {
    "SimpleRNN": "RNN",
    "LSTM": "LSTM",
    "GRU": "GRU",
    "CuDNNLSTM": "LSTM",
    "CuDNNGRU": "GRU",
}
CELLS = {"SimpleRNNCell": "RNN", "LSTMCell": "LSTM", "GRUCell": "GRU"}


@dataclass(frozen=True)
class Part:
    """One direction of one recurrent layer.

    `config` is None where the file has none. `kind` is None where only the arrays' shapes
    say what it is.
    """

    place: Place
    kind: str | None = None
    config: Mapping[str, Any] | None = None
    is_cudnn: bool = False


@dataclass(frozen=True)
class Found:
    """A layer: its name, its class, and for a recurrent one the parts of all its layers.

    `aliases` are other names that a user may know it by. `is_inner` says that another one
    contains it, so that nobody asks for it without its name.
    """

    name: str
    kind: str
    place: Place
    config: Mapping[str, Any] | None = None
    parts: list[list[Part]] = field(default_factory=list)
    merge_mode: str | None = "concat"
    go_backwards: bool = False
    aliases: tuple[str, ...] = ()
    is_inner: bool = False
    # Whether the name is a path, which counts layers of a class from the first one.
    is_path: bool = False
    # Why it cannot be made, if that is known already.
    problem: str | None = None
