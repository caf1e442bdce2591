"""What readers of safetensors, NumPy's and PyTorch's files were broken by, under a watch.

Those of HDF5, Keras and ONNX are with the tests of their readers.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.formats import torch_files as made
from tests.formats.test_npz import HOSTILE as NPZ
from tests.formats.test_pickles import MALICE
from tests.formats.test_safetensors import HOSTILE as SAFETENSORS
from tests.formats.test_zips import HOSTILE as ZIPS
from tests.formats.watching import watched

SIX = np.arange(6, dtype="<f4").tobytes()
# Refusing takes this at most, whatever is claimed; the bombs may unpack to 64 MiB.
_MOST_MEMORY = 80 << 20


def malice() -> dict[str, bytes]:
    """Programs that run code (CVE-2025-32434), in all places where a pickle stands."""
    found = {}
    for index, program in enumerate(MALICE):
        evil = program if program[:1] == b"\x80" else b"\x80\x04" + program
        found[f"zip {index}"] = made.zipped(evil).getvalue()
        found[f"stream {index}"] = made.streamed(evil).getvalue()
        found[f"gzip {index}"] = gzip.compress(evil)
    return found


def corruption() -> dict[str, bytes]:
    """Operations on what they do not fit, and storages that end too soon.

    CVE-2026-24747 set entries in tensors, and gave storages other kinds than they had.
    """
    programs = {
        "entry in a tensor": made.tensor() + b"K\x00K\x01s",
        "entries in a tensor": made.tensor() + b"(K\x00K\x01u",
        "entry in a storage": made.storage() + b"K\x00K\x01s",
        "append to a tensor": made.tensor() + b"K\x00a",
        "wider kind": made.tensor(source=made.storage(6, "DoubleStorage")),
        "longer storage": made.tensor(source=made.storage(1 << 40)),
        "beyond": made.tensor((2,), (1 << 40,)),
        "before": made.tensor((2,), (1,), -1),
        "backwards": made.tensor((2,), (-1,), 1),
        "repeated": made.tensor((1 << 33,), (0,)),
    }
    return {
        name: made.zipped(made.entries(a=program), _0=SIX).getvalue()
        for name, program in programs.items()
    }


def tars() -> dict[str, bytes]:
    """Links and paths that lead out of an archive, and what unpacks without end."""
    found = {"bomb": gzip.compress(bytes(70 << 20))}
    for name, kind, target in (
        ("../weights.npz", tarfile.REGTYPE, ""),
        ("/etc/passwd", tarfile.REGTYPE, ""),
        ("weights.npz", tarfile.SYMTYPE, "/etc/passwd"),
        ("weights.npz", tarfile.LNKTYPE, "/etc/passwd"),
        ("weights.npz", tarfile.CHRTYPE, ""),
    ):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
        found[f"{name} {kind.decode()}"] = file.getvalue()
    return found


ATTACKS: Mapping[str, Callable[[], Mapping[str, bytes]]] = {
    "code in PyTorch's files": malice,
    "memory of PyTorch's files": corruption,
    "safetensors": lambda: {name: content for name, (content, _) in SAFETENSORS.items()},
    "npz": lambda: {name: content for name, (content, _) in NPZ.items()},
    "zip": lambda: {name: make() for name, (make, _) in ZIPS.items()},
    "tar and gzip": tars,
}


@pytest.mark.skipif(os.name == "nt", reason="memory is counted as POSIX does")
def test_an_attack_reads_nothing_else_runs_nothing_and_takes_no_memory(
    tmp_path: Path,
) -> None:
    good = made.zipped(made.entries(a=made.tensor()), _0=SIX).getvalue()
    names, paths = {}, []
    for kind, make in ATTACKS.items():
        for name, content in make().items():
            path = tmp_path / f"{len(paths)}"
            path.write_bytes(content)
            paths.append(path)
            names[str(path)] = f"{kind}: {name}"
    warm = []
    for index, content in enumerate((good, gzip.compress(good), *_good_arrays())):
        warm.append(tmp_path / f"good{index}")
        warm[-1].write_bytes(content)
    seen = watched(paths, warm=warm)
    assert len(seen) == len(paths) > 150
    for each in seen:
        name = names[each.path]
        assert each.error in ("", "FormatError"), (name, each.error, each.message)
        if not name.startswith("code"):
            assert each.error == "FormatError", name
            assert each.message.startswith(f"{each.path}: "), (name, each.message)
        assert not each.harm, (name, each.harm)
        assert each.grown < _MOST_MEMORY, (name, each.grown)


def _good_arrays() -> list[bytes]:
    from gatewise.formats.safetensors import write_safetensors

    found = []
    for write in (
        lambda file: np.savez(file, a=np.ones(2)),
        lambda file: np.save(file, np.ones(2)),
        lambda file: write_safetensors(file, {"a": np.ones(2)}, {}),
    ):
        file = io.BytesIO()
        write(file)
        found.append(file.getvalue())
    return found
