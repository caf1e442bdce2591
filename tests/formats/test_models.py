"""``gatewise.save`` and ``gatewise.load``: the same network, or one clear refusal."""

from __future__ import annotations

import copy
import io
import json
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise import layers
from gatewise.formats import architecture
from gatewise.formats.own import checksum
from gatewise.formats.safetensors import open_safetensors, write_safetensors
from gatewise.layers import Module
from tests.data import make_saved

SAVED = Path(make_saved.__file__).with_name("saved_1")
MODELS = make_saved.models()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def content_of(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a file says, and its arrays."""
    container = open_safetensors(io.BytesIO(path.read_bytes()))
    arrays = {name: container.read(name) for name in container.headers}
    return json.loads(container.metadata["gatewise"]), arrays


def put_together(path: Path, said: Any, arrays: dict[str, Any]) -> None:
    text = said if isinstance(said, str) else json.dumps(said)
    with open(path, "wb") as file:
        checked = f"{zlib.crc32(text.encode()):08x}"
        write_safetensors(file, arrays, {"gatewise": text, "gatewise.crc32": checked})


def write_claim(path: Path, said: Any, arrays: dict[str, Any]) -> None:
    """Write a file that says that it has a network of this architecture."""
    put_together(
        path,
        {
            "layout": 1,
            "written_by": "9.9",
            "kind": "model",
            "metadata": {},
            "arrays": {name: checksum(array) for name, array in arrays.items()},
            "network": {"prefix": "", "architecture": said},
        },
        arrays,
    )


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    assert repr(found) == repr(expected)
    own, wanted = found.parameters(), expected.parameters()
    assert list(own) == list(wanted)
    for name, array in wanted.items():
        assert own[name].dtype == array.dtype
        assert own[name].tobytes() == array.tobytes()
        assert not own[name].flags.writeable


@pytest.mark.parametrize("name", MODELS)
def test_the_same_network_comes_back(path: Path, backend: str, name: str) -> None:
    features, model = MODELS[name]
    gatewise.save(model, path)
    loaded = gatewise.load(path)
    assert_same(loaded, model)
    x = make_saved.outputs(model, features)
    assert make_saved.outputs(loaded, features).tobytes() == x.tobytes()
    before = path.read_bytes()
    gatewise.save(loaded, path)
    assert path.read_bytes() == before
    # What it has is its own, and as good as new.
    if name not in ("lstm_float16", "lstm_int8", "sequential_int8"):
        again = copy.deepcopy(loaded)
        again.set_parameters({n: a + 1 for n, a in again.parameters().items()})
        assert_same(loaded, model)


@pytest.mark.parametrize("name", [*MODELS, "train", "fit"])
def test_files_of_the_first_layout_load_for_ever(backend: str, name: str) -> None:
    path = SAVED / f"{name}.safetensors"
    model = gatewise.load(path)
    metadata = gatewise.load_metadata(path)
    features = metadata.get("features", {"train": 0, "fit": 3}.get(name))
    assert repr(model) == metadata.get("repr", repr(model))
    with np.load(SAVED / "outputs.npz") as expected:
        found = make_saved.outputs(model, features)
        assert found.dtype == expected[name].dtype.newbyteorder("=")
        # Integers were multiplied by what was no integer then.
        limit = 1e-4 if name.endswith("int8") else 1e-6
        np.testing.assert_allclose(found, expected[name], rtol=1e-5, atol=limit)


def test_shared_layers_stay_shared(path: Path) -> None:
    _, model = MODELS["sequential"]
    gatewise.save(model, path)
    loaded = gatewise.load(path)
    assert loaded.layers[0] is loaded.layers[4]
    inner = gatewise.Sequential(gatewise.Linear(2, 2), gatewise.ReLU())
    gatewise.save(gatewise.Sequential(inner, gatewise.Sequential(inner, inner)), path)
    loaded = gatewise.load(path)
    assert loaded.layers[0] is loaded.layers[1].layers[0] is loaded.layers[1].layers[1]
    assert loaded.parameter_count == 6


def test_options_are_kept(path: Path) -> None:
    dropping = gatewise.Dropout(0.125)
    dropping.p = 0.25
    layer = gatewise.GRU(2, 3, 2, dropout=0.5, recurrent_dropout=0.25, variational=True)
    gatewise.save(gatewise.Sequential(layer, dropping), path)
    loaded = gatewise.load(path)
    assert loaded.layers[1].p == 0.25
    assert loaded.layers[0]._arguments() == layer._arguments()
    # A warning was given when the layer was made.
    with pytest.warns(UserWarning, match="num_layers=1"):
        odd = gatewise.GRU(2, 3, dropout=0.5)
    gatewise.save(odd, path)
    assert gatewise.load(path).dropout == 0.5


def test_training_goes_on_after_loading(path: Path) -> None:
    model = gatewise.Sequential(gatewise.GRU(3, 4, seed=1), gatewise.Linear(4, 1, seed=2))
    gatewise.save(model, path)
    loaded = gatewise.load(path)
    x = make_saved.inputs(3)
    losses = []
    for net in (model, loaded):
        epochs = gatewise.fit(
            net, [(x, x[..., :1])], gatewise.mse, gatewise.Adam(), epochs=3, progress=False
        )
        losses.append([epoch.loss for epoch in epochs])
    assert losses[0] == losses[1]


def test_metadata_comes_back(path: Path) -> None:
    metadata = {"labels": ["a", "é漢"], "rate": 16000, "nested": {"x": [1.5, None, True]}}
    gatewise.save(gatewise.Linear(2, 1), path, metadata=metadata)
    assert gatewise.load_metadata(path) == metadata
    gatewise.save(gatewise.Linear(2, 1), path)
    assert gatewise.load_metadata(path) == {}
    with open(path, "wb") as file:
        write_safetensors(file, {}, {"format": "pt"})
    assert gatewise.load_metadata(path) == {"format": "pt"}


def test_other_readers_have_the_arrays(path: Path) -> None:
    layer = gatewise.LSTM(2, 3)
    gatewise.save(layer, path)
    library = pytest.importorskip("safetensors.numpy")
    for found in (gatewise.load_arrays(path), library.load_file(path)):
        other = gatewise.LSTM(2, 3)
        other.load_state_dict(found)
        assert_same(other, layer)


class Mine(gatewise.LSTM):
    pass


def nested(depth: int) -> Any:
    model: Module = gatewise.Tanh()
    for _ in range(depth):
        model = gatewise.Sequential(model)
    return model


def doubled(times: int) -> Any:
    model: Module = gatewise.Tanh()
    for _ in range(times):
        model = gatewise.Sequential(model, model)
    return model


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (lambda: Mine(2, 3), {}, TypeError, "gatewise's own layers, got Mine"),
        (
            lambda: gatewise.Sequential(gatewise.Tanh(), Mine(2, 3)),
            {},
            TypeError,
            "gatewise's own layers, got Mine",
        ),
        (lambda: {"a": np.ones(1)}, {}, TypeError, "model should be a layer, got dict"),
        (lambda: gatewise.Tanh, {}, TypeError, "model should be a layer, got ABCMeta"),
        (lambda: nested(101), {}, ValueError, "at most 100 deep"),
        (lambda: doubled(14), {}, ValueError, "at most 10000 places"),
        (gatewise.Tanh, {"metadata": {"a": object()}}, TypeError, "not JSON serializable"),
        (gatewise.Tanh, {"metadata": [1]}, TypeError, "metadata should be a dictionary"),
    ],
)
def test_what_cannot_be_saved_leaves_the_old_file(
    path: Path, make: Callable[[], Any], options: Any, error: type[Exception], message: str
) -> None:
    path.write_bytes(b"old")
    with pytest.raises(error, match=message):
        gatewise.save(make(), path, **options)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_every_layer_there_is_can_be_saved() -> None:
    bases = {"Feedforward", "Layer", "Module", "Recurrent", "Stateful", "Streaming"}
    kinds = {
        name
        for name in layers.__all__
        if isinstance(kind := getattr(layers, name), type) and issubclass(kind, Module)
    }
    assert architecture.CLASSES.keys() == kinds - bases


SIZES: dict[str, dict[str, Any]] = {
    "Linear": {"in_features": 50_000, "out_features": 50_000},
    "Embedding": {"num_embeddings": 1 << 30, "embedding_dim": 1 << 30},
    **{
        cell: {"input_size": 50_000, "hidden_size": 50_000, "num_layers": 3}
        for cell in ("RNN", "LSTM", "GRU")
    },
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("more", [{}, {"initial_state": True}, {"weight_format": "int8"}])
def test_a_small_file_that_claims_a_large_layer_takes_no_memory(
    path: Path, name: str, more: Any
) -> None:
    arrays = {f"a{i}": np.zeros(3, np.float32) for i in range(50)}
    write_claim(path, {"class": name, "arguments": SIZES[name], **more}, arrays)
    tracemalloc.start()
    try:
        with pytest.raises(gatewise.FormatError, match=r"missing|should be"):
            gatewise.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def chain(depth: int) -> Any:
    said: Any = {"class": "Tanh", "arguments": {}}
    for _ in range(depth):
        said = {"class": "Sequential", "layers": [said]}
    return said


def laughs() -> Any:
    """Each layer holds the one before it twice."""
    said: Any = {"class": "Tanh", "arguments": {}}
    way = "0." * 59 + "0"
    for _ in range(60):
        said = {"class": "Sequential", "layers": [said, {"same_as": way}]}
        way = way[:-2]
    return said


LINEAR = {"class": "Linear", "arguments": {"in_features": 2, "out_features": 1}}
WEIGHTS = {"weight": np.ones((1, 2), np.float32), "bias": np.zeros(1, np.float32)}
GRU = {"class": "GRU", "arguments": {"input_size": 2, "hidden_size": 1}}


def linear(**changes: Any) -> Any:
    return {"class": "Linear", "arguments": LINEAR["arguments"] | changes}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"class": "Module", "arguments": {}},
            "should be one of GRU, LSTM, .*got 'Module'",
        ),
        ({"class": "os.system", "arguments": {}}, "got 'os.system'; another gatewise may"),
        ({"class": ["Linear"], "arguments": {}}, "should be a text"),
        ({"arguments": {}}, "class is missing"),
        ({"class": "Linear"}, "arguments is missing"),
        ([], "should be a dictionary"),
        (linear(swish=True), "Linear has no option 'swish'; another gatewise may know it"),
        (linear(seed=1), "no option 'seed'"),
        (linear(bias=1), "should have a bias such as True, got 1"),
        (linear(in_features=2.0), "cannot be made: in_features should be an integer"),
        (linear(in_features=True), "should have a in_features such as 1, got True"),
        (linear(in_features=-1), "cannot be made: in_features should be at least 1"),
        (linear(in_features=10**400), "cannot be made: in_features should be at most"),
        (linear(in_features=[2]), "cannot be made: in_features should be an integer"),
        (linear(in_features=3), r"weight should be float32 \(1, 3\), got float32 \(1, 2\)"),
        (linear(dtype="float64"), r"weight should be float64 \(1, 2\), got float32"),
        (linear(dtype="f4"), "should have a dtype such as 'float32', got 'f4'"),
        (linear(dtype="object"), "cannot be made: dtype should be float32 or float64"),
        (linear(bias=False), "'bias' is an array too many"),
        (
            {"class": "GRU", "arguments": GRU["arguments"] | {"num_layers": 2**31 - 1}},
            "not so many arrays",
        ),
        (
            {"class": "GRU", "arguments": GRU["arguments"] | {"activation": [["tanh"]]}},
            "cannot be made: activation should be",
        ),
        ({**GRU, "weight_format": "int4"}, "weight_format should be one of|not so many"),
        ({"class": "Sequential", "layers": []}, "should be at least one layer"),
        ({"class": "Sequential", "layers": {}}, "should be a list of dictionaries"),
        ({"class": "Sequential", "layers": [LINEAR, LINEAR]}, "not so many|should take"),
        ({"class": "Sequential", "layers": [{"same_as": ""}]}, "is the same as ''"),
        ({"class": "Sequential", "layers": [{"same_as": "0"}]}, "is the same as '0'"),
        ({"class": "Sequential", "layers": [{"same_as": 1}]}, "should be a text"),
        (chain(101), "nested too deep"),
        (laughs(), "more than 10000 places"),
        (
            {
                "class": "Sequential",
                "layers": [{"class": "Tanh", "arguments": {}}] * 10_000,
            },
            "more than 10000 places",
        ),
    ],
)
def test_architectures_that_are_none_are_refused(
    path: Path, said: Any, message: str
) -> None:
    write_claim(path, said, WEIGHTS)
    with pytest.raises(gatewise.FormatError, match=message) as caught:
        gatewise.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < len(str(path)) + 600


def test_a_description_that_has_no_end_in_sight_is_refused(path: Path) -> None:
    write_claim(path, "@", WEIGHTS)
    said, _ = content_of(path)
    layers = '{"class":"Sequential","layers":[' * 100_000 + "]}" * 100_000
    put_together(path, json.dumps(said).replace('"@"', layers), WEIGHTS)
    with pytest.raises(gatewise.FormatError, match="too deep"):
        gatewise.load(path)


def test_layers_a_hundred_deep_come_back(path: Path) -> None:
    model = nested(100)
    gatewise.save(model, path)
    assert repr(gatewise.load(path)) == repr(model)


@pytest.mark.parametrize("scale", [np.nan, np.inf])
def test_parameters_that_no_layer_takes_are_refused(path: Path, scale: float) -> None:
    gatewise.save(gatewise.GRU(2, 3).quantize("int8"), path)
    said, arrays = content_of(path)
    arrays["weight_ih_l0_scale"][0] = scale
    said["arrays"] = {name: checksum(array) for name, array in arrays.items()}
    put_together(path, said, arrays)
    with pytest.raises(gatewise.FormatError, match="scale should hold finite numbers"):
        gatewise.load(path)


def test_later_layouts_are_refused_with_the_version_that_knows_them(path: Path) -> None:
    gatewise.save(gatewise.Linear(2, 1), path)
    said, arrays = content_of(path)
    put_together(path, said | {"layout": 2, "written_by": "3.0"}, arrays)
    for load in (gatewise.load, gatewise.load_metadata):
        with pytest.raises(
            gatewise.FormatError,
            match=r"version 2 of the layout, written by gatewise '3\.0'; this .* version 1",
        ):
            load(path)
    assert gatewise.load_arrays(path).keys() == {"weight", "bias"}


def test_no_damaged_byte_changes_what_is_loaded(path: Path) -> None:
    model = gatewise.Sequential(gatewise.GRU(2, 2, seed=1).quantize("int8"))
    gatewise.save(model, path, metadata={"a": 1})
    content = path.read_bytes()
    noticed = 0
    places = range(1, len(content), 3)
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 0x11
        path.write_bytes(damaged)
        try:
            loaded, metadata = gatewise.load(path), gatewise.load_metadata(path)
        except gatewise.FormatError:
            noticed += 1
        else:
            # It belonged to the padding, or to what nothing depends on.
            assert_same(loaded, model)
            assert metadata == {"a": 1}
    assert noticed > 0.98 * len(places)


def test_files_of_others_are_refused(path: Path) -> None:
    with open(path, "wb") as file:
        write_safetensors(file, WEIGHTS, {"format": "pt"})
    with pytest.raises(gatewise.FormatError, match="not written by gatewise"):
        gatewise.load(path)
    path.unlink()
    with open(path, "wb") as file:
        np.savez(file, **WEIGHTS)
    with pytest.raises(
        gatewise.FormatError, match=r"got NumPy's \.npz file; .gatewise inspect"
    ):
        gatewise.load(path)
    gatewise.training.save_checkpoint(path, "example", WEIGHTS, {})
    with pytest.raises(gatewise.FormatError, match="holds 'example', and no network"):
        gatewise.load(path)


def test_saving_and_loading_take_the_memory_of_the_file(path: Path) -> None:
    model = gatewise.Sequential(*(gatewise.Linear(1000, 1000) for _ in range(8)))
    size = 8 * 4_004_000
    # Where numbers have the other order of bytes, a copy of one array is turned round.
    copied = 4_004_000 if sys.byteorder == "big" else 0
    tracemalloc.start()
    try:
        gatewise.save(model, path)
        assert tracemalloc.get_traced_memory()[1] < copied + (2 << 20)
        tracemalloc.reset_peak()
        gatewise.load(path)
        assert tracemalloc.get_traced_memory()[1] < size + copied + (2 << 20)
    finally:
        tracemalloc.stop()


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({1: "a", "1": "b"}, "got one of which it says '1' twice"),
        ({"a": [0] * (1 << 22)}, "got one of which it has more than 4194304 entries"),
        ({"a": deep(100_000)}, "nested less deep"),
    ],
)
def test_metadata_that_could_not_be_read_again_is_not_written(
    metadata: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    gatewise.save(gatewise.GRU(1, 2), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        gatewise.save(gatewise.GRU(1, 2), path, metadata=metadata)
    assert path.read_bytes() == before


def test_metadata_of_another_format_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    np.savez(path, a=1)
    with pytest.raises(gatewise.FormatError, match="is npz, and should be safetensors"):
        gatewise.load_metadata(path)
