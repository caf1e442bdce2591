"""The files of PyTorch's in `tests/data`, and hostile ones made by hand."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[1] / "data" / "torch_files"
NAMES = sorted(path.name for path in FOLDER.glob("*.pt"))

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
PROTOCOL = b"\x80\x02M\xe9\x03."
SYSTEM = pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)


def examples() -> list[bytes]:
    """Real files, to be mutated."""
    return [(FOLDER / name).read_bytes() for name in NAMES]


def figures(name: str) -> dict[str, np.ndarray]:
    """What PyTorch finds in one of the files."""
    with np.load(FOLDER / "figures.npz") as stored:
        return {
            key.split(":", 1)[1]: stored[key]
            for key in stored.files
            if key.startswith(f"{name}:")
        }


def zipped(program: bytes, **storages: bytes) -> io.BytesIO:
    """A file of the newer format; a storage's name follows an underscore."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net/data.pkl", program)
        for name, content in storages.items():
            archive.writestr(f"net/data/{name.removeprefix('_')}", content)
    return file


def streamed(
    program: bytes, *, keys: bytes = b"\x80\x02].", storages: bytes = b""
) -> io.BytesIO:
    """A file of the older format."""
    return io.BytesIO(MAGIC + PROTOCOL + SYSTEM + program + keys + storages)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def whole(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def storage(
    length: int = 6, kind: str = "FloatStorage", key: str = "0", *, old: bool = False
) -> bytes:
    """The operations that give a storage."""
    module = b"ctorch\n"
    view = b"N" if old else b""
    return (
        b"("
        + text("storage")
        + module
        + kind.encode()
        + b"\n"
        + text(key)
        + text("cpu")
        + whole(length)
        + view
        + b"tQ"
    )


def tensor(
    shape: tuple[int, ...] = (2, 3),
    strides: tuple[int, ...] = (3, 1),
    offset: int = 0,
    source: bytes | None = None,
    extra: bytes = b"",
) -> bytes:
    """The operations that give a tensor."""
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + (storage() if source is None else source)
        + whole(offset)
        + b"("
        + b"".join(map(whole, shape))
        + b"t("
        + b"".join(map(whole, strides))
        + b"t\x89}"
        + extra
        + b"tR"
    )


def entries(**values: bytes) -> bytes:
    """A program that ends with a dictionary of what operations give."""
    pairs = b"".join(text(name) + value for name, value in values.items())
    return b"\x80\x02}(" + pairs + b"u."
