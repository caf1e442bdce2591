"""Any file: what it is by its content, and what is said of what is not read."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.formats.recognising import READ, recognised
from gatewise.formats.safetensors import write_safetensors
from tests.formats import torch_files

ARRAYS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(2)}


def safetensors() -> bytes:
    file = io.BytesIO()
    write_safetensors(file, ARRAYS, {})
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, **ARRAYS)
    return file.getvalue()


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return file.getvalue()


def tarred(
    members: dict[str, bytes], mode: str = "w:gz", format: int = 2, **more: Any
) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=format) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in more.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def field(number: int, content: bytes | int) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    return bytes([number << 3 | 2, len(content)]) + content


GRAPH = (
    field(1, 8) + field(2, b"me") + field(7, field(2, b"graph")) + field(8, field(2, 17))
)
OLD_PYTORCH = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
KNOWN: dict[str, tuple[str, bytes]] = {
    "safetensors": ("safetensors", safetensors()),
    "npz": ("npz", npz()),
    "an empty npz": ("npz", zipped()),
    "npy": ("npy", b"\x93NUMPY\1\0"),
    "pytorch": ("pytorch", zipped("archive/data.pkl", "archive/data/0")),
    "pytorch without a folder": ("pytorch", zipped("data.pkl", "version")),
    "torchscript": ("pytorch", zipped("m/data.pkl", "m/code/a.py", "m/constants.pkl")),
    "old pytorch": ("pytorch", OLD_PYTORCH),
    "keras": ("keras", zipped("metadata.json", "config.json", "model.weights.h5")),
    "hdf5": ("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(100)),
    "hdf5 behind a block": ("hdf5", bytes(512) + b"\x89HDF\r\n\x1a\n"),
    "onnx": ("onnx", GRAPH),
    "json": ("json", b'{"weight": [[1.0]]}'),
    "gzip": ("gzip", gzip.compress(npz())),
    "tar": ("tar", tarred({"a": b"b"}, "w")),
}


@pytest.mark.parametrize("name", KNOWN)
def test_files_are_known_by_their_content(name: str) -> None:
    expected, content = KNOWN[name]
    assert recognised(io.BytesIO(content), "model.onnx") == expected
    assert recognised(io.BytesIO(content), "anything") == expected


def test_every_format_is_tried() -> None:
    assert {expected for expected, _ in KNOWN.values()} == READ.keys()


def test_onnx_is_known_by_its_suffix_at_last() -> None:
    # With a field of a later version.
    content = GRAPH + bytes([31 << 3, 0])
    assert recognised(io.BytesIO(content), "model.ONNX") == "onnx"
    with pytest.raises(
        gatewise.FormatError, match="no format that is read: safetensors, npz"
    ):
        recognised(io.BytesIO(content), "model")


SAVED_MODEL = field(1, 1) + field(2, b"meta graph")
UNREAD: dict[str, tuple[bytes, str]] = {
    "html": (b"\n<!DOCTYPE html>\n<html>", "HTML page"),
    "html with a comment": (b"<!-- a -->\n<HTML lang=en>", "HTML page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS"),
    "pickle": (pickle.dumps({"a": 1}), "pickle of Python's"),
    "pickle 2": (pickle.dumps([1], 2), "pickle of Python's"),
    "export": (zipped("a/archive_format", "a/models/model.json"), "torch.export"),
    "other zip": (zipped("word/document.xml", "a.npy"), "zip archive of no known format"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(20), "TensorFlow Lite"),
    "saved model": (SAVED_MODEL, "SavedModel"),
    "gguf": (b"GGUF\3\0\0\0", "GGUF"),
    "index": (b'{"metadata": {}, "weight_map": {}}', "several files"),
    "keras json": (b'{"class_name": "Sequential", "config": {}}', "without its weights"),
    "tfjs": (b'{"format": "layers-model", "weightsManifest": []}', "TensorFlow.js"),
    "bzip2": (b"BZh91AY&SY", "bzip2"),
    "xz": (b"\xfd7zXZ\0", "xz"),
    "text": (b"hello", "no format that is read"),
    "zeros": (bytes(1000), "no format that is read"),
}


@pytest.mark.parametrize("how", UNREAD)
def test_what_is_not_read_is_named(tmp_path: Path, how: str) -> None:
    content, message = UNREAD[how]
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    for load in (gatewise.load_arrays, gatewise.load):
        with pytest.raises(gatewise.FormatError, match=message) as caught:
            load(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert len(str(caught.value)) < len(str(path)) + 300


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(gatewise.FormatError, match="got an empty one"):
        gatewise.load_arrays(tmp_path / "empty")
    with pytest.raises(gatewise.FormatError, match="got a directory"):
        gatewise.load_arrays(tmp_path)
    with pytest.raises(FileNotFoundError):
        gatewise.load_arrays(tmp_path / "missing")
    if os.name != "nt":
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(gatewise.FormatError, match="got a pipe or a device"):
            gatewise.load_arrays(tmp_path / "pipe")


def test_json_without_arrays_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(b'{"a": 1}')
    with pytest.raises(gatewise.FormatError, match="JSON with arrays, got one without"):
        gatewise.load_arrays(path)
    with pytest.raises(gatewise.FormatError, match=r"that gatewise\.save wrote, got"):
        gatewise.load(path)


LONG = "folder/" * 30 + "weights.npz"
PACKED: dict[str, bytes] = {
    "gzip alone": gzip.compress(npz()),
    "two of gzip": gzip.compress(npz()[:100]) + gzip.compress(npz()[100:]) + bytes(10),
    "tar": tarred({"weights.npz": npz()}, "w"),
    "tar and gzip": tarred({"model/weights": safetensors()}),
    "beside others": tarred({"a.yaml": b"a: 1", "b": npz(), "c.json": b'{"a": [1.0]}'}),
    "long names": tarred({LONG: npz()}, format=tarfile.GNU_FORMAT),
    "pax": tarred({LONG + "é": npz()}, format=tarfile.PAX_FORMAT),
    "ustar": tarred({"a/" * 60 + "b": npz()}, format=tarfile.USTAR_FORMAT),
}


@pytest.mark.parametrize("how", PACKED)
def test_one_file_inside_an_archive_is_read(tmp_path: Path, how: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(PACKED[how])
    found = gatewise.load_arrays(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)


def damaged(content: bytes) -> bytes:
    return content[:200] + bytes([content[200] ^ 1]) + content[201:]


def large_npz() -> bytes:
    """As large as what 64 KB may unpack to, of which most can be unpacked once more."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, method in (("stored", 0), ("deflated", 8)):
            member = io.BytesIO()
            np.save(member, np.zeros(40 << 20, np.uint8))
            archive.writestr(f"{name}.npy", member.getvalue(), method)
    return file.getvalue()


