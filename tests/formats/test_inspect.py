"""What is said of a file: all of it right, every line works, and none does harm."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise import cli
from gatewise.formats import inspect
from gatewise.formats.containers import Header
from gatewise.formats.inspection import inspecting
from gatewise.formats.inspection.found_layers import Found, found_layers, quoted
from gatewise.formats.inspection.inspecting import plain
from gatewise.formats.keras import reading
from gatewise.formats.onnx import wire
from gatewise.formats.safetensors import write_safetensors
from tests.formats import amp_files

Arrays = dict[str, Any]
DATA = Path(__file__).parents[1] / "data"


def state() -> Arrays:
    """The parameters of a net with everything in it, by PyTorch's names."""
    layers = {
        "embed.": gatewise.Embedding(9, 4, seed=0),
        "encoder.rnn.": gatewise.LSTM(4, 5, 2, bidirectional=True, proj_size=3, seed=0),
        "gru.": gatewise.GRU(4, 5, bias=False, seed=0),
        "old.": gatewise.RNN(2, 3, dtype="float64", seed=0),
        "peeping.": gatewise.LSTM(2, 3, peepholes=True, seed=0),
        "conv.": gatewise.Conv1d(2, 3, 5, seed=0),
        "head.": gatewise.Linear(4, 2, seed=0),
        "lean.": gatewise.Linear(5, 7, bias=False, dtype="float64", seed=0),
        "small.": gatewise.GRU(2, 3, seed=0).quantize("int8"),
    }
    found = {
        prefix + name: array
        for prefix, layer in layers.items()
        for name, array in layer.state_dict().items()
    }
    cell = gatewise.GRU(3, 4, seed=0).state_dict()
    found |= {f"cell.{name.removesuffix('_l0')}": cell[name] for name in cell}
    half = gatewise.Linear(3, 2, seed=0).state_dict()
    found |= {f"half.{name}": array.astype(np.float16) for name, array in half.items()}
    # What is no layer.
    found |= {"norm.weight": np.ones(4), "norm.bias": np.ones(4), "step": np.array(3)}
    found |= {"steps.weight": np.ones((2, 2), np.int64)}
    return found


LAYERS = [
    "Embedding(9, 4)",
    "LSTM(4, 5, num_layers=2, bidirectional=True, proj_size=3)",
    "GRU(4, 5, bias=False)",
    "RNN(2, 3, dtype='float64')",
    "LSTM(2, 3, peepholes=True)",
    "Conv1d(2, 3, 5)",
    "Linear(4, 2)",
    "Linear(5, 7, bias=False, dtype='float64')",
    "GRU(2, 3, weight_format='int8')",
    "GRU(3, 4)",
    "Linear(3, 2)",
]


def made(found: Found) -> Any:
    return eval(found.python, {"gatewise": gatewise})


def check_lines(layers: list[Found]) -> None:
    for found in layers:
        assert "\n" not in found.python
        assert repr(made(found)).startswith(f"{found.layer} with "), found


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_every_layer_of_a_state_dict_is_found(kind: str, tmp_path: Path) -> None:
    arrays, path = state(), tmp_path / f"model.{kind}"
    if kind == "npz":
        np.savez(path, **arrays)
    else:
        with path.open("wb") as file:
            write_safetensors(file, arrays, {"epoch": "3"})
    seen = inspect(path)
    assert (seen.path, seen.format) == (str(path), kind)
    assert {n: (h.dtype, h.shape) for n, h in seen.arrays.items()} == {
        name: (array.dtype, array.shape) for name, array in arrays.items()
    }
    order = {found.layer: found for found in seen.layers}
    assert sorted(order) == sorted(LAYERS)
    check_lines(seen.layers)
    rnn = order["LSTM(4, 5, num_layers=2, bidirectional=True, proj_size=3)"]
    assert rnn.name == "encoder.rnn."
    assert rnn.python == (
        f'gatewise.LSTM.from_state_dict(gatewise.load_arrays("{path}"), '
        'prefix="encoder.rnn.")'
    )
    for name, array in made(rnn).state_dict().items():
        assert np.array_equal(array, arrays[f"encoder.rnn.{name}"])
    assert "tanh unless" in order["RNN(2, 3, dtype='float64')"].notes[0]
    assert "stride" in order["Conv1d(2, 3, 5)"].notes[0]
    other = order["Linear(5, 7, bias=False, dtype='float64')"]
    assert other.notes == ("or Embedding(7, 5): the shapes are the same",)


