"""What from_keras and to_keras do with names, options, damaged files and hostile ones."""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.formats.keras import open_keras
from tests import new_process
from tests.formats import test_hdf5
from tests.formats.keras_files import contents, examples, figures

h5py = pytest.importorskip("h5py")

X = np.random.default_rng(3).normal(size=(2, 5, 3)).astype(np.float32)


def file_of(folder: Path, version: str, name: str) -> Path:
    path = folder / name
    path.write_bytes(contents(version)[name])
    return path


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "net", "layers": list(layers)}}


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, **config}}


def listed(
    path: Path,
    weights: dict[str, dict[str, np.ndarray]],
    config: Any = None,
    version: str | None = "2.2.4",
) -> Path:
    """A file with groups that list their arrays, and perhaps a configuration."""
    with h5py.File(path, "w") as file:
        group = file
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
            group = file.create_group("model_weights")
        if version is not None:
            file.attrs["keras_version"] = version
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for name, arrays in weights.items():
            own = group.create_group(name)
            own.attrs["weight_names"] = [key.encode() for key in arrays]
            for key, array in arrays.items():
                own[key] = array
    return path


def archive(path: Path, config: Any, weights: bytes, **others: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", json.dumps(config))
        file.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))
        file.writestr("model.weights.h5", weights)
        for name, content in others.items():
            file.writestr(name, content)
    return path


def lstm_arrays(name: str = "lstm", seed: int = 0) -> dict[str, np.ndarray]:
    arrays = gatewise.LSTM(3, 4, seed=seed).to_keras()
    words = ("kernel:0", "recurrent_kernel:0", "bias:0")
    return {f"{name}/{word}": array for word, array in zip(words, arrays, strict=True)}


