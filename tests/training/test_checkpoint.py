"""Checkpoints: whole or not at all, and every kind of damage is noticed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gatewise.formats.files import check_writable
from gatewise.training import CheckpointError, load_checkpoint, save_checkpoint

ARRAYS = {
    "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "steps.weight": np.array(7),
    "nested/name": np.zeros((0, 2)),
}
METADATA = {"epoch": 3, "characters": "aé漢", "loss": 0.1}


def savez(path: Path, **arrays: object) -> None:
    """Write what earlier versions did, whatever the path ends with."""
    with open(path, "wb") as file:
        np.savez(file, **arrays)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, "example", ARRAYS, METADATA)
    return path


def test_what_was_saved_comes_back(path: Path) -> None:
    arrays, metadata = load_checkpoint(path, "example")
    assert metadata == METADATA
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
    assert os.listdir(path.parent) == ["model.safetensors"]


def test_every_truncation_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    for size in range(0, len(content), 17):
        path.write_bytes(content[:size])
        with pytest.raises(
            CheckpointError, match=r"model\.safetensors: not a gatewise file, or a dam"
        ):
            load_checkpoint(path, "example")


def test_no_damaged_byte_changes_what_is_read(path: Path) -> None:
    content = path.read_bytes()
    noticed = 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x5A
        path.write_bytes(damaged)
        try:
            arrays, metadata = load_checkpoint(path, "example")
        except CheckpointError:
            noticed += 1
            continue
        # The byte belonged to a date or the like.
        assert metadata == METADATA
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(arrays[name], array)
    assert noticed > len(content) / 2


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    foreign = [b"hello", b"", pickle.dumps({"a": 1}), b"PK\x03\x04" + bytes(50)]
    for content in foreign:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="not a gatewise file") as caught:
            load_checkpoint(path, "example")
        # NumPy's own advice, which would run what the file says.
        assert "pickle" not in str(caught.value)
    savez(path, **{"gatewise.json": np.frombuffer(b'{"format": "other"}', np.uint8)})
    with pytest.raises(CheckpointError, match="not a gatewise file"):
        load_checkpoint(path, "example")
    savez(path, weight=np.ones(2))
    with pytest.raises(CheckpointError, match="not a gatewise file"):
        load_checkpoint(path, "example")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match="not a gatewise file"):
        load_checkpoint(path, "example")
    with open(path, "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(CheckpointError, match="not a gatewise file"):
        load_checkpoint(path, "example")
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "missing", "example")


def test_a_pickle_inside_is_never_run(path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return os.mkdir, (str(path.parent / "sprung"),)

    savez(path, weight=np.array([Trap()], dtype=object), **{"gatewise.json": np.zeros(2)})
    with pytest.raises(CheckpointError):
        load_checkpoint(path, "example")
    assert not (path.parent / "sprung").exists()


def test_another_kind_or_version_is_named(path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds 'example', not 'language model'"):
        load_checkpoint(path, "language model")
    described = {"format": "gatewise", "version": 99, "kind": "example", "arrays": []}
    marker = np.frombuffer(json.dumps(described).encode(), np.uint8)
    savez(path, **{"gatewise.json": marker})
    with pytest.raises(CheckpointError, match=r"has version 99 of .* version 1"):
        load_checkpoint(path, "example")


def test_a_failed_write_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space.*'.*/model\.safetensors'"):
        save_checkpoint(path, "example", {"weight": np.ones(3)}, {})
    assert path.read_bytes() == old
    assert os.listdir(path.parent) == ["model.safetensors"]


def test_objects_are_refused(path: Path) -> None:
    old = path.read_bytes()
    with pytest.raises(TypeError, match="should hold numbers, got dtype object"):
        save_checkpoint(path, "example", {"weight": np.array([None])}, {})
    with pytest.raises(TypeError):
        save_checkpoint(path, "example", ARRAYS, {"odd": object()})
    assert path.read_bytes() == old


@pytest.mark.skipif(
    not hasattr(os, "symlink") or os.name == "nt", reason="needs symbolic links"
)
def test_a_symbolic_link_stays_one(path: Path) -> None:
    link = path.with_name("latest.safetensors")
    link.symlink_to(path.name)
    save_checkpoint(link, "example", {}, {"new": True})
    assert link.is_symlink()
    assert load_checkpoint(path, "example") == ({}, {"new": True})


def test_check_writable(path: Path, tmp_path: Path) -> None:
    old = path.read_bytes()
    check_writable(path)
    check_writable(tmp_path / "new.safetensors")
    assert os.listdir(tmp_path) == ["model.safetensors"]
    assert path.read_bytes() == old
    with pytest.raises(OSError, match="is a directory"):
        check_writable(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"missing.model\.safetensors'"):
        check_writable(tmp_path / "missing" / "model.safetensors")
    with pytest.raises(NotADirectoryError):
        check_writable(path / "model.safetensors")


WRITER = """
import sys
import numpy as np
from gatewise.training import save_checkpoint
for number in range(10**9):
    arrays = {"a": np.full(300_000, number)}
    save_checkpoint(sys.argv[1], "example", arrays, {"number": number})
    if number == 0:
        print("ready", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for attempt in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        with writer.stdout:
            assert writer.stdout.readline() == "ready\n"
            time.sleep(0.003 * attempt)
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        arrays, metadata = load_checkpoint(path, "example")
        np.testing.assert_array_equal(arrays["a"], np.full(300_000, metadata["number"]))