def test_a_state_dict_of_pytorchs(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    lstm = torch.nn.LSTM(3, 4, 2, bidirectional=True)
    path = tmp_path / "checkpoint.pt"
    torch.save({"epoch": 2, "model": {"lstm": lstm.state_dict()}}, path)
    seen = inspect(path)
    assert seen.metadata == {"epoch": 2}
    [found] = seen.layers
    assert found.name == "model.lstm."
    check_lines(seen.layers)


def own(path: Path) -> None:
    model = gatewise.Sequential(gatewise.GRU(3, 4, 2), gatewise.Linear(4, 2))
    gatewise.save(model.quantize("int8"), path, metadata={"labels": ["a", "b"]})


def amp(said: amp_files.Json) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(amp_files.encoded(said))


def onnx(path: Path) -> None:
    pytest.importorskip("onnx")
    gatewise.to_onnx(gatewise.GRU(3, 4, bidirectional=True, seed=0), path)


def net() -> gatewise.Sequential:
    return gatewise.Sequential(
        gatewise.LSTM(3, 4, bidirectional=True, seed=0),
        gatewise.Linear(8, 2, seed=1),
        gatewise.Tanh(),
    )


def keras(suffix: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        pytest.importorskip("h5py")
        named = path.with_suffix(suffix)
        gatewise.to_keras(net(), named)
        named.rename(path)

    return write


def keras_weights(path: Path) -> None:
    keras(".keras")(path)
    with zipfile.ZipFile(path) as archive:
        path.write_bytes(archive.read("model.weights.h5"))


def pytorch(path: Path) -> None:
    path.write_bytes((DATA / "torch_files" / "checkpoint.pt").read_bytes())


KERAS = ["LSTM(3, 4, bidirectional=True)", "Linear(8, 2)"]
FILES: dict[str, tuple[Callable[[Path], object], str, list[str]]] = {
    "own": (
        own,
        "safetensors",
        ["Sequential(GRU(3, 4, num_layers=2, weight_format='int8'), Linear(4, 2))"],
    ),
    "nam": (
        amp(amp_files.nam_file(1, 3, 2)),
        "nam",
        ["Sequential(LSTM(1, 3, num_layers=2), Linear(3, 1))"],
    ),
    "rtneural": (
        amp(amp_files.rtneural_file(amp_files.KINDS[1], 2)),
        "rtneural",
        ["Sequential(GRU(2, 4), Linear(4, 3), Sigmoid(), Linear(3, 1))"],
    ),
    "aida": (
        amp(amp_files.aida_file(1, in_skip=1)),
        "rtneural",
        ["Sequential(LSTM(1, 4), Linear(4, 1))"],
    ),
    "guitarml": (
        amp(amp_files.guitarml_file("RNN", 1, 3, skip=1)),
        "guitarml",
        ["Sequential(RNN(1, 3), Linear(3, 1))"],
    ),
    "json": (
        amp({"a": {"lin.weight": [[1.0, 2.0]], "lin.bias": [1]}}),
        "json",
        ["Linear(2, 1)"],
    ),
    "pytorch": (pytorch, "pytorch", ["GRU(2, 3)"]),
    "keras": (keras(".keras"), "keras", KERAS),
    "h5": (keras(".h5"), "hdf5", KERAS),
    # Which says no activations.
    "weights": (keras_weights, "hdf5", KERAS[::-1]),
    "onnx": (onnx, "onnx", ["GRU(3, 4, bidirectional=True)"]),
}


@pytest.mark.parametrize("name", FILES)
def test_the_lines_of_every_format_work(name: str, tmp_path: Path) -> None:
    write, kind, layers = FILES[name]
    path = tmp_path / f"file of {name}"
    write(path)
    seen = inspect(path)
    assert seen.format == kind
    assert [found.layer for found in seen.layers] == layers
    check_lines(seen.layers)
    json.dumps(seen.plain(), allow_nan=False)
    for found in seen.layers:
        assert bool(found.notes) == (name in ("aida", "guitarml", "weights"))
    # What load_arrays gives is what was listed.
    arrays = gatewise.load_arrays(path)
    assert {n: (a.dtype, a.shape) for n, a in arrays.items()} == {
        n: (h.dtype, h.shape) for n, h in seen.arrays.items()
    }


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_file_of_keras_is_opened_once(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many layers it has, each of which would look through the whole of it."""
    pytest.importorskip("h5py")
    path = tmp_path / f"model.{suffix}"
    layers = [gatewise.LSTM(2, 2, seed=number) for number in range(9)]
    gatewise.to_keras(gatewise.Sequential(*layers), path)
    listed = []
    list_layers = inspecting.layers_of

    def watched(container: Any) -> Any:
        listed.append(container)
        return list_layers(container)

    monkeypatch.setattr(reading, "layers_of", watched)
    monkeypatch.setattr(inspecting, "layers_of", watched)
    found = inspect(path).layers
    assert len(listed) == 1
    assert len(found) == 9
    check_lines(found)


def test_a_model_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many nodes there are, since a small file can take a second to parse."""
    from tests.formats import onnx_models as models

    pytest.importorskip("onnx")
    checked = []
    check = wire.check
    monkeypatch.setattr(wire, "check", lambda *given: checked.append(1) or check(*given))
    nodes = [models.gru() for _ in range(9)]
    for number, node in enumerate(nodes):
        node.name, node.output[0] = f"n{min(number, 7)}", f"y{number}"
    path = tmp_path / "model.onnx"
    path.write_bytes(models.model(nodes, models.gru_tensors()).SerializeToString())
    layers = inspect(path).layers
    assert len(checked) == 1
    check_lines(layers[:7])
    assert [found.name for found in layers[7:]] == ["n7", "n7"]
    assert layers[8].notes == ("there are several nodes of this name",)
    assert layers[8].python == ""


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "own.safetensors", "a.nam"])
def test_the_lines_for_archives_work(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "a.npz":
        np.savez(path, **{"a.weight": np.ones((2, 3))})
    elif name == "a.nam":
        gatewise.to_nam(
            gatewise.Sequential(gatewise.LSTM(1, 3), gatewise.Linear(3, 1)), path
        )
    elif name == "own.safetensors":
        gatewise.save(gatewise.LSTM(2, 3), path)
    else:
        with path.open("wb") as file:
            write_safetensors(file, gatewise.LSTM(2, 3).state_dict(), {})
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    [alone], [found] = inspect(path).layers, inspect(packed).layers
    if name in ("a.nam", "own.safetensors"):
        assert (found.python, found.notes[0][:10]) == ("", "unpack it:")
    else:
        assert found.layer == alone.layer
        check_lines([found])


def test_what_is_around_a_network_is_said(tmp_path: Path) -> None:
    path = tmp_path / "amp.json"
    amp(amp_files.aida_file(1, in_skip=1))(path)
    [found] = inspect(path).layers
    assert found.python == f'gatewise.from_rtneural("{path}", network_only=True)'
    assert "adds the input to the output (in_skip)" in found.notes[0]


def test_why_there_is_no_network_is_said(tmp_path: Path) -> None:
    path = tmp_path / "amp.nam"
    amp(amp_files.nam_file(1, 3, 1) | {"architecture": "WaveNet"})(path)
    [found] = inspect(path).layers
    assert found.python == ""
    assert found.notes[0].endswith("got 'WaveNet'")


def shapes(**given: Any) -> dict[str, Header]:
    return {name: Header(np.dtype(np.float32), shape) for name, shape in given.items()}


@pytest.mark.parametrize(
    ("given", "layer"),
    [
        ({"weight_ih_l0": (4, 2), "weight_hh_l0": (4, 1)}, "LSTM(2, 1, bias=False)"),
        ({"weight_ih_l0": (3, 2), "weight_hh_l0": (3, 1)}, "GRU(2, 1, bias=False)"),
        ({"weight_ih": (1, 2), "weight_hh": (1, 1)}, "RNN(2, 1, bias=False)"),
        ({"weight_ih_l0": (12, 2)}, "weight_hh_l0 is missing"),
        ({"weight_hh": (12, 3)}, "weight_ih is missing"),
        ({"weight_ih_l0": (12, 2), "weight_hh_l0": (12, 5)}, "no cell has weights"),
        ({"weight_ih_l0": (9, 2), "weight_hh_l0": (12, 3)}, "weight_ih_l0 should have"),
        ({"weight_ih_l0": (9, 2, 2), "weight_hh_l0": (12, 3)}, "are no matrices"),
        ({"weight_ih_l0": (0, 2), "weight_hh_l0": (0, 0)}, "are no matrices"),
        ({"weight_ih_l1": (12, 2), "weight_hh_l1": (12, 3)}, "not numbered from 0"),
        (
            {"weight_ih_l0": (12, 2), "weight_hh_l0": (12, 3), "bias_ih_l0": (12,)},
            "one of two biases is missing",
        ),
        (
            {"weight_ih_l0": (9, 2), "weight_hh_l0": (9, 3), "weight_hr_l0": (3, 3)},
            "no cell has weights",
        ),
        (
            {
                "weight_ih_l0": (12, 2),
                "weight_hh_l0": (12, 3),
                "weight_ih_l0_reverse": (12, 2),
            },
            "weight_hh_l0_reverse should have shape (12, 3)",
        ),
    ],
)
def test_a_recurrent_layer_is_told_by_its_shapes(given: Arrays, layer: str) -> None:
    [found] = found_layers(shapes(**given), "a.npz")
    assert layer in found.layer
    assert bool(found.python) != found.layer.startswith("a recurrent layer that is not")


GRU_SHAPES = {"weight_ih_l0": (12, 2), "weight_hh_l0": (12, 4)}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"weight_ih_l0": (12, 0)}, "two axes with something in it"),
        ({"weight_hh_l0_g": (12, 1)}, "unexpected weight_hh_l0_g"),
        ({"weight_ih_l01": (12, 4), "bias_ih_l\u0660": (12,)}, "unexpected weight_ih_l01"),
        ({"initial_h": (2, 4)}, "initial_h should have shape (1, 4)"),
        ({"initial_c": (1, 4)}, "unexpected initial_c"),
        ({"weight_ih_l0": (4, 2), "weight_hh_l0": (4, 2), "weight_hr_l0": (2, 1)}, "proj"),
    ],
)
def test_what_no_line_would_load_has_none(more: Arrays, message: str) -> None:
    headers = shapes(**{f"rnn.{name}": of for name, of in (GRU_SHAPES | more).items()})
    [found] = found_layers(headers, "a.npz")
    assert found.python == ""
    assert message in found.layer
    # What stands under other names is no matter.
    headers = shapes(**GRU_SHAPES, **{f"rnn.{name}": (3, 2, 1, 1) for name in more})
    assert found_layers(headers, "a.npz")[0].layer == "GRU(2, 4, bias=False)"


