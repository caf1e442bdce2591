"""What is saved by PyTorch for the tests of its files; torch is needed to make it.

`files` gives what `tests/data/make_torch_files.py` writes, and `expected` what PyTorch
itself finds in a file.
"""

from __future__ import annotations

import argparse
import io
import sys
import types
import warnings
import zipfile
from collections import OrderedDict, defaultdict
from typing import Any
from unittest import mock

import numpy as np

# Classes that the reader of the files does not have: they live in a module that is made up.
ELSEWHERE = "company_networks"


def files() -> dict[str, bytes]:
    """Files by name, a few KB each."""
    import torch

    torch.manual_seed(9)
    objects = {
        "state": lstm().state_dict(),
        "tensors": tensors(),
        "checkpoint": checkpoint(),
        "module": module(),
    }
    found = {}
    for name, value in objects.items():
        found[f"{name}.pt"] = saved(value)
        found[f"{name}_old.pt"] = saved(value, old=True)
    found["newest.pt"] = saved(newest_tensors())
    found["protocol_5.pt"] = saved(checkpoint(), protocol=5)
    found["big_endian.pt"] = in_big_endian(found["tensors.pt"])
    found["deflated.pt"] = deflated(found["tensors.pt"])
    found["script.pt"] = scripted(small_module())
    return found


def saved(value: Any, *, old: bool = False, protocol: int = 2) -> bytes:
    import torch

    file = io.BytesIO()
    # The older format keeps the source of modules, which is not ours to give away.
    source = (["class Net: ...\n"], 1, "networks.py")
    with mock.patch("torch.serialization.get_source_lines_and_file", return_value=source):
        torch.save(
            value, file, pickle_protocol=protocol, _use_new_zipfile_serialization=not old
        )
    return file.getvalue()


def scripted(module: Any) -> bytes:
    import torch

    file = io.BytesIO()
    with warnings.catch_warnings():
        # That TorchScript's time is over.
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), file)
    return file.getvalue()


def lstm() -> Any:
    import torch

    return torch.nn.LSTM(2, 3, bidirectional=True, proj_size=2)


def tensors() -> dict[str, Any]:
    """One of each dtype that both formats have, and views of all kinds."""
    import torch

    numbers = torch.arange(-3, 9).reshape(3, 4)
    flat = torch.randn(60)
    cube = torch.randn(2, 3, 4)
    complex_numbers = torch.randn(3, dtype=torch.complex64)
    plain = ["float16", "bfloat16", "float32", "float64", "bool"]
    plain += ["int8", "int16", "int32", "int64", "uint8"]
    found = {name: numbers.to(getattr(torch, name)) for name in plain}
    found |= {
        "complex64": complex_numbers,
        "complex128": complex_numbers.to(torch.complex128),
        # From the largest denormal up to infinity and NaN.
        "edges": torch.arange(0, 65536, 127).to(torch.int16).view(torch.bfloat16),
        "first": flat[:20],
        "second": flat[20:44].view(4, 6),
        "second again": flat[20:44].view(4, 6).t(),
        "every seventh": flat[3::7],
        "column": flat.view(6, 10)[:, 3],
        "all": flat,
        "permuted": cube.permute(2, 0, 1),
        "sliced": cube[:, 1:, ::2],
        "expanded": torch.randn(1, 3).expand(4, 3),
        "overlapping": torch.as_strided(flat, (5, 4), (1, 2)),
        "lone": torch.as_strided(flat, (1, 3, 1), (99, 1, 7)),
        "scalar": torch.tensor(2.5),
        "narrow scalar": torch.tensor(2.5).to(torch.bfloat16),
        "empty": torch.zeros(0),
        "emptier": torch.zeros(3, 0, 2),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "buffer": torch.nn.Buffer(torch.randn(3)),
        "gap of bools": (flat > 0)[::9],
    }
    return found


def newest_tensors() -> dict[str, Any]:
    """What only the newer format has."""
    import torch

    codes = torch.arange(256, dtype=torch.uint8)
    complex_numbers = torch.randn(6, dtype=torch.complex64)
    found = {
        name: codes.clone().view(getattr(torch, name))
        for name in vars(torch)
        if name.startswith("float8_")
    }
    found |= {
        name: codes.to(getattr(torch, name)) for name in ("uint16", "uint32", "uint64")
    }
    return found | {
        "complex32": complex_numbers.to(torch.complex32)[::2],
        "conjugate": complex_numbers.conj(),
        "negative": complex_numbers.clone().conj().imag,
        "storage": torch.randn(3).untyped_storage(),
    }


def module() -> Any:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = lstm()
            self.head = torch.nn.Linear(4, 2, bias=False)
            self.tied = self.head
            self.norm = torch.nn.BatchNorm1d(2)
            self.register_buffer("passing", torch.ones(3), persistent=False)
            self.register_buffer("missing", None)
            self.plain = torch.ones(5)
            self.several = torch.nn.ParameterList([torch.ones(2)])

    return elsewhere(Net)()


