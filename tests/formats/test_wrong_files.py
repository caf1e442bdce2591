"""Whoever opens a file by the wrong function, or a wrong file, is told what it is."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise

READERS: dict[str, Callable[[Path], Any]] = {
    "load": gatewise.load,
    "load_arrays": gatewise.load_arrays,
    "from_keras": gatewise.from_keras,
    "from_nam": gatewise.from_nam,
    "from_onnx": gatewise.from_onnx,
    "from_rtneural": gatewise.from_rtneural,
}
# What nobody reads, by the suffix that it may have all the same.
NOT_READ: dict[str, tuple[bytes, str]] = {
    "page.h5": (b"<!DOCTYPE html><html></html>", "is an HTML page"),
    "denied.onnx": (b"<?xml version='1.0'?><Error/>", "is XML"),
    "pointer.nam": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "model.keras": (b"\x1c\0\0\0TFL3" + bytes(20), "is a TensorFlow Lite model"),
    "model.onnx": (pickle.dumps({"a": 1}), "is a pickle of Python's"),
}


def reader(name: str) -> Callable[[Path], Any]:
    if name == "from_onnx":
        pytest.importorskip("onnx", reason="onnx is not installed")
    return READERS[name]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("suffix", NOT_READ)
def test_what_nobody_reads(name: str, suffix: str, tmp_path: Path) -> None:
    content, said = NOT_READ[suffix]
    path = tmp_path / suffix
    path.write_bytes(content)
    with pytest.raises(gatewise.FormatError, match=said):
        reader(name)(path)


@pytest.mark.parametrize("name", sorted(READERS.keys() - {"load_arrays"}))
def test_what_another_function_reads(name: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    np.savez(file, weight=np.ones(3))
    path = tmp_path / "weights"
    path.write_bytes(file.getvalue())
    said = r"should be .*, got NumPy's \.npz file; `gatewise inspect` says how to load"
    with pytest.raises(gatewise.FormatError, match=said):
        reader(name)(path)


@pytest.mark.parametrize("name", ["from_keras", "from_nam", "from_onnx", "from_rtneural"])
def test_what_is_nothing_known_is_said_in_the_words_of_the_reader(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"hello there")
    said = {
        "from_keras": "should be a .keras or .h5 file",
        "from_nam": r"is no JSON: Expecting value: line 1 column 1 \(char 0\)",
        "from_onnx": "should have fields of ONNX, got other bytes before 3",
        "from_rtneural": "is no JSON: Expecting value",
    }[name]
    with pytest.raises(gatewise.FormatError, match=said):
        reader(name)(path)


def test_json_of_others_is_no_amplifier(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps({"in_shape": [None, None, 1], "layers": []}))
    with pytest.raises(gatewise.FormatError, match="from_rtneural reads that of others"):
        gatewise.from_nam(path)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    for name in READERS:
        with pytest.raises(
            gatewise.FormatError, match="got a directory; name one of its files"
        ):
            READERS[name](tmp_path)


def test_arrays_out_of_a_file_that_have_no_layer_under_their_names(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, kernel=np.ones((3, 16)), recurrent_kernel=np.ones((4, 16)))
    said = r"got kernel, recurrent_kernel; `gatewise inspect` says what loads the layers"
    with pytest.raises(ValueError, match=said):
        gatewise.LSTM.from_state_dict(gatewise.load_arrays(path))
    with pytest.raises(ValueError, match=r"got kernel$"):
        gatewise.LSTM.from_state_dict({"kernel": np.ones((3, 16))})


def test_refusals_have_the_article_of_a_class() -> None:
    layer = gatewise.LSTM(3, 4)
    with pytest.raises(AttributeError, match="is fixed once an LSTM is made"):
        layer.num_layers = 2
    with pytest.raises(TypeError, match=r"^an LSTM with int8 weights is for inference"):
        layer.quantize("int8").forward(np.ones((2, 3)))