def test_the_error_lists_the_recurrent_layers(tmp_path: Path) -> None:
    path = file_of(tmp_path, "3_15", "every.keras")
    with pytest.raises(gatewise.FormatError, match="recurrent layers") as caught:
        gatewise.from_keras(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    for key in figures("3_15"):
        word, *name = key.split("|")
        if name and word not in ("dense", "timed", "convolution"):
            assert repr(name[0]) in said
    with pytest.raises(gatewise.FormatError, match="no layer 'lstm_9'"):
        gatewise.from_keras(path, "lstm_9")


def test_inner_layers_have_names_of_their_own(tmp_path: Path) -> None:
    path = file_of(tmp_path, "3_15", "every.keras")
    short, full = (gatewise.from_keras(path, name) for name in ("deep", "inner/deep"))
    assert (short(X)[0] == full(X)[0]).all()


@pytest.mark.parametrize("ending", ["keras", "h5", "weights.h5"])
@pytest.mark.parametrize("version", ["3_15", "2_15", "2_13"])
def test_each_direction_of_two(tmp_path: Path, version: str, ending: str) -> None:
    path = file_of(tmp_path, version, f"every.{ending}")
    given: Any = {}
    name = "bidirectional"
    forward, backward = "forward_gru_4", "backward_gru_4"
    if ending == "weights.h5":
        home = "_layer_checkpoint_dependencies" if version == "2_13" else "layers"
        given, name = {"recurrent_activation": "sigmoid"}, f"{home}/bidirectional"
        forward, backward = "forward_layer", "backward_layer"
    both = gatewise.from_keras(path, name, **given)
    first = gatewise.from_keras(path, f"{name}/{forward}", **given)
    second = gatewise.from_keras(path, f"{name}/{backward}", go_backwards=True, **given)
    y = both(X)[0]
    np.testing.assert_allclose(first(X)[0], y[..., :3], atol=1e-6)
    np.testing.assert_allclose(second(X[:, ::-1])[0][:, ::-1], y[..., 3:], atol=1e-6)


def test_a_name_is_never_taken_for_the_place_of_another_layer(tmp_path: Path) -> None:
    """In paths the first LSTM is ``lstm``, whatever it is called."""
    options: Any = {"recurrent_activation": "sigmoid"}
    newer = file_of(tmp_path, "3_15", "every.weights.h5")
    by_name = gatewise.from_keras(newer, "lstm_1", **options)
    by_path = gatewise.from_keras(newer, "layers/lstm", **options)
    assert (by_name(X)[0] == by_path(X)[0]).all()
    older = file_of(tmp_path, "2_15", "every.weights.h5")
    with pytest.raises(gatewise.FormatError, match=r"no layer 'lstm_1'.*'layers/lstm_1'"):
        gatewise.from_keras(older, "lstm_1", **options)


def test_what_weights_alone_do_not_say_is_asked_for(tmp_path: Path) -> None:
    path = listed(tmp_path / "lstm.h5", {"lstm": lstm_arrays()})
    with pytest.raises(gatewise.FormatError, match="recurrent_activation") as caught:
        gatewise.from_keras(path)
    assert "'sigmoid'" in str(caught.value)
    assert "('hard_sigmoid', 0.2, 0.5)" in str(caught.value)
    old = gatewise.from_keras(path, recurrent_activation=("hard_sigmoid", 0.2, 0.5))
    new = gatewise.from_keras(path, "lstm", recurrent_activation="sigmoid")
    assert np.abs(old(X)[0] - new(X)[0]).max() > 1e-3

    arrays = gatewise.RNN(3, 4, seed=0).to_keras()
    named = {
        f"rnn/rnn/{w}": a
        for w, a in zip(("kernel", "recurrent_kernel", "bias"), arrays, strict=True)
    }
    path = listed(tmp_path / "rnn.h5", {"rnn": named})
    with pytest.raises(gatewise.FormatError, match=r"activation should be 'tanh'"):
        gatewise.from_keras(path)
    assert gatewise.from_keras(path, activation="relu").nonlinearity == "relu"  # type: ignore[attr-defined]

    arrays = gatewise.GRU(3, 4, bias=False, seed=0).to_keras()
    named = dict(zip(("kernel:0", "recurrent_kernel:0"), arrays, strict=True))
    path = listed(tmp_path / "gru.h5", {"gru": named})
    with pytest.raises(gatewise.FormatError, match="reset_after should be True"):
        gatewise.from_keras(path, recurrent_activation="sigmoid")
    for reset_after in (True, False):
        given: Any = {"recurrent_activation": "sigmoid", "reset_after": reset_after}
        assert gatewise.from_keras(path, **given).reset_after is reset_after  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("1.2.2", ("hard_sigmoid", 0.2)),
        ("2.2.4-tf", ("hard_sigmoid", 0.2)),
        ("2.16.0", ("hard_sigmoid", 0.2)),
        ("3.0.1", "hard_sigmoid"),
        ("4.0.0", "hard_sigmoid"),
    ],
)
def test_hard_sigmoid_is_that_of_the_version(
    tmp_path: Path, version: str, wanted: Any
) -> None:
    config = sequential(layer("LSTM", "lstm", recurrent_activation="hard_sigmoid", units=4))
    path = listed(tmp_path / "a.h5", {"lstm": lstm_arrays()}, config, version)
    found: Any = gatewise.from_keras(path)
    assert found.recurrent_activation == wanted


def test_hard_sigmoid_without_a_version_is_asked_for(tmp_path: Path) -> None:
    config = sequential(layer("LSTM", "lstm", recurrent_activation="hard_sigmoid"))
    path = listed(tmp_path / "a.h5", {"lstm": lstm_arrays()}, config, None)
    with pytest.raises(gatewise.FormatError, match="of which version"):
        gatewise.from_keras(path)


