"""Files of PyTorch's: the arrays that PyTorch finds, under the same names, bit for bit."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatewise.formats.containers import Container
from gatewise.formats.errors import FormatError
from gatewise.formats.pytorch.reading import open_pytorch
from gatewise.formats.reading import load_arrays
from tests.formats import torch_cases as cases
from tests.formats import torch_files


def check(opened: Container, wanted: Mapping[str, np.ndarray[Any, Any]]) -> None:
    assert sorted(opened.headers) == sorted(wanted)
    for name, right in wanted.items():
        header, array = opened.headers[name], opened.read(name)
        dtype = right.dtype.newbyteorder("=")
        assert (array.dtype, array.shape) == (dtype, right.shape), name
        assert (header.dtype.newbyteorder("="), header.shape) == (dtype, right.shape), name
        assert array.flags.c_contiguous, name
        assert array.flags.writeable, name
        if header.stored.startswith("float8"):
            # One NaN is as good as another.
            np.testing.assert_array_equal(array, right, err_msg=name)
        else:
            assert array.tobytes() == right.tobytes(), name


def opened(name: str) -> Container:
    return open_pytorch(io.BytesIO((torch_files.FOLDER / name).read_bytes()))


@pytest.mark.parametrize("name", torch_files.NAMES)
def test_arrays_are_those_that_pytorch_found(name: str) -> None:
    check(opened(name), torch_files.figures(name))


# Of dtypes whose time is over, or not yet come.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_arrays_are_those_that_pytorch_finds() -> None:
    pytest.importorskip("torch")
    files = cases.files()
    files["protocol_3_old.pt"] = cases.saved(cases.checkpoint(), old=True, protocol=3)
    files["protocol_4.pt"] = cases.saved(cases.module(), protocol=4)
    for content in files.values():
        check(open_pytorch(io.BytesIO(content)), cases.expected(content))


def test_a_script_has_the_names_of_its_state_dict() -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(cases.lstm())
    content = cases.scripted(net)
    script = open_pytorch(io.BytesIO(content))
    assert script.format == "torchscript"
    assert script.metadata["0"]["__class__"].startswith("__torch__.torch.nn.modules.rnn.")
    check(script, cases.expected(content))


def test_every_number_of_sixteen_bits_is_read() -> None:
    torch = pytest.importorskip("torch")
    codes = torch.arange(65536).to(torch.uint16)
    values = {
        "bfloat16": codes.clone().view(torch.bfloat16),
        "float16": codes.view(torch.float16),
    }
    content = cases.saved(values)
    check(open_pytorch(io.BytesIO(content)), cases.expected(content))


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("float16", ""),
        ("bfloat16", "bfloat16"),
        ("bool", ""),
        ("complex64", ""),
        ("int64", ""),
    ],
)
def test_a_header_says_what_numpy_has_no_dtype_for(name: str, stored: str) -> None:
    for file in ("tensors.pt", "tensors_old.pt", "big_endian.pt"):
        assert opened(file).headers[name].stored == stored
    assert opened("newest.pt").headers["complex32"].stored == "complex32"


@pytest.mark.parametrize("name", ["checkpoint.pt", "checkpoint_old.pt", "protocol_5.pt"])
def test_metadata_are_what_is_no_array(name: str) -> None:
    found = dict(opened(name).metadata)
    assert found["epoch"] == 12
    assert found["args"] == {"hidden": 3, "name": "net", "nothing": None}
    assert found["config"] == {"__class__": "company_networks.Config", "rate": 0.5}
    assert found["same config"] == "the same as config"
    assert found["slotted"] == {"__class__": "company_networks.Slotted", "step": 3}
    assert found["losses"] == {"train": [0.5, 0.25], "test": [float("inf")]}
    assert (found["size"], found["device"]) == ([2, 3], "cuda:1")
    assert (found["dtype"], found["names"]) == ("torch.bfloat16", ["a"])
    assert (found["raw"], found["score"]) == ("2 bytes", 0.5)
    groups = found["optimizer"]["param_groups"]
    assert groups[0]["lr"] == 0.001
    assert "model" not in found
    assert "3" not in found


@pytest.mark.parametrize("name", ["module.pt", "module_old.pt"])
def test_a_module_says_what_it_was_made_with(name: str) -> None:
    found = opened(name).metadata
    assert found["__class__"] == "company_networks.Net"
    assert found["encoder"]["proj_size"] == 2
    assert found["encoder"]["bidirectional"] is True
    assert found["plain"] == "float32 (5,)"


@pytest.mark.parametrize("name", ["quantized", "sparse", "objects"])
def test_what_is_not_read_is_refused_when_it_is_asked_for(name: str) -> None:
    container = opened("checkpoint.pt")
    assert container.metadata[name].endswith("is not read")
    with pytest.raises(FormatError, match=f"'{name}' is an? .* is not read"):
        container.read(name)


def test_arrays_of_one_storage_are_each_its_own() -> None:
    container = opened("tensors.pt")
    before = container.read("all")
    container.read("first")[:] = 7
    container.read("second")[:] = 7
    container.read("every seventh")[:] = 7
    assert container.read("all").tobytes() == before.tobytes()


@pytest.mark.parametrize("old", [False, True])
def test_a_tensor_by_itself_has_a_name(old: bool) -> None:
    program = b"\x80\x02" + torch_files.tensor(source=torch_files.storage(old=old)) + b"."
    numbers = np.arange(6, dtype="<f4")
    if old:
        keys = b"\x80\x02]" + torch_files.text("0") + b"a."
        file = torch_files.streamed(
            program, keys=keys, storages=bytes([6, *[0] * 7]) + numbers.tobytes()
        )
    else:
        file = torch_files.zipped(program, _0=numbers.tobytes())
    container = open_pytorch(file)
    assert container.metadata == {}
    np.testing.assert_array_equal(container.read("tensor"), numbers.reshape(2, 3))


def test_a_part_of_an_old_storage_is_read() -> None:
    """Before 0.4 a storage could be a view of another."""
    view = torch_files.text("1") + torch_files.whole(2) + torch_files.whole(3) + b"\x87"
    source = torch_files.storage(old=True).removesuffix(b"NtQ") + view + b"tQ"
    program = torch_files.entries(part=torch_files.tensor((2,), (1,), 1, source))
    keys = b"\x80\x02]" + torch_files.text("0") + b"a."
    content = bytes([6, *[0] * 7]) + np.arange(6, dtype="<f4").tobytes()
    container = open_pytorch(torch_files.streamed(program, keys=keys, storages=content))
    np.testing.assert_array_equal(container.read("part"), np.float32([3, 4]))


def test_names_and_arrays_of_python_2_are_read() -> None:
    import pickle

    array = np.arange(3, dtype="<i2")
    # Python 2 wrote bytes as text, here some that are UTF-8 and some that are not.
    for raw in (array.tobytes(), np.array([200, 1, 2], "<i2").tobytes()):
        old = b"U" + bytes([len(raw)]) + raw
        program = (
            b"\x80\x02}U\x04loss"
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
            b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02i2K\x00K\x01\x87R"
            b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + old + b"tbs."
        )
        wanted = pickle.loads(program, encoding="latin-1")["loss"]
        found = open_pytorch(torch_files.zipped(program)).read("loss")
        np.testing.assert_array_equal(found, wanted)


def test_a_file_in_an_archive_is_found(tmp_path: Path) -> None:
    content = (torch_files.FOLDER / "state.pt").read_bytes()
    wanted = torch_files.figures("state.pt")
    with tarfile.open(tmp_path / "net.tar.gz", "w:gz") as archive:
        for name, data in (("net/README", b"A net."), ("net/weights.pt", content)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    (tmp_path / "net.pt.gz").write_bytes(gzip.compress(content))
    for name in ("net.tar.gz", "net.pt.gz"):
        arrays = load_arrays(tmp_path / name)
        assert arrays.format == "pytorch"
        assert {key: array.tobytes() for key, array in arrays.items()} == {
            key: array.tobytes() for key, array in wanted.items()
        }


def test_a_file_without_a_folder_is_read() -> None:
    content = (torch_files.FOLDER / "state.pt").read_bytes()
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as before,
        zipfile.ZipFile(file, "w") as after,
    ):
        for name in before.namelist():
            after.writestr(name.split("/", 1)[1], before.read(name))
    check(open_pytorch(file), torch_files.figures("state.pt"))


def test_a_file_without_checksums_is_read() -> None:
    torch = pytest.importorskip("torch")
    options = torch.serialization
    before = options.get_crc32_options()
    options.set_crc32_options(False)
    try:
        file = io.BytesIO()
        torch.save({"a": torch.arange(3)}, file)
    finally:
        options.set_crc32_options(before)
    np.testing.assert_array_equal(open_pytorch(file).read("a"), [0, 1, 2])
