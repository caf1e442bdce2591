"""What Keras calls activations, and what they are called here."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from gatewise.formats.errors import FormatError
from gatewise.kernels.activations import Spelling

__all__ = ["HARD_SIGMOIDS", "KERAS_3", "name_for", "spelling_of"]

# Those that have been the same in all versions.
_SAME = (
    "sigmoid",
    "tanh",
    "relu",
    "linear",
    "softsign",
    "softplus",
    "exponential",
    "elu",
    "selu",
)
# By the first number of the version, all before 3 being as 2.
HARD_SIGMOIDS: Mapping[int, Spelling] = {2: ("hard_sigmoid", 0.2, 0.5), 3: "hard_sigmoid"}
KERAS_3: Mapping[Spelling, str] = {
    **{name: name for name in _SAME},
    HARD_SIGMOIDS[3]: "hard_sigmoid",
    ("leaky_relu", 0.2): "leaky_relu",
}
# Layers of Keras that may stand for an activation.
_AS_LAYERS: Mapping[str, str] = {
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "ThresholdedReLU": "thresholded_relu",
}


def spelling_of(argument: str, said: Any, version: int | None, layer: str) -> Spelling:
    """Return the activation that a configuration names.

    Parameters
    ----------
    argument
        Of `from_keras`, that takes another one in its place.
    said
        What the configuration has.
    version
        The first number of Keras's version, if the file says it.
    layer
        The layer's name, for errors.

    Raises
    ------
    FormatError
        If there is no such activation here, or it depends on a version that is not said.
    """
    if said is None:
        return "linear"
    if isinstance(said, str):
        if said in _SAME:
            return said
        if said == "hard_sigmoid":
            if version is None:
                raise FormatError(
                    f"{layer!r} has a hard_sigmoid, and the file does not say of which "
                    f"version of Keras: {argument} should be ('hard_sigmoid', 0.2, 0.5) "
                    "for version 2 and before, or 'hard_sigmoid' for version 3"
                )
            return HARD_SIGMOIDS[3 if version >= 3 else 2]
        if said == "leaky_relu" and version is not None:
            return ("leaky_relu", 0.2)
    if isinstance(said, Mapping):
        found = _as_layer(said)
        if found is not None:
            return found
        said = said.get("registered_name") or said.get("config") or said.get("class_name")
    raise FormatError(
        f"{layer!r} has the activation {reprlib.repr(said)}, which is none of those that "
        f"gatewise has; give one in its place with {argument}"
    )


def _as_layer(said: Mapping[str, Any]) -> Spelling | None:
    name, config = _AS_LAYERS.get(str(said.get("class_name"))), said.get("config")
    if name is None or not isinstance(config, Mapping):
        return None
    if name == "relu":
        plain = (
            config.get("max_value") is None
            and not config.get("negative_slope")
            and not config.get("threshold")
        )
        return "relu" if plain else None
    number = config.get("negative_slope", config.get("alpha", config.get("theta")))
    if type(number) not in (int, float) or not 0 <= number < 1e30:
        return None
    return (name, float(number))


def name_for(argument: str, spelling: Spelling) -> str:
    """Return what Keras 3 calls an activation.

    Raises
    ------
    ValueError
        If it has none such.
    """
    found = KERAS_3.get(spelling)
    if found is None:
        raise ValueError(
            f"{argument} should be one that Keras 3 has by a name, which are "
            f"{', '.join(map(str, KERAS_3))}, got {spelling!r}"
        )
    return found
