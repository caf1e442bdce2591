"""The door to networks in JSON: which of the formats a file is, and its network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any, BinaryIO

from gatewise.formats.containers import Container
from gatewise.formats.errors import FormatError
from gatewise.formats.json import files as json_files
from gatewise.formats.json import guitarml, nam, rtneural
from gatewise.formats.opening import open_regular
from gatewise.layers import Sequential

__all__ = ["from_rtneural", "open_json"]

# What is said of a file that adds to its network what no layer does.
_WORDS = {
    "in_skip": "adds the input to the output",
    "skip": "adds the input to the output",
    "in_gain": "makes the input louder by {:g} dB",
    "out_gain": "makes the output louder by {:g} dB",
}


def from_rtneural(
    path: str | os.PathLike[str], *, network_only: bool = False
) -> Sequential:
    """Return the network of a JSON file of RTNeural, AIDA-X or GuitarML.

    Parameters
    ----------
    path
        A file that RTNeural's ``model_utils.py`` or AIDA-X's training has written, with
        layers ``dense``, ``time-distributed-dense``, ``conv1d``, ``lstm``, ``gru``,
        ``prelu``, ``batchnorm`` and ``activation``; or one of GuitarML's, as Proteus plays
        them, with PyTorch's ``state_dict`` of an LSTM, GRU or RNN and a linear layer.
    network_only
        Whether to give the network of a file that says more, which no layer does: that the
        input is added to the output (``in_skip`` of AIDA-X, ``skip`` of GuitarML), or how
        many decibels louder the input or the output become (``in_gain``, ``out_gain``). To
        do that is then up to the caller, who finds it in
        ``gatewise.load_arrays(path).metadata``.

    Returns
    -------
    Sequential
        The layers in their order, over ``(batch, time, features)``. A ``prelu`` becomes
        two `Linear` around a `ReLU`, a ``batchnorm`` a `Linear`, an ``elu`` an `RNN` whose
        recurrent weights are 0, a convolution with groups one whose other weights are 0.

    Raises
    ------
    FormatError
        If the file is damaged, has a layer or an activation that gatewise has not, or says
        more than its network while `network_only` is False.
    OSError
        If it cannot be read.

    Notes
    -----
    Where the input is added, the output of the whole is
    ``(x + network(x)) * 10 ** (out_gain / 20)`` with the first feature of the input as x,
    which has been made louder by ``in_gain`` before.

    References
    ----------
    .. [1] Chowdhury, J. (2021). "RTNeural: Fast Neural Inferencing for Real-Time Systems".
       arXiv:2106.03037.
    .. [2] Wright, A., Damskägg, E.-P., Juvela, L., and Välimäki, V. (2020). "Real-Time
       Guitar Amplifier Emulation with Deep Learning". Applied Sciences 10(3), 766.

    Examples
    --------
    >>> import json, os, tempfile
    >>> import gatewise
    >>> weights = [[[1.0, -1.0]], [0.0, 0.5]]
    >>> dense = {"type": "dense", "activation": "tanh", "shape": [None, None, 2]} | {
    ...     "weights": weights
    ... }
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "net.json")
    ...     with open(path, "w") as file:
    ...         json.dump({"in_shape": [None, None, 1], "layers": [dense]}, file)
    ...     gatewise.from_rtneural(path)
    Sequential(Linear(1, 2), Tanh()) with 4 parameters
    """
    with open_regular(path) as file:
        said = json_files.read_json(file)
        kind = _kind(said)
        if kind not in (rtneural, guitarml):
            raise FormatError(
                "should be JSON of RTNeural, AIDA-X or GuitarML, got "
                + ("one for from_nam" if kind is nam else "another one")
            )
        model: Sequential = kind.network(said)
        more: Mapping[str, float] = kind.around(said)
    if more and not network_only:
        words = " and ".join(_WORDS[name].format(more[name]) for name in more)
        raise FormatError(
            f"{os.fsdecode(path)}: {words} ({', '.join(more)}), which no layer does; "
            "network_only=True gives the network, and the rest is up to the caller"
        )
    return model


def open_json(file: BinaryIO) -> Container:
    """Return the arrays of a JSON file: of a network's, or any that has lists of numbers.

    Raises
    ------
    FormatError
        If it is no JSON, has no numbers in lists, or is a damaged network.
    """
    said = json_files.read_json(file)
    kind = _kind(said)
    if kind is not None:
        found: Container = kind.container(said)
        return found
    with json_files.format_errors():
        arrays, rest = json_files.numbers_in(said)
    if not arrays:
        raise FormatError("should be JSON with arrays, got one without")
    return json_files.HeldArrays("json", arrays, rest)


def _kind(said: Mapping[str, Any]) -> ModuleType | None:
    """The module that knows what a dictionary of JSON is."""
    if nam.is_nam(said):
        return nam
    if rtneural.is_rtneural(said):
        return rtneural
    return guitarml if guitarml.is_guitarml(said) else None
