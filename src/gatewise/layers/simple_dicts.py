"""What the shapes of arrays say of the Linear, Embedding or Conv1d that they are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gatewise.layers.quantizable import Quantizable
from gatewise.layers.state_dicts import FromStateDict, Read, Shape, complain, matrix

Array = NDArray[Any]

__all__ = ["ConvolutionFromStateDict", "EmbeddingFromStateDict", "LinearFromStateDict"]


class ConvolutionFromStateDict(FromStateDict):
    """A Conv1d that can be made of arrays; they do not say its stride and the like."""

    @classmethod
    def _is_like(cls, name: str) -> bool:
        return name in ("weight", "bias")

    @classmethod
    def _read(cls, own: dict[str, Array]) -> Read:
        shape = own["weight"].shape
        if len(shape) != 3 or 0 in shape:
            complain(
                cls, [f"weight should have three axes with something in it, got {shape}"]
            )
        bias = own.get("bias")
        if bias is not None and bias.shape != shape[:1]:
            complain(cls, [f"bias should have shape {shape[:1]}, got {bias.shape}"])
        arguments = {
            "in_channels": shape[1],
            "out_channels": shape[0],
            "kernel_size": shape[2],
            "bias": bias is not None,
        }
        return Read(arguments, own)

    @classmethod
    def _found_at(cls, name: str, shape: Shape, named: Mapping[str, Any]) -> str | None:
        return _prefix_of_weight(name, shape, 3)


class LinearFromStateDict(Quantizable, FromStateDict):
    """A Linear that can be made of arrays."""

    @classmethod
    def _is_like(cls, name: str) -> bool:
        return name in ("weight", "weight_scale", "bias")

    @classmethod
    def _read(cls, own: dict[str, Array]) -> Read:
        out_features, in_features = matrix(cls, "weight", own)
        bias = own.get("bias")
        if bias is not None and bias.shape != (out_features,):
            complain(cls, [f"bias should have shape {(out_features,)}, got {bias.shape}"])
        scale, dtype = own.get("weight_scale"), own["weight"].dtype
        if scale is not None:
            if scale.shape != (out_features,):
                expected = f"weight_scale should have shape {(out_features,)}"
                complain(cls, [f"{expected}, got {scale.shape}"])
            if dtype != np.int8:
                complain(cls, [f"weight should be int8 with its scales, got {dtype}"])
        arguments = {
            "in_features": in_features,
            "out_features": out_features,
            "bias": bias is not None,
        }
        return Read(arguments, own)

    def _filled(self, arrays: dict[str, Array]) -> Self:
        if "weight_scale" in arrays:
            return self._quantized_copy("int8", None)._written(arrays)
        return self._written(arrays)

    def _written(self, arrays: dict[str, Array]) -> Self:
        return super()._filled(arrays)

    @classmethod
    def _found_at(cls, name: str, shape: Shape, named: Mapping[str, Any]) -> str | None:
        return _prefix_of_weight(name, shape)


class EmbeddingFromStateDict(FromStateDict):
    """An Embedding that can be made of arrays."""

    @classmethod
    def _is_like(cls, name: str) -> bool:
        return name in ("weight", "bias")

    @classmethod
    def _read(cls, own: dict[str, Array]) -> Read:
        if "bias" in own:
            complain(cls, ["unexpected bias; a gatewise.Linear has one"])
        num_embeddings, embedding_dim = matrix(cls, "weight", own)
        arguments = {"num_embeddings": num_embeddings, "embedding_dim": embedding_dim}
        return Read(arguments, own)

    @classmethod
    def _found_at(cls, name: str, shape: Shape, named: Mapping[str, Any]) -> str | None:
        prefix = _prefix_of_weight(name, shape)
        return None if prefix is None or f"{prefix}bias" in named else prefix


def _prefix_of_weight(name: str, shape: Shape, axes: int = 2) -> str | None:
    is_weight = name == "weight" or name.endswith(".weight")
    return name.removesuffix("weight") if is_weight and len(shape) == axes else None
