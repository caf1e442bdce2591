"""Arrays out of files of ONNX: all dtypes, inner graphs, and files that lie."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.formats.errors import FormatError
from gatewise.formats.onnx import open_onnx, wire
from gatewise.formats.opening import open_regular
from tests.formats import onnx_models as models
from tests.new_process import run

onnx = pytest.importorskip("onnx")


def opened(content: bytes | Any) -> Any:
    if not isinstance(content, bytes):
        content = content.SerializeToString()
    return open_onnx(io.BytesIO(content))


def test_every_dtype_is_read_as_the_library_does() -> None:
    model = models.every_dtype()
    container = opened(model)
    assert container.format == "onnx"
    assert len(container.headers) == 52
    for tensor in model.graph.initializer:
        wanted = onnx.numpy_helper.to_array(tensor)
        header, found = container.headers[tensor.name], container.read(tensor.name)
        assert (header.dtype, header.shape) == (found.dtype, found.shape)
        assert header.stored in ("", wanted.dtype.name.removesuffix("fnu")) or header.stored
        np.testing.assert_array_equal(found, wanted.astype(found.dtype))
        # Nobody else's.
        found[...] = 0
        np.testing.assert_array_equal(
            container.read(tensor.name), wanted.astype(found.dtype)
        )
    stored = {header.stored for header in container.headers.values()}
    assert {"", "bfloat16", "float8_e4m3fn", "int4", "uint2"} < stored
    assert str(container.headers["bfloat16"]) == "bfloat16 (2, 3)"


def test_inner_graphs_have_paths() -> None:
    container = opened(models.nested())
    assert sorted(container.headers) == [
        "choice.else_branch/else_r",
        "choice.else_branch/else_w",
        "choice.then_branch/then_r",
        "choice.then_branch/then_w",
        "condition",
        "number",
        "numbers",
    ]
    np.testing.assert_array_equal(container.read("numbers"), np.float32([1.5, 2.5]))
    assert container.read("number") == 3
    r = container.read("choice.else_branch/else_r")
    np.testing.assert_array_equal(r, container.read("choice.then_branch/then_r"))


def test_what_a_model_says_of_itself() -> None:
    metadata = opened(models.nested()).metadata
    assert metadata == {
        "ir_version": 8,
        "opset": {"": 17},
        "producer": "",
        "graph": "net",
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["time", "batch", 2]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["time", 1, "batch", 3]}],
        "metadata_props": {"author": "nobody"},
    }


def test_all_examples_open() -> None:
    contents = models.examples()
    assert len(contents) == 12
    for content in contents:
        container = opened(content)
        assert container.headers
        for name, header in container.headers.items():
            array = container.read(name)
            assert (array.dtype, array.shape) == (header.dtype, header.shape)


def lying(**fields: Any) -> Any:
    """A model with a tensor that is not what it says."""
    tensor = models.tensor("t", [1, 2, 3, 4])
    for name, value in fields.items():
        if name == "dims":
            del tensor.dims[:]
            tensor.dims.extend(value)
        elif name.endswith("_data") and name != "raw_data":
            getattr(tensor, name).extend(value)
        elif value is None:
            tensor.ClearField(name)
        else:
            setattr(tensor, name, value)
    return models.model([models.gru()], [*models.gru_tensors(), tensor])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dims": [5]}, "'t' should have 20 bytes for float32"),
        ({"dims": [2**31]}, "'t' should have 8589934592 bytes for float32"),
        ({"dims": [-4]}, "'t' should have a shape that is possible"),
        ({"dims": [2**62, 0]}, "'t' should have a shape that is possible"),
        ({"dims": [2**32, 2**32]}, "'t' should have a shape that is possible"),
        ({"dims": [1] * 40}, "'t' should have a shape that is possible"),
        ({"raw_data": b""}, "'t' should have 16 bytes for float32"),
        ({"raw_data": None}, "'t' should have 4 numbers for float32"),
        ({"float_data": [1.0]}, "'t' should have its float32 data in one field"),
        ({"raw_data": None, "int32_data": [1] * 4}, "'t' should have its float32 data in"),
        ({"data_type": 8}, "'t' should hold numbers, got strings"),
        ({"data_type": 0}, "'t' should hold numbers, got data type 0"),
        ({"data_type": 99}, "'t' should hold numbers, got data type 99"),
        ({"data_type": 22}, r"'t' should have 2 bytes for int4 \(4,\), got 16"),
        ({"name": "w"}, "'w' should be there once, got it twice"),
        ({"name": "y"}, "'y' should be there once, got it twice"),
    ],
)
def test_tensors_that_lie(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        opened(lying(**fields))


def test_numbers_out_of_range() -> None:
    for data_type, value in ((2, 256), (3, -129), (10, 65536), (9, -1), (22, 256)):
        field = {"raw_data": None, "int32_data": [value], "dims": [1]}
        container = opened(lying(data_type=data_type, **field))
        with pytest.raises(FormatError, match="got numbers out of range"):
            container.read("t")


def test_other_things_that_are_refused() -> None:
    model = models.model([models.gru()], models.gru_tensors())
    model.graph.sparse_initializer.add().values.name = "s"
    with pytest.raises(FormatError, match="'s' should be dense, got a sparse tensor"):
        opened(model)
    model = models.model([onnx.helper.make_node("Constant", [], ["c"], value_string="a")])
    with pytest.raises(
        FormatError, match="'c' should hold numbers, got a constant's value_str"
    ):
        opened(model)
    model = lying()
    model.graph.initializer[2].segment.begin = 1
    with pytest.raises(FormatError, match="'t' should be one piece, got a segment of it"):
        opened(model)
    model = models.nested()
    model.metadata_props.add(key="author", value="somebody")
    with pytest.raises(FormatError, match="metadata_props should have 'author' once"):
        opened(model)
    content = model.SerializeToString().replace(b"author", b"aut\xffor", 1)
    with pytest.raises(
        FormatError, match=r"metadata_props\[0\] should have texts in UTF-8"
    ):
        opened(content)
    with pytest.raises(FormatError, match="got one without a graph or versions"):
        opened(onnx.ModelProto(ir_version=8))


def test_graphs_inside_one_another() -> None:
    def inside(depth: int) -> Any:
        graph = onnx.helper.make_graph([], "last", [], [])
        for _ in range(depth):
            node = onnx.helper.make_node("If", ["x"], ["c"], then_branch=graph)
            graph = onnx.helper.make_graph([node], "one", [], [])
        return onnx.helper.make_model(graph)

    assert opened(inside(20)).headers == {}
    with pytest.raises(
        FormatError, match="should have at most 32 graphs inside one another"
    ):
        opened(inside(33))
    # What the library itself neither writes nor reads: node, attribute, g, node, ...
    content = b""
    for _ in range(1000):
        for field in (b"\x32", b"\x2a", b"\x0a"):
            content = field + length(len(content)) + content
    with pytest.raises(FormatError, match="should have at most 100 messages inside one"):
        opened(b"\x08\x08\x3a" + length(len(content)) + content)


def length(number: int) -> bytes:
    return onnx.ModelProto(ir_version=number).SerializeToString()[1:]


def test_many_messages_are_refused_before_they_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "_MOST_MESSAGES", 1000)
    nodes = b"\x0a\x00" * 1001
    content = b"\x08\x08\x3a" + length(len(nodes)) + nodes
    with pytest.raises(FormatError, match="should have at most 1000 messages, got more"):
        opened(content)


@pytest.mark.parametrize("number", range(12))
def test_what_is_cut_short_is_refused(number: int) -> None:
    content = models.examples()[number]
    whole = set(opened(content).headers)
    complete = 0
    for end in range(1, len(content), max(len(content) // 60, 1)):
        try:
            container = opened(content[:end])
        except FormatError:
            continue
        # What else a model says of itself comes last, and may end anywhere between two.
        assert set(container.headers) == whole
        complete += 1
    assert complete <= 1


@pytest.mark.parametrize("number", range(12))
def test_damaged_files(number: int, tmp_path: Path) -> None:
    content = np.frombuffer(models.examples()[number], np.uint8)
    generator = np.random.default_rng(number)
    path = tmp_path / "model.onnx"
    for _ in range(30):
        damaged = content.copy()
        places = generator.integers(0, len(content), generator.integers(1, 4))
        damaged[places] = generator.integers(0, 256, len(places))
        path.write_bytes(damaged.tobytes())
        try:
            with open_regular(path) as file:
                container = open_onnx(file)
                for name in container.headers:
                    container.read(name)
        except FormatError as error:
            assert str(error).startswith(str(path))  # noqa: PT017
        try:
            gatewise.from_onnx(path)
        except FormatError as error:
            assert str(error).startswith(str(path))  # noqa: PT017


LOOK = """
import sys
import gatewise
from gatewise.formats.onnx import open_onnx
from gatewise.formats.opening import open_regular
first, *paths = sys.argv[1:]
gatewise.from_onnx(first, "then_gru")
seen = []
def hook(event, arguments):
    kind = event.split(".")[0]
    # A number is a file that is open already.
    if kind in ("open", "import", "subprocess", "os", "socket") and (
        not isinstance(arguments[0], int)
    ):
        seen.append((event, str(arguments[0])))