def repeated() -> bytes:
    """A file of PyTorch's whose one view is 32 times as large as its storage."""
    view = torch_files.tensor((32 << 20,), (0,), 0, torch_files.storage(1 << 20))
    return torch_files.zipped(
        torch_files.entries(a=view, b=view, c=view), _0=bytes(8 << 20)
    ).getvalue()


def records() -> bytes:
    info = tarfile.TarInfo("a")
    info.type = b"x"
    content = b"5 a=\n" * 10_000
    info.size = len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


WRONG: dict[str, tuple[bytes, str]] = {
    "unpacked twice": (gzip.compress(large_npz()), "unpacks to 8[0-9]{7} bytes, and at"),
    "repeated": (gzip.compress(repeated()), "its 3 arrays take 40[0-9]+ bytes, and at"),
    "records": (gzip.compress(records() * 1000), "more than 100 things to say"),
    "fields": (
        tarred({f"{index}": b"\x08\0" * 9990 for index in range(1500)}),
        "has none: '1499' is of no format",
    ),
    "several": (tarred({"a.npz": npz(), "b.npz": npz()}), "it has 'a.npz', 'b.npz'"),
    "none": (tarred({"a.txt": b"hello"}), "has none: 'a.txt'"),
    "empty": (tarred({}), "no format that is read"),
    "a folder": (tarred({"a": b""}, type=b"5"), "has none: it is empty"),
    "inside": (
        tarred({"a.zip": zipped("x")}),
        "has none: 'a.zip'.*zip archive of no known",
    ),
    "damaged inside": (tarred({"a": npz()[:-1]}), "'a'"),
    "outside": (tarred({"../a.npz": npz()}), "no file in an archive"),
    "absolute": (tarred({"/a.npz": npz()}), "no file in an archive"),
    "symbolic link": (
        tarred({"a": b""}, type=b"2", linkname="/etc/passwd"),
        "link or a device",
    ),
    "hard link": (
        tarred({"a": b""}, type=b"1", linkname="/etc/passwd"),
        "link or a device",
    ),
    "device": (tarred({"a": b""}, type=b"3"), "link or a device"),
    "pipe": (tarred({"a": b""}, type=b"6"), "link or a device"),
    "bomb": (gzip.compress(bytes(70 << 20)), "unpacks to more than 67108864 bytes"),
    "bomb in tar": (tarred({"a": bytes(70 << 20)}), "unpacks to more than 67108864 bytes"),
    "packed twice": (gzip.compress(gzip.compress(npz())), "packed a second time"),
    "tar in tar": (tarred({"a": tarred({"b": npz()})}), "packed a second time"),
    "cut off": (gzip.compress(npz())[:-20], "cut off"),
    "tar cut off": (tarred({"a.npz": npz()}, "w")[:1000], "cut off"),
    "damaged": (damaged(gzip.compress(npz())), "damaged|cut off|no format|zip"),
    "checksum": (damaged(tarred({"a" * 250: npz()}, "w", 1)), "damaged"),
    "other gzip": (gzip.compress(b"hello"), "no format that is read"),
    "huge": (
        tarred({"a": b""}, "w")[:124] + b"77777777777\0" + tarred({"a": b""}, "w")[136:],
        "checksum",
    ),
}


