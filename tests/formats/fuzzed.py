"""What is fuzzed: for each format, real files to damage and what is done with them."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gatewise
from gatewise import formats
from gatewise.formats.safetensors import write_safetensors
from tests.formats import amp_files, keras_files, onnx_models, torch_files

DATA = Path(__file__).parents[1] / "data"


class Target(NamedTuple):
    """A format: real files, and the functions that make layers of one."""

    name: str
    suffix: str
    examples: Callable[[], list[bytes]]
    makers: tuple[Callable[[Path], Any], ...] = ()


def outcome(target: Target, path: Path) -> str:
    """Whether a file was read or refused; everything else leaves as an exception."""
    found = "read"
    try:
        gatewise.load_arrays(path)
    except gatewise.FormatError as error:
        found = "refused"
        message = str(error)
        if not message.startswith(str(path)):
            raise AssertionError(f"it does not name the file: {message}") from error
    for make in (formats.inspect, *target.makers):
        try:
            make(path)
        except ValueError:
            # What a layer cannot be made of need be no fault of the file's.
            continue
        found += f", {make.__name__}"
    return found


def from_keras(path: Path) -> Any:
    """What a file has, where it says too little as well."""
    try:
        return gatewise.from_keras(path)
    except gatewise.FormatError:
        return gatewise.from_keras(path, recurrent_activation="sigmoid", activation="tanh")


def _packed_by_gzip() -> list[bytes]:
    """PyTorch's files alone and in a tar archive, compressed."""
    found = []
    for data in torch_files.examples()[:4]:
        found.append(gzip.compress(data, 1))
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            member = tarfile.TarInfo("model/weights.pt")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        found.append(file.getvalue())
    return found


def _safetensors() -> list[bytes]:
    """Files of gatewise's own, and one as others write them."""
    arrays = {"a.weight": np.ones((3, 4), np.float32), "b": np.arange(3), "c": np.zeros(0)}
    found = io.BytesIO()
    write_safetensors(found, arrays, {"framework": "pt"})
    paths = sorted(DATA.glob("saved_*/*.safetensors"))
    return [found.getvalue(), *(path.read_bytes() for path in paths)]


def _npz() -> list[bytes]:
    arrays = {"a": np.ones((3, 4)), "b": np.asfortranarray(np.ones((2, 3), ">f4")), "c": 3}
    found = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, **arrays)  # type: ignore[arg-type]
        found.append(file.getvalue())
    return found + [path.read_bytes() for path in sorted(DATA.glob("*_1*.npz"))]


TARGETS = {
    target.name: target
    for target in [
        Target("safetensors", ".safetensors", _safetensors, (gatewise.load,)),
        Target("npz", ".npz", _npz),
        Target("pytorch", ".pt", torch_files.examples),
        Target("tar", ".tar.gz", _packed_by_gzip),
        Target("keras", ".keras", keras_files.examples, (from_keras,)),
        Target("onnx", ".onnx", onnx_models.examples, (gatewise.from_onnx,)),
        Target(
            "json",
            ".json",
            amp_files.examples,
            (gatewise.from_nam, gatewise.from_rtneural),
        ),
    ]
}