for path in paths:
    if len(seen) == 0:
        sys.addaudithook(hook)
        seen.append(("open", path))
    del seen[:]
    refused = []
    try:
        with open_regular(path) as file:
            open_onnx(file)
    except gatewise.FormatError as error:
        refused.append("external data, which is never opened" in str(error))
    try:
        gatewise.from_onnx(path)
    except gatewise.FormatError as error:
        refused.append("external data, which is never opened" in str(error))
    assert refused == [True, True], (path, refused)
    others = [each for each in seen if each != ("open", path)]
    assert others == [], (path, others)
    assert seen.count(("open", path)) == 2
    print(path)
"""


def test_no_other_file_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    secret = tmp_path / "secret.bin"
    for path in (secret, folder / "plain.bin"):
        path.write_bytes(bytes(16))
    os.link(secret, folder / "hard_link.bin")
    locations = ["../secret.bin", str(secret), "plain.bin", "hard_link.bin", ""]
    if os.name != "nt":
        (folder / "symbolic_link.bin").symlink_to(secret)
        locations.append("symbolic_link.bin")
    first = tmp_path / "first.onnx"
    first.write_bytes(models.nested().SerializeToString())
    paths = []
    for location in locations:
        for content in models.reaching(location).values():
            paths.append(folder / f"{len(paths)}.onnx")
            paths[-1].write_bytes(content)
    assert len(paths) == 8 * len(locations)
    arguments = [str(path) for path in (first, *paths)]
    done = run(
        f"import sys; sys.argv[1:] = {arguments!r}\n{LOOK}", GATEWISE_BACKEND="numpy"
    )
    assert done.stderr == ""
    assert done.stdout.split() == [str(path) for path in paths]


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="should be a file, got a directory"):
        gatewise.from_onnx(tmp_path)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(FormatError, match="got an empty one"):
        gatewise.from_onnx(tmp_path / "empty.onnx")
    with pytest.raises(FileNotFoundError):
        gatewise.from_onnx(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_bytes(b"these are words, and no model at all")
    with pytest.raises(FormatError, match=r"text\.onnx: .* should"):
        gatewise.from_onnx(tmp_path / "text.onnx")
