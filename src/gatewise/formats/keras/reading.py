"""Layers out of Keras's files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, overload

from numpy.typing import DTypeLike

from gatewise.formats.containers import Container
from gatewise.formats.errors import FormatError
from gatewise.formats.hdf5.reading import open_hdf5
from gatewise.formats.keras import recurrent, simple
from gatewise.formats.keras.archive import open_keras
from gatewise.formats.keras.configured import configured
from gatewise.formats.keras.found import Found
from gatewise.formats.keras.unconfigured import unconfigured
from gatewise.formats.opening import open_regular
from gatewise.formats.recognising import expecting
from gatewise.kernels import activations
from gatewise.kernels.activations import Spelling
from gatewise.layers import inputs
from gatewise.layers.recurrent import Recurrent

__all__ = ["from_keras", "layer_in", "layers_of"]

_SHOWN = 20


@overload
def from_keras(
    path: str | os.PathLike[str],
    layer: None = ...,
    *,
    recurrent_activation: Spelling | None = ...,
    activation: Spelling | None = ...,
    reset_after: bool | None = ...,
    go_backwards: bool = ...,
    merge_mode: str | None = ...,
    dtype: DTypeLike | None = ...,
) -> Recurrent: ...


@overload
def from_keras(
    path: str | os.PathLike[str],
    layer: str,
    *,
    recurrent_activation: Spelling | None = ...,
    activation: Spelling | None = ...,
    reset_after: bool | None = ...,
    go_backwards: bool = ...,
    merge_mode: str | None = ...,
    dtype: DTypeLike | None = ...,
) -> Any: ...


def from_keras(
    path: str | os.PathLike[str],
    layer: str | None = None,
    *,
    recurrent_activation: Spelling | None = None,
    activation: Spelling | None = None,
    reset_after: bool | None = None,
    go_backwards: bool = False,
    merge_mode: str | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """Return a layer out of a file that Keras saved a model or its weights to.

    It gives the same outputs as in Keras, for all steps and as at inference: what a
    configuration says of ``return_sequences``, of states, of masks and of dropout does not
    matter, and ``lengths`` are what masks were. Without ``return_sequences`` Keras gives h
    of the final state: ``h[-1]``, of a Bidirectional ``np.concatenate(h, axis=-1)``. Keras
    need not be installed, and nothing in the file is run.

    Parameters
    ----------
    path
        A ``.keras`` file, a ``.h5`` file of a whole model or of weights alone, or a
        ``.weights.h5`` file, of any version of Keras.
    layer
        The layer's name in its model, with those of inner models before it and ``/``
        between them where it is not the only one of its name. In ``.weights.h5`` files that
        have no names it is a path such as ``"layers/lstm_1"``. May be None if the file has
        one recurrent layer; an error lists what there is.
    recurrent_activation, activation
        In place of what the file says. Where it says nothing, as weights alone do, the
        first has to be given for an LSTM and a GRU, whose default in Keras was
        ``("hard_sigmoid", 0.2, 0.5)`` before 2.3 and is ``"sigmoid"`` since; their other
        activation, tanh in all versions, may be. For a SimpleRNN it has to be the second.
    reset_after
        Only for a GRU without biases, where weights alone do not say it.
    go_backwards
        True to get a layer that reads sequences from their ends, which no layer here does
        by itself: give it ``x[:, ::-1]``, and its outputs are Keras's, from the last step
        to the first.
    merge_mode
        How a Bidirectional joins its directions, where the file does not say it, as weights
        alone do not: Keras's ``"concat"``, which is taken for granted there, ``"sum"`` or
        ``"ave"``. ``"concat"`` gives both side by side whatever the file says. For
        ``"mul"`` give that word, and multiply the two halves of the outputs. Where Keras
        gives two outputs they are the halves.
    dtype
        float32 or float64; as the weights are if None, and float32 for narrower ones.

    Returns
    -------
    RNN, LSTM, GRU, Linear, Embedding or Sequential
        For ``SimpleRNN``, ``LSTM``, ``GRU``, ``CuDNNLSTM`` and ``CuDNNGRU``, an ``RNN`` of
        their cells, and ``Bidirectional`` layers of them; for ``Dense`` a `Linear`,
        in a `Sequential` with its activation if it has one; for ``Embedding``; for
        ``Conv1D``; and for any of them in a ``TimeDistributed``.

    Raises
    ------
    OSError
        If the file cannot be opened, as where there is none.
    FormatError
        If the file is damaged or another one, if `layer` does not tell which layer is
        meant, or the file does not say all that has to be known of it, or it is a layer
        that there is not here.
    TypeError
        If `layer` is no text, an activation neither a name nor a tuple of it and numbers,
        or `dtype` none.
    ValueError
        If an activation, `merge_mode` or `dtype` is none of those that there are.

    Notes
    -----
    ``hard_sigmoid`` was ``0.2 x + 0.5`` within 0 and 1 up to Keras 2 and is ``x / 6 + 0.5``
    since; a layer here has that of the version that the file was saved with. Keras 3 itself
    reads an older file as if it were its own.

    Examples
    --------
    >>> import pathlib, tempfile, gatewise
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "model.keras")
    ...     gatewise.to_keras(gatewise.LSTM(3, 4, bidirectional=True), path)
    ...     gatewise.from_keras(path)
    LSTM(3, 4, bidirectional=True) with 288 parameters
    """
    if layer is not None and not isinstance(layer, str):
        raise TypeError(f"layer should be a name or None, got {layer!r}")
    # Before the file is looked at, whose fault they are not.
    if recurrent_activation is not None:
        activations.activation("recurrent_activation", recurrent_activation)
    is_layer = isinstance(activation, str) and activation in simple.ACTIVATIONS
    if activation is not None and not is_layer:
        activations.activation("activation", activation)
    if merge_mode is not None and merge_mode not in recurrent.MERGE_MODES:
        words = ", ".join(map(repr, recurrent.MERGE_MODES))
        raise ValueError(f"merge_mode should be one of {words}, got {merge_mode!r}")
    if dtype is not None:
        dtype = inputs.floating_dtype(dtype)
    given = recurrent.Given(
        recurrent_activation, activation, reset_after, go_backwards, merge_mode, dtype
    )
    with open_regular(path) as file:
        with expecting(file, path, ("keras", "hdf5"), "Keras's .keras or .h5 file"):
            container = _open(file)
        return layer_in(container, layers_of(container), layer, given)


def layer_in(
    container: Container,
    layers: tuple[Sequence[Found], int | None],
    layer: str | None,
    given: recurrent.Given,
) -> Any:
    """Return what `from_keras` does, of a file that is open.

    Parameters
    ----------
    container
    layers
        What `layers_of` says of it.
    layer
        As `from_keras` takes it.
    given
        The other arguments of `from_keras`.

    Raises
    ------
    FormatError
        As `from_keras`; and TypeError or ValueError for what it is given.
    """
    found, version = layers
    chosen = _choose(found, layer)
    if chosen.problem:
        raise FormatError(f"{chosen.problem}, which no layer here has")
    if chosen.parts:
        return recurrent.made(container, chosen, version, given)
    return simple.made(container, chosen, version, given.activation, given.dtype)


def layers_of(container: Container) -> tuple[Sequence[Found], int | None]:
    """Return what layers there are, and the first number of Keras's version if it is said.

    Raises
    ------
    FormatError
        If the configuration is none.
    """
    config, version = _said(container)
    found = configured(container, config) if config is not None else []
    return found or unconfigured(container), version


def _open(file: BinaryIO) -> Container:
    first = file.read(4)
    if first.startswith(b"PK"):
        return open_keras(file)
    if first.startswith(b"\x89HDF"):
        return open_hdf5(file)
    raise FormatError(f"should be a .keras or .h5 file, got one that begins with {first!r}")


def _said(container: Container) -> tuple[object, int | None]:
    """The configuration, and the first number of Keras's version; None where not said."""
    metadata = container.metadata
    if container.format == "keras":
        return metadata["config"], _version(metadata["metadata"].get("keras_version"))
    version = metadata.get("keras_version")
    if version is None:
        version = metadata["groups"].get("model_weights", {}).get("keras_version")
    return metadata.get("model_config"), _version(version)