@pytest.mark.parametrize(
    ("activation", "wanted"),
    [
        (None, "linear"),
        ("selu", "selu"),
        (layer("LeakyReLU", "a", negative_slope=0.3), ("leaky_relu", 0.3)),
        (layer("LeakyReLU", "a", alpha=0.1), ("leaky_relu", 0.1)),
        (layer("ReLU", "a", max_value=None, negative_slope=0.0, threshold=0.0), "relu"),
        (layer("ThresholdedReLU", "a", theta=0.5), ("thresholded_relu", 0.5)),
    ],
)
def test_activations_of_a_configuration(
    tmp_path: Path, activation: Any, wanted: Any
) -> None:
    gate = {"recurrent_activation": "sigmoid"}
    config = sequential(layer("LSTM", "lstm", activation=activation, **gate))
    path = listed(tmp_path / "a.h5", {"lstm": lstm_arrays()}, config, "3.1.0")
    assert gatewise.from_keras(path).activation == wanted  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "activation",
    [
        "gelu",
        "my>swish",
        {
            "class_name": "function",
            "config": "evil",
            "module": "os",
            "registered_name": "x",
        },
        layer("ReLU", "a", max_value=6.0),
        layer("LeakyReLU", "a", negative_slope=float("nan")),
        layer("Lambda", "a", function=["4wEAAA", None, None]),
        3,
        ["tanh"],
    ],
)
def test_other_activations_are_refused_by_name(tmp_path: Path, activation: Any) -> None:
    config = sequential(
        layer("LSTM", "lstm", activation=activation, recurrent_activation="sigmoid")
    )
    path = listed(tmp_path / "a.h5", {"lstm": lstm_arrays()}, config, "3.1.0")
    with pytest.raises(gatewise.FormatError, match="'lstm' has the activation"):
        gatewise.from_keras(path)
    assert gatewise.from_keras(path, activation="relu").activation == "relu"  # type: ignore[attr-defined]