@pytest.mark.parametrize("how", WRONG)
def test_archives_that_are_not_just_that_are_refused(tmp_path: Path, how: str) -> None:
    content, message = WRONG[how]
    path = tmp_path / "file"
    path.write_bytes(content)
    started = time.process_time()
    with pytest.raises(gatewise.FormatError, match=message):
        gatewise.load_arrays(path)
    assert time.process_time() - started < 3


WATCHED = """
import sys
import numpy, gatewise, gatewise.formats.archives.packed, gatewise.formats.pytorch.reading
gatewise.load_arrays(sys.argv[1])  # what has to be imported is, by now
opened = []
def watch(event, arguments):
    if event == "open" and not isinstance(arguments[0], int):
        opened.append(str(arguments[0]))
    elif event.split(".")[0] in {"import", "exec", "compile", "subprocess", "os", "socket"}:
        opened.append(event)
sys.addaudithook(watch)
for path in sys.argv[1:]:
    opened.clear()
    try:
        gatewise.load_arrays(path)
    except gatewise.FormatError:
        pass
    if opened != [path]:
        print(path, opened)
"""


def test_nothing_but_the_named_file_is_opened(tmp_path: Path) -> None:
    contents = [npz(), safetensors(), *PACKED.values()]
    contents += [content for content, _ in (*UNREAD.values(), *WRONG.values())]
    trap = pickle.dumps(subprocess.Popen)
    contents += [trap, tarred({"a.pkl": trap}), gzip.compress(trap)]
    paths = []
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}"
        path.write_bytes(content)
        paths.append(str(path))
    result = subprocess.run(
        [sys.executable, "-c", WATCHED, *paths], capture_output=True, text=True, check=True
    )
    assert result.stdout == ""


def test_a_small_file_that_claims_much_takes_no_memory(tmp_path: Path) -> None:
    header = {"x": {"dtype": "F32", "shape": [1 << 31], "data_offsets": [0, 1 << 33]}}
    text = json.dumps(header).encode().ljust(2000)
    path = tmp_path / "large.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    script = (
        "import sys, resource, gatewise\n"
        "gatewise.load_arrays\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    gatewise.load_arrays(sys.argv[1])\n"
        "except gatewise.FormatError:\n    pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    if os.name == "nt":
        pytest.skip("needs POSIX's count of memory")
    found = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    # In KiB, on macOS in bytes.
    assert int(found.stdout) < 10_000 * (1024 if sys.platform == "darwin" else 1)