def _version(said: object) -> int | None:
    first = said.split(".")[0] if isinstance(said, str) else ""
    return int(first) if first.isdecimal() and len(first) < 5 else None


def _choose(found: Sequence[Found], layer: str | None) -> Found:
    if layer is None:
        running = [
            each for each in found if (each.parts or each.problem) and not each.is_inner
        ]
        if len(running) == 1:
            return running[0]
        if not running:
            raise FormatError(
                f"has no recurrent layer; layer may be {_listing(found)}"
                if found
                else "has no layers"
            )
        raise FormatError(
            f"has {len(running)} recurrent layers: layer should be one of "
            f"{_listing(running)}"
        )
    ways: tuple[Callable[[Found], tuple[str, ...]], ...] = (
        lambda each: (each.name,),
        lambda each: each.aliases,
        # Not of a path, whose last word may be the name of another layer.
        lambda each: () if each.is_path else (each.name.split("/")[-1],),
    )
    for names in ways:
        matching = [each for each in found if layer in names(each)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise FormatError(
                f"has {len(matching)} layers of the name {layer!r}: layer should be "
                f"{_listing(matching)}"
            )
    raise FormatError(f"has no layer {layer!r}: layer should be {_listing(found)}")


def _listing(found: Sequence[Found]) -> str:
    names = [
        repr(each.name) + (f" ({', '.join(each.aliases)})" if each.aliases else "")
        for each in found
    ]
    more = f" or one of {len(names) - _SHOWN} others" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more if names else "there, but there is none"