def first_version(kind: str, arrays: list[np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The arrays of Keras 1, one of each gate, made of those of Keras 2."""
    order = {"LSTM": "icfo", "GRU": "zrh"}[kind]
    kept = {"LSTM": "ifco", "GRU": "zrh"}[kind]
    blocks = [np.split(array, len(kept), axis=-1) for array in arrays]
    return {
        f"{name}_{letter}_{gate}": own[kept.index(gate)]
        for gate in order
        for letter, own in zip("WUb", blocks, strict=True)
    }


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("whole", [True, False])
def test_files_of_the_first_version(tmp_path: Path, kind: str, whole: bool) -> None:
    hard = ("hard_sigmoid", 0.2, 0.5)
    options: Any = {} if kind == "LSTM" else {"reset_after": False}
    make: Any = getattr(gatewise, kind)
    wanted = make(3, 4, seed=0, recurrent_activation=hard, **options)
    said = {"output_dim": 4, "inner_activation": "hard_sigmoid", "activation": "tanh"}
    # A Sequential's configuration was the list itself.
    config = {"class_name": "Sequential", "config": [layer(kind, "first", **said)]}
    path = listed(
        tmp_path / "a.h5",
        {"first": first_version(kind, wanted.to_keras(), "first")},
        config if whole else None,
        "1.2.2",
    )
    found: Any = gatewise.from_keras(path, recurrent_activation=None if whole else hard)
    assert found.recurrent_activation == wanted.recurrent_activation
    np.testing.assert_allclose(found(X)[0], wanted(X)[0], atol=1e-6)


def test_merge_modes_and_directions_are_to_be_known(tmp_path: Path) -> None:
    path = file_of(tmp_path, "3_15", "every.h5")
    summed = gatewise.from_keras(path, "bidirectional_1")
    assert summed.merge == "sum"
    apart = gatewise.from_keras(path, "bidirectional_1", merge_mode="concat")
    x = np.ones((1, 4, summed.input_size), np.float32)
    first, second = np.split(apart(x)[0], 2, axis=-1)
    np.testing.assert_allclose(summed(x)[0], first + second, rtol=0, atol=1e-6)
    for word in ("ave", "mul"):
        with pytest.raises(gatewise.FormatError, match="merge_mode should be 'sum', which"):
            gatewise.from_keras(path, "bidirectional_1", merge_mode=word)
    with pytest.raises(ValueError, match=r"merge_mode should be one of .* got 'max'"):
        gatewise.from_keras(path, "bidirectional_1", merge_mode="max")
    with pytest.raises(gatewise.FormatError, match="go_backwards=True"):
        gatewise.from_keras(path, "lstm_4")
    with pytest.raises(gatewise.FormatError, match="go_backwards should be False"):
        gatewise.from_keras(path, "lstm_1", go_backwards=True)


def test_a_layer_shared_by_two_models_is_found_in_both(tmp_path: Path) -> None:
    def inner(name: str) -> dict[str, Any]:
        own = layer("LSTM", "lstm", recurrent_activation="sigmoid", activation="tanh")
        shared = {**own, "shared_object_id": 7}
        return {"class_name": "Sequential", "config": {"name": name, "layers": [shared]}}

    content = io.BytesIO()
    arrays = gatewise.LSTM(3, 4, seed=0).to_keras()
    with h5py.File(content, "w") as file:
        for index, array in enumerate(arrays):
            file[f"layers/sequential/layers/lstm/cell/vars/{index}"] = array
    config = sequential(inner("first"), inner("second"))
    path = archive(tmp_path / "a.keras", config, content.getvalue())
    found = [gatewise.from_keras(path, f"{name}/lstm") for name in ("first", "second")]
    assert (found[0](X)[0] == found[1](X)[0]).all()


@pytest.mark.parametrize(
    ("config", "weights", "said"),
    [
        ({"units": 5}, 3, "5 units"),
        ({"units": True}, 3, "units"),
        ({"use_bias": False}, 3, "2 arrays, got 3"),
        ({}, 2, "3 arrays, got 2"),
        ({}, 0, "no arrays"),
    ],
)
def test_arrays_and_configuration_have_to_agree(
    tmp_path: Path, config: dict[str, Any], weights: int, said: str
) -> None:
    arrays = dict(list(lstm_arrays().items())[:weights])
    own = {"recurrent_activation": "sigmoid", "activation": "tanh", **config}
    path = listed(
        tmp_path / "a.h5", {"lstm": arrays}, sequential(layer("LSTM", "lstm", **own))
    )
    with pytest.raises(gatewise.FormatError, match=said):
        gatewise.from_keras(path)


@pytest.mark.parametrize(
    "config",
    [
        [],
        3,
        {},
        {"config": 3},
        {"config": {"layers": 3}},
        {"config": {"layers": [3]}},
        {"config": {"layers": [{}]}},
        {"config": {"layers": [{"class_name": ["LSTM"], "config": {"name": 3}}]}},
        sequential(layer("Bidirectional", "b")),
        sequential(layer("Bidirectional", "b", layer={"config": {}})),
        sequential(layer("RNN", "r")),
        sequential(layer("RNN", "r", cell=layer("StackedRNNCells", "s", cells=3))),
        sequential(layer("RNN", "r", cell=layer("Own", "s"))),
        sequential(layer("TimeDistributed", "t", layer=3)),
        sequential(layer("LSTM", "lstm", units=[4])),
    ],
)
def test_configurations_that_are_none(tmp_path: Path, config: Any) -> None:
    path = listed(tmp_path / "a.h5", {"dense": {}, "lstm": {}}, config)
    with pytest.raises(gatewise.FormatError):
        gatewise.from_keras(path)
    path = archive(tmp_path / "a.keras", config, b"")
    with pytest.raises(gatewise.FormatError):
        gatewise.from_keras(path)


def test_models_in_models_without_end(tmp_path: Path) -> None:
    config = sequential()
    for _ in range(60):
        config = sequential(config)
    path = listed(tmp_path / "a.h5", {"lstm": lstm_arrays()}, config)
    with pytest.raises(gatewise.FormatError, match="models in models"):
        gatewise.from_keras(path)


def test_integer_arrays_are_refused(tmp_path: Path) -> None:
    arrays = {name: array.astype(np.int8) for name, array in lstm_arrays().items()}
    path = listed(tmp_path / "a.h5", {"lstm": arrays})
    with pytest.raises(gatewise.FormatError, match="floating numbers, got int8"):
        gatewise.from_keras(path, recurrent_activation="sigmoid")


@pytest.mark.parametrize(("dtype", "wanted"), [("f2", "float32"), (">f8", "float64")])
def test_dtypes(tmp_path: Path, dtype: str, wanted: str) -> None:
    arrays = {name: array.astype(dtype) for name, array in lstm_arrays().items()}
    path = listed(tmp_path / "a.h5", {"lstm": arrays})
    assert gatewise.from_keras(path, recurrent_activation="sigmoid").dtype == wanted
    found = gatewise.from_keras(path, recurrent_activation="sigmoid", dtype="float32")
    assert found.dtype == "float32"


def test_simple_layers(tmp_path: Path) -> None:
    model = gatewise.Sequential(
        gatewise.Embedding(7, 3, seed=0),
        gatewise.GRU(3, 4, seed=1),
        gatewise.Linear(4, 2, seed=2),
        gatewise.Softmax(),
    )
    for ending in (".keras", ".h5"):
        path = tmp_path / f"a{ending}"
        gatewise.to_keras(model, path)
        for name, own in zip(("embedding", "gru", "dense"), model.layers, strict=False):
            found = gatewise.from_keras(path, name)
            for key, array in own.parameters().items():
                if not key.startswith("bias_hh"):
                    assert (found.parameters()[key] == array).all()
        with pytest.raises(gatewise.FormatError, match="class 'Activation'"):
            gatewise.from_keras(path, "activation")


def test_dense_with_an_activation(tmp_path: Path) -> None:
    arrays = {"dense/kernel:0": np.ones((3, 2), "f4"), "dense/bias:0": np.zeros(2, "f4")}
    config = sequential(layer("Dense", "dense", activation="softmax"))
    path = listed(tmp_path / "a.h5", {"dense": arrays}, config)
    whole = gatewise.from_keras(path, "dense")
    assert isinstance(whole, gatewise.Sequential)
    np.testing.assert_allclose(whole(X)[0], 0.5)
    before = gatewise.from_keras(path, "dense", activation="linear")
    assert isinstance(before, gatewise.Linear)
    with pytest.raises(
        gatewise.FormatError, match="no recurrent layer; layer may be 'dense'"
    ):
        gatewise.from_keras(path)


def variants() -> list[gatewise.layers.Recurrent]:
    options: Any = {"seed": 0}
    return [
        gatewise.RNN(3, 4, nonlinearity="relu", bidirectional=True, **options),
        gatewise.LSTM(3, 4, bias=False, **options),
        gatewise.LSTM(3, 4, dtype="float64", bidirectional=True, **options),
        gatewise.LSTM(3, 4, recurrent_activation="hard_sigmoid", **options),
        gatewise.GRU(3, 4, bidirectional=True, **options),
        gatewise.GRU(3, 4, reset_after=False, activation="softsign", **options),
    ]


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_there_and_back_bit_for_bit(
    tmp_path: Path, position: int, ending: str, backend: str
) -> None:
    # As it comes from Keras, with one bias where that has one.
    first = variants()[position]
    paths = [tmp_path / f"{number}{ending}" for number in range(2)]
    gatewise.to_keras(first, paths[0])
    second: Any = gatewise.from_keras(paths[0])
    assert repr(second) == repr(first)
    np.testing.assert_array_equal(first(X)[0], second(X)[0])
    gatewise.to_keras(second, paths[1])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    third: Any = gatewise.from_keras(paths[1])
    for name, array in second.parameters().items():
        assert array.tobytes() == third.parameters()[name].tobytes()


def test_several_layers_become_several(tmp_path: Path) -> None:
    model = gatewise.GRU(3, 4, 3, bidirectional=True, seed=0)
    path = tmp_path / "a.keras"
    gatewise.to_keras(model, path)
    names = ["bidirectional", "bidirectional_1", "bidirectional_2"]
    found = [gatewise.from_keras(path, name) for name in names]
    np.testing.assert_array_equal(gatewise.Sequential(*found)(X)[0], model(X)[0])


@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        (gatewise.LSTM(3, 4, proj_size=2), ValueError, "proj_size should be 0"),
        (gatewise.LSTM(3, 4, peepholes=True), ValueError, "peepholes should be False"),
        (gatewise.LSTM(3, 4, zoneout=0.1), ValueError, "zoneout should be 0"),
        (gatewise.LSTM(3, 4, cell_zoneout=0.1), ValueError, "cell_zoneout should be 0"),
        (
            gatewise.GRU(3, 4, recurrent_activation=("hard_sigmoid", 0.2, 0.5)),
            ValueError,
            "recurrent_activation should be one that Keras 3 has",
        ),
        (gatewise.GRU(3, 4).quantize("int8"), TypeError, "got int8"),
        (3, TypeError, "model should be a layer"),
    ],
)
def test_what_keras_has_not(
    tmp_path: Path, model: Any, error: type[Exception], said: str
) -> None:
    path = tmp_path / "a.keras"
    with pytest.raises(error, match=said):
        gatewise.to_keras(model, path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["a.weights.h5", "a.onnx", "keras"])
def test_other_endings(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"path should end in \.keras or \.h5"):
        gatewise.to_keras(gatewise.GRU(3, 4), tmp_path / name)


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"PK\3\4" * 9, b"\x89HDF\r\n\x1a\n", b"no"]
)
def test_other_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.keras"
    path.write_bytes(content)
    with pytest.raises(gatewise.FormatError, match=r"a\.keras: "):
        gatewise.from_keras(path)
    with pytest.raises(FileNotFoundError):
        gatewise.from_keras(tmp_path / "nothing.keras")
    with pytest.raises(gatewise.FormatError, match="directory"):
        gatewise.from_keras(tmp_path)


def test_archives_that_lack_something() -> None:
    for missing in ("config.json", "metadata.json", "model.weights.h5"):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as file:
            for name in ("config.json", "metadata.json", "model.weights.h5"):
                if name != missing:
                    file.writestr(name, "{}")
        with pytest.raises(gatewise.FormatError, match=missing):
            open_keras(content)


HOSTILE_CONFIGS = {
    "lambda": sequential(layer("Lambda", "l", function=["4wEAAAAAAAAA", None, None])),
    "module": {
        **layer("system", "l"),
        "module": "os",
        "class_name": "system",
        "config": "touch /tmp/owned",
    },
    "torch": sequential(
        {**layer("TorchModuleWrapper", "t", module="cPickle"), "module": "x"}
    ),
}

WATCH = """
import sys, gatewise
from pathlib import Path
folder = Path(sys.argv[1])
paths = sorted(folder.iterdir())
# What is imported when it is first needed.
gatewise.from_keras(folder / "0good.keras")
gatewise.from_keras(folder / "0good.h5")
events = []
def watch(event, arguments):
    if event == "open":
        # A number is what is open already.
        if arguments[0] != str(current) and not isinstance(arguments[0], int):
            events.append((current.name, event, str(arguments[0])))
    elif event.split(".")[0] in ("import", "compile", "exec", "subprocess", "socket",
            "ctypes", "pickle", "shutil", "tempfile", "mmap", "urllib"):
        events.append((current.name, event, str(arguments[:1])))
    elif event in ("os.system", "os.exec", "os.fork", "os.listdir", "os.remove"):
        events.append((current.name, event, str(arguments[:1])))
current = folder
sys.addaudithook(watch)
refused = 0
for current in paths:
    try:
        gatewise.from_keras(current)
    except gatewise.FormatError:
        refused += 1
found = list(events)
assert not found, found
assert "h5py" not in sys.modules
print(refused, len(paths))
"""


def test_nothing_but_the_file_is_opened_and_nothing_is_run(tmp_path: Path) -> None:
    good = gatewise.LSTM(3, 4, seed=0)
    for ending in (".keras", ".h5"):
        gatewise.to_keras(good, tmp_path / f"0good{ending}")
    weights = contents("3_15")["every.weights.h5"]
    for name, (write, options, _) in test_hdf5.HOSTILE.items():
        content = test_hdf5.written(write, **options).getvalue()
        (tmp_path / f"{name}.h5").write_bytes(content)
        archive(tmp_path / f"{name}.keras", sequential(), content)
    for name, config in HOSTILE_CONFIGS.items():
        archive(tmp_path / f"{name}.keras", config, weights)
    archive(tmp_path / "up.keras", sequential(), weights, **{"../../up": b"x"})
    archive(tmp_path / "root.keras", sequential(), weights, **{"/etc/up": b"x"})
    ran = new_process.run_command([sys.executable, "-c", WATCH, str(tmp_path)])
    assert ran.returncode == 0, ran.stderr
    refused, count = map(int, ran.stdout.split())
    assert refused == count - 2


def test_a_keras_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    gatewise.to_keras(gatewise.RNN(1, 1, seed=0), path)
    whole = path.read_bytes()
    open_keras(io.BytesIO(whole))
    for end in range(len(whole)):
        with pytest.raises(gatewise.FormatError):
            open_keras(io.BytesIO(whole[:end]))


def test_load_arrays_reads_every_example(tmp_path: Path) -> None:
    for number, content in enumerate(examples()):
        path = tmp_path / str(number)
        path.write_bytes(content)
        arrays = gatewise.load_arrays(path)
        assert arrays.format == ("keras" if content[:2] == b"PK" else "hdf5")
        assert all(array.dtype == np.float32 for array in arrays.values())
        assert len(arrays) > 5


def test_a_reset_form_that_contradicts_the_bias(tmp_path: Path) -> None:
    arrays = gatewise.GRU(3, 4, reset_after=False, seed=0).to_keras()
    named = dict(zip(("kernel", "recurrent_kernel", "bias"), arrays, strict=True))
    own = {"recurrent_activation": "sigmoid", "activation": "tanh", "reset_after": True}
    path = listed(tmp_path / "a.h5", {"gru": named}, sequential(layer("GRU", "gru", **own)))
    with pytest.raises(gatewise.FormatError, match="reset_after should be False"):
        gatewise.from_keras(path)


def test_arguments_are_looked_at_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "nothing.keras"
    for error, given, said in (
        (ValueError, {"activation": "gelu"}, "activation should be one of"),
        (ValueError, {"recurrent_activation": "softmax"}, "recurrent_activation should be"),
        (TypeError, {"activation": 3}, "activation should be the name"),
        (ValueError, {"dtype": "float16"}, "dtype should be float32 or float64"),
        (TypeError, {"layer": 3}, "layer should be a name or None, got 3"),
    ):
        with pytest.raises(error, match=said) as caught:
            gatewise.from_keras(path, **given)  # type: ignore[call-overload]
        assert not isinstance(caught.value, gatewise.FormatError)


def test_there_are_examples_to_change() -> None:
    assert len(examples()) == 3 + 7 + 7
    assert {each[:2] for each in examples()} == {b"PK", b"\x89H"}


def test_a_convolution_out_of_weights_alone(tmp_path: Path) -> None:
    layer, path = gatewise.Conv1d(3, 4, 5, padding="causal", seed=0), tmp_path / "m.keras"
    gatewise.to_keras(gatewise.Sequential(layer, gatewise.GRU(4, 2)), path)
    with zipfile.ZipFile(path) as archive:
        weights = Path(archive.extract("model.weights.h5", tmp_path))
    with pytest.raises(gatewise.FormatError, match="does not say stride, pad") as refused:
        gatewise.from_keras(weights, "layers/conv1d")
    # What it says to do works.
    [name] = re.findall(r"the array '(.*)' of gatewise\.load_arrays", str(refused.value))
    arrays = gatewise.load_arrays(weights)
    assert arrays[name].shape == (5, 3, 4)
    again = gatewise.Conv1d.from_state_dict(
        {"weight": arrays[name].transpose(2, 1, 0), "bias": arrays[name[:-1] + "1"]},
        padding="causal",
    )
    x = np.ones((1, 7, 3), np.float32)
    assert (again(x) == layer(x)).all()