def small_module() -> Any:
    """One that TorchScript can save without source other than ours."""
    import torch

    class Inner(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(2, 2))
            self.register_buffer("_mean", torch.randn(2).to(torch.float16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight + self._mean

    class Outer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = 16000
            self.inner = Inner()
            self.same = self.inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.same(self.inner(x))

    return Outer()


def checkpoint() -> dict[str, Any]:
    import torch

    class Config:
        def __init__(self) -> None:
            self.rate = 0.5
            self.means = torch.randn(2)

    class Slotted:
        __slots__ = ("best", "step")

        def __init__(self) -> None:
            self.step, self.best = 3, torch.randn(1)

    net = torch.nn.GRU(2, 3)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(4, 2))[0].sum().backward()
    optimizer.step()
    config = elsewhere(Config)()
    return {
        "model": OrderedDict(net.state_dict()),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(hidden=3, name="net", nothing=None),
        "config": config,
        "same config": config,
        "slotted": elsewhere(Slotted)(),
        "epoch": 12,
        "losses": defaultdict(list, {"train": [0.5, 0.25], "test": [float("inf")]}),
        "size": torch.Size([2, 3]),
        "device": torch.device("cuda", 1),
        "dtype": torch.bfloat16,
        "names": {"a"},
        "raw": b"\xff\0",
        3: np.arange(6.0).reshape(2, 3).T,
        "swapped": np.arange(3, dtype=">i4"),
        "score": np.float32(0.5),
        "objects": np.array([None]),
        "quantized": torch.quantize_per_tensor(torch.randn(3), 0.1, 0, torch.qint8),
        "sparse": torch.eye(2).to_sparse(),
    }


def elsewhere(kind: Any) -> Any:
    """Let pickle find a class in a module that the reader of the file will not have."""
    home = sys.modules.setdefault(ELSEWHERE, types.ModuleType(ELSEWHERE))
    kind.__module__, kind.__qualname__ = ELSEWHERE, kind.__name__
    setattr(home, kind.__name__, kind)
    return kind


def deflated(content: bytes) -> bytes:
    return rewritten(content, method=zipfile.ZIP_DEFLATED)


def rewritten(
    content: bytes, changed: dict[str, bytes] | None = None, method: int = 0
) -> bytes:
    """A zip file again, with other content of some members, which may be new."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as before,
        zipfile.ZipFile(file, "w", method) as after,
    ):
        left = dict(changed or {})
        for name in before.namelist():
            inner = name.split("/", 1)[1]
            after.writestr(name, left.pop(inner, None) or before.read(name))
        top = before.namelist()[0].split("/")[0]
        for inner, data in left.items():
            after.writestr(f"{top}/{inner}", data)
    return file.getvalue()


def in_big_endian(content: bytes) -> bytes:
    """The same file as a machine of the other byte order would write it."""
    import torch

    swapped = {"byteorder": b"big"}
    keys: dict[int, int] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        top = archive.namelist()[0].split("/")[0]
        for value in torch.load(io.BytesIO(content), weights_only=True).values():
            storage = value.untyped_storage()
            # Storages are numbered as they are met; what is empty has no address.
            address = storage.data_ptr() or id(value)
            name = f"data/{keys.setdefault(address, len(keys))}"
            size = value.element_size() // (2 if value.is_complex() else 1)
            raw = np.frombuffer(archive.read(f"{top}/{name}"), f"u{size}")
            swapped[name] = raw.byteswap().tobytes()
    return rewritten(content, swapped)


def expected(content: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """What PyTorch finds in one of the files, under the names that it should have."""
    import torch

    with warnings.catch_warnings():
        # That sources of modules have changed.
        warnings.simplefilter("ignore")
        if b"constants.pkl" in content:
            value: Any = torch.jit.load(io.BytesIO(content))
        else:
            value = torch.load(io.BytesIO(content), weights_only=False)
    if isinstance(value, torch.nn.Module):
        value = value.state_dict()
    found: dict[str, Any] = {}
    flatten(value, "", found)
    return found


def flatten(value: Any, name: str, found: dict[str, Any]) -> None:
    import torch

    if isinstance(value, torch.UntypedStorage | torch.TypedStorage):
        value = torch.tensor(list(value), dtype=torch.uint8)
    if isinstance(value, torch.Tensor):
        if value.layout == torch.strided and not value.is_quantized:
            found[name] = as_numpy(value)
    elif isinstance(value, np.ndarray):
        if value.dtype != object:
            found[name] = value.astype(value.dtype.newbyteorder("="))
    elif isinstance(value, dict):
        for key, part in value.items():
            flatten(part, f"{name}.{key}" if name else str(key), found)
    elif type(value).__module__ == ELSEWHERE and not name.startswith("same"):
        names = getattr(value, "__slots__", None) or vars(value)
        flatten({key: getattr(value, key) for key in names}, name, found)


def as_numpy(value: Any) -> np.ndarray[Any, Any]:
    import torch

    value = value.detach().resolve_conj().resolve_neg().contiguous()
    name = str(value.dtype)
    if name.startswith(("torch.float8", "torch.bfloat16")):
        value = value.float()
    if value.dtype == torch.complex32:
        value = value.to(torch.complex64)
    array: np.ndarray[Any, Any] = value.numpy()
    return array