def test_dtypes_that_no_line_would_load(tmp_path: Path) -> None:
    narrow = gatewise.GRU(2, 3, seed=0).quantize("int8").state_dict()
    narrow["weight_hh_l0"] = narrow["weight_hh_l0"].astype(np.float32)
    path = tmp_path / "a.npz"
    np.savez(path, **narrow)
    [found] = inspect(path).layers
    assert (found.name, found.python) == ("", "")
    assert "weight_hh_l0 should be int8 as others are, got float32" in found.layer


@pytest.mark.parametrize(
    "given",
    [
        {"weight": (3,), "bias": (3,)},
        {"weight": (3, 2), "bias": (2,)},
        {"weight": (3, 2, 2, 2), "bias": (3,)},
        {"weight": (0, 2), "bias": (0,)},
        {"bias": (3,)},
        {"my_weights": (3, 2)},
        {"optimizer.mean.0.weight": (3, 2)},
        {"a.optimizer_state/weight_ih_l0": (3, 2)},
    ],
)
def test_what_is_no_layer_is_not_called_one(given: Arrays) -> None:
    assert found_layers(shapes(**given), "a.npz") == []


HOSTILE = [
    '"',
    "'",
    "\"'",
    "'); raise SystemExit('harm') #",
    '"); raise SystemExit("harm") #',
    "\\",
    "\\'",
    "new\nline",
    "tab\tbell\x07escape\x1b[31m",
    "\u202eright to left",
    "é 🎸",
    "{0}",
    "%s",
    "\x00",
    "\ud800",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_literal_is_what_it_was(text: str) -> None:
    literal = quoted(text)
    assert eval(literal, {}) == text
    assert literal.isprintable()


@pytest.mark.parametrize("text", HOSTILE)
def test_names_in_a_file_do_no_harm(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    said = {f"{text}lin.weight": [[1.0, 2.0]], f"{text}lin.bias": [0.0], text: {"x": text}}
    path.write_bytes(amp_files.encoded(said))
    [found] = inspect(path).layers
    assert made(found).in_features == 2
    assert cli.main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines)
    assert f"    {found.python}" in lines
    assert cli.main(["inspect", "--json", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [array["name"] for array in told["arrays"]] == list(said)[:2]
    assert told["layers"][0]["python"] == found.python


@pytest.mark.skipif(os.name == "nt", reason="has no such names")
@pytest.mark.parametrize("text", [text for text in HOSTILE if text not in "\x00\ud800"])
def test_names_of_files_do_no_harm(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"{text}.npz"
    np.savez(path, weight=np.ones((1, 2)))
    [found] = inspect(path).layers
    assert made(found).in_features == 2
    assert cli.main(["inspect", str(path)]) == 0
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that are no text")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.npz"
    with open(path, "wb") as file:
        np.savez(file, weight=np.ones((1, 2)))
    [found] = inspect(os.fsdecode(path)).layers
    assert made(found).in_features == 2
    done = command("inspect", os.fsdecode(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\udcff" in done.stdout


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gatewise", *arguments],
        env=os.environ | {"GATEWISE_BACKEND": "numpy"} | variables,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_the_command_prints_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = {
        "lstm.weight_ih_l0": np.ones((8, 3), np.float32),
        "lstm.weight_hh_l0": np.ones((8, 2), np.float32),
        "scale": np.array(2.0),
    }
    with open("m.safetensors", "wb") as file:
        write_safetensors(file, arrays, {"note": "a\nb", "epoch": "3"})
    assert cli.main(["inspect", "m.safetensors"]) == 0
    printed = capsys.readouterr().out
    for line in (
        "m.safetensors: safetensors, 3 arrays, 41 numbers",
        "  note: 'a\\nb'",
        "  lstm.weight_ih_l0  float32  (8, 3)",
        "  lstm.weight_hh_l0  float32  (8, 2)",
        "  scale              float64  ()",
        "  LSTM(3, 2, bias=False)  lstm.",
        '    gatewise.LSTM.from_state_dict(gatewise.load_arrays("m.safetensors"), '
        'prefix="lstm.")',
    ):
        assert line in printed.splitlines()


def test_what_is_alike_takes_one_line_of_a_long_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "checkpoint.npz"
    layer = gatewise.LSTM(3, 2, num_layers=4)
    kept = {
        f"optimizer.state.{number}.{name}": array
        for number, array in enumerate(layer.state_dict().values())
        for name, array in {"step": np.float32(1), "mean": array}.items()
    }
    other = {"norm.weight": np.ones(2), "norm.bias": np.ones(2)}
    np.savez(path, **layer.to_state_dict("lstm."), **other, **kept)
    assert cli.main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("arrays") + 1
    names = [line.split()[0] for line in lines[start : lines.index("", start)]]
    assert names == [
        *layer.to_state_dict("lstm."),
        *other,
        "optimizer.state.*.step",
        "optimizer.state.*.mean",
        "where",
    ]
    told = [line.split(maxsplit=1)[1] for line in lines if " optimizer." in line]
    assert told == ["float32  16 arrays of shape ()", "float32  16 arrays of 3 shapes"]
    assert lines[-1] == "  in no layer that gatewise knows: norm.weight, norm.bias"
    assert cli.main(["inspect", "--json", str(path)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [array["name"] for array in said["arrays"]] == [
        *layer.to_state_dict("lstm."),
        *other,
        *kept,
    ]
    assert sorted(said["layers"][0]["arrays"]) == sorted(layer.to_state_dict("lstm."))


def test_the_command_fails_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": [1], "a": [2]}')
    for name, words in ((path, "twice"), (tmp_path / "none", "No such"), (tmp_path, "dir")):
        assert cli.main(["inspect", str(name)]) == 1
        out, error = capsys.readouterr()
        assert out == ""
        assert error.startswith(f"gatewise: error: {name}: ")
        assert words in error
        assert error.count("\n") == 1


# So that names do not differ in numbers.
LETTERS = str.maketrans("01", "ab")


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(
        amp_files.encoded({f"{k:b} array".translate(LETTERS): [1.0] for k in range(30_000)})
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "gatewise", "inspect", str(path)],
        env=os.environ | {"GATEWISE_BACKEND": "numpy"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        assert process.stdout.readline().endswith("30,000 arrays, 30,000 numbers\n")
        process.stdout.close()
        assert process.wait() == 1
        assert process.stderr.read() == ""


def test_a_terminal_without_signs_gets_what_python_reads(tmp_path: Path) -> None:
    path = tmp_path / "é.npz"
    np.savez(path, weight=np.ones((1, 2)))
    done = command("inspect", str(path), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    [line] = [line for line in done.stdout.splitlines() if "from_state_dict" in line]
    assert eval(line.strip(), {"gatewise": gatewise}).in_features == 2


def test_headers_alone_are_read(tmp_path: Path) -> None:
    path = tmp_path / "large.npz"
    np.savez(path, weight=np.ones((1000, 1000)))
    tracemalloc.start()
    try:
        assert inspect(path).layers
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_whatever_a_file_says_json_can_have_it() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    for value in (float("nan"), 10**5000, deep, {1: b"x"}, object(), {"a": {2, 3}}, -0.0):
        json.dumps(plain(value), allow_nan=False)
    assert plain({"a": (True, None, 2, 0.5, "x")}) == {"a": [True, None, 2, 0.5, "x"]}
