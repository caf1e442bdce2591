"""Networks of guitar amplifiers: right to the last number, back as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.formats.json.nam import open_nam
from gatewise.formats.json.networks import open_json
from tests.formats import amp_files
from tests.formats.amp_files import Json

FIGURES = Path(__file__).parents[1] / "data" / "amp_figures.npz"


def written(directory: Path, said: Json) -> Path:
    path = directory / "file.json"
    path.write_bytes(amp_files.encoded(said))
    return path


def close(got: Any, wanted: Any) -> bool:
    return bool(got.shape == wanted.shape and np.abs(got - wanted).max() < 2e-6)


@pytest.mark.parametrize("number", range(len(amp_files.NAM_SIZES)))
def test_nam_is_as_its_page_and_its_program_say(
    backend: str, number: int, tmp_path: Path
) -> None:
    sizes = amp_files.NAM_SIZES[number]
    said = amp_files.nam_file(*sizes, seed=number)
    network = gatewise.from_nam(written(tmp_path, said))
    x = amp_files.samples(sizes[0], 40)
    y, _ = network(x[None])
    assert close(y[0], amp_files.run_nam(said, x))
    with np.load(FIGURES) as figures:
        assert close(y[0], figures[f"nam_{number}"])
    # From its own start state, as a stream too.
    stream = gatewise.layers.Stream(network)
    streamed = np.concatenate([stream(x[None, :25]), stream(x[None, 25:])], axis=1)
    assert np.array_equal(streamed, y) if backend == "native" else close(streamed, y)


@pytest.mark.parametrize("number", range(len(amp_files.KINDS)))
def test_rtneural_is_as_its_page_and_its_program_say(
    backend: str, number: int, tmp_path: Path
) -> None:
    inputs = 1 + number % 2
    said = amp_files.rtneural_file(amp_files.KINDS[number], inputs, seed=number)
    network = gatewise.from_rtneural(written(tmp_path, said))
    x = amp_files.samples(inputs, 40)
    y, _ = network(x[None])
    assert close(y[0], amp_files.run_rtneural(said, x))
    with np.load(FIGURES) as figures:
        assert close(y[0], figures[f"rtneural_{number}"])


@pytest.mark.parametrize("unit", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("layers", [1, 2])
def test_guitarml_is_as_its_training_says(
    backend: str, unit: str, layers: int, tmp_path: Path
) -> None:
    said = amp_files.guitarml_file(unit, 2, 5, layers=layers)
    network = gatewise.from_rtneural(written(tmp_path, said))
    x = amp_files.samples(2, 30)
    assert close(network(x[None])[0][0], amp_files.run_guitarml(said, x))


@pytest.mark.parametrize("unit", ["LSTM", "GRU", "RNN"])
def test_guitarml_is_as_torch_says(unit: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    said = amp_files.guitarml_file(unit, 1, 6, layers=2)
    cell = getattr(torch.nn, unit)(1, 6, 2, batch_first=True)
    head = torch.nn.Linear(6, 1)
    state = {name: torch.tensor(value) for name, value in said["state_dict"].items()}
    for module, prefix in ((cell, "rec."), (head, "lin.")):
        module.load_state_dict(
            {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
        )
    x = amp_files.samples(1, 30)[None]
    with torch.no_grad():
        wanted = head(cell(torch.tensor(x))[0]).numpy()
    assert close(gatewise.from_rtneural(written(tmp_path, said))(x)[0], wanted)


def test_an_aida_file_gives_what_it_says_that_it_gives(tmp_path: Path) -> None:
    said = amp_files.aida_file(1)
    path = written(tmp_path, said)
    with path.open("rb") as file:
        container = open_json(file)
        x, y = container.read("input_batch"), container.read("output_batch")
    assert container.format == "rtneural"
    assert container.metadata["metadata"]["samplerate"] == "48000"
    got, _ = gatewise.from_rtneural(path)(x.reshape(1, -1, 1))
    assert close(got.ravel(), y)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"in_skip": 1}, r"adds the input to the output \(in_skip\)"),
        ({"in_gain": -3}, r"makes the input louder by -3 dB \(in_gain\)"),
        ({"out_gain": 0.5}, r"makes the output louder by 0.5 dB \(out_gain\)"),
        ({"in_skip": 1, "out_gain": 2}, r"\(in_skip, out_gain\)"),
    ],
)
def test_what_is_no_layer_is_not_left_out_silently(
    more: Json, words: str, tmp_path: Path
) -> None:
    plain = amp_files.aida_file(1)
    x = amp_files.samples(1, 5)[None]
    wanted, _ = gatewise.from_rtneural(written(tmp_path, plain))(x)
    path = written(tmp_path, {**plain, **more})
    with pytest.raises(gatewise.FormatError, match=words):
        gatewise.from_rtneural(path)
    network = gatewise.from_rtneural(path, network_only=True)
    assert np.array_equal(network(x)[0], wanted)
    with path.open("rb") as file:
        assert more.items() <= open_json(file).metadata.items()


@pytest.mark.parametrize("skip", [1, 2, True])
def test_guitarmls_sum_is_not_left_out_silently(skip: Any, tmp_path: Path) -> None:
    path = written(tmp_path, amp_files.guitarml_file("LSTM", 2, 3, skip=skip))
    with pytest.raises(gatewise.FormatError, match="adds the input to the output"):
        gatewise.from_rtneural(path)
    assert len(gatewise.from_rtneural(path, network_only=True).layers) == 2


@pytest.mark.parametrize("nothing", [0, 0.0, None])
def test_nothing_around_a_network_is_nothing(nothing: Any, tmp_path: Path) -> None:
    around = dict.fromkeys(("in_skip", "in_gain", "out_gain"), nothing)
    gatewise.from_rtneural(written(tmp_path, amp_files.aida_file(1) | around))
    said = amp_files.guitarml_file("GRU", 1, 3)
    said["model_data"]["skip"] = nothing or False
    gatewise.from_rtneural(written(tmp_path, said))


@pytest.mark.parametrize("sizes", amp_files.NAM_SIZES)
def test_nam_goes_back_bit_for_bit(
    sizes: tuple[int, int, int, int], tmp_path: Path
) -> None:
    said = amp_files.nam_file(*sizes, sample_rate=44100, metadata={"name": "amp 🎸"})
    # A negative zero in a bias, in a weight and in a state, and the smallest number.
    units, read = sizes[1], sizes[0]
    bias = 4 * units * (read + units)
    for place in (0, bias, bias + 4 * units, bias + 5 * units):
        said["weights"][place] = -0.0
    said["weights"][1] = float(np.float32(1e-45))
    path = written(tmp_path, said)
    back = tmp_path / "back.nam"
    gatewise.to_nam(
        gatewise.from_nam(path), back, sample_rate=44100, metadata=said["metadata"]
    )
    again = json.loads(back.read_text())
    for name in ("architecture", "config", "sample_rate", "metadata"):
        assert again[name] == said[name]
    assert repr(again["weights"]) == repr(said["weights"])
    second = tmp_path / "second.nam"
    gatewise.to_nam(
        gatewise.from_nam(back), second, sample_rate=44100, metadata=said["metadata"]
    )
    assert second.read_bytes() == back.read_bytes()


def test_any_such_network_can_go_to_nam(tmp_path: Path) -> None:
    model = gatewise.Sequential(
        gatewise.LSTM(1, 4, 2, bias=False, dtype="float64", dropout=0.3, seed=0),
        gatewise.Linear(4, 1, bias=False, dtype="float64", seed=1),
    )
    path = tmp_path / "amp.nam"
    gatewise.to_nam(model, path, sample_rate=None)
    assert "sample_rate" not in json.loads(path.read_text())
    x = amp_files.samples(1, 20)[None]
    assert close(gatewise.from_nam(path)(x)[0], model(x)[0])


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([gatewise.GRU(1, 3), gatewise.Linear(3, 1)], "an LSTM and a Linear"),
        ([gatewise.LSTM(1, 3)], "an LSTM and a Linear"),
        ([gatewise.LSTM(1, 3), gatewise.Linear(3, 1), gatewise.Tanh()], "an LSTM and a"),
        ([gatewise.LSTM(1, 3, bidirectional=True), gatewise.Linear(6, 1)], "bidirectional"),
        ([gatewise.LSTM(1, 3, proj_size=2), gatewise.Linear(2, 1)], "proj_size=0"),
        ([gatewise.LSTM(1, 3, peepholes=True), gatewise.Linear(3, 1)], "peepholes=False"),
        ([gatewise.LSTM(1, 3, activation="relu"), gatewise.Linear(3, 1)], "activation"),
        ([gatewise.LSTM(1, 3, zoneout=0.1), gatewise.Linear(3, 1)], "zoneout=0.0"),
        ([gatewise.LSTM(1, 3).quantize("int8"), gatewise.Linear(3, 1)], "quantized"),
    ],
)
def test_no_other_network_goes_to_nam(layers: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"model should .*{words}"):
        gatewise.to_nam(gatewise.Sequential(*layers), tmp_path / "amp.nam")
    assert not list(tmp_path.iterdir())


def test_no_other_words_go_to_nam(tmp_path: Path) -> None:
    path = tmp_path / "amp.nam"
    model = gatewise.Sequential(gatewise.LSTM(1, 3), gatewise.Linear(3, 1))
    for rate in (0, -1, float("nan"), float("inf"), True, "48000"):
        with pytest.raises(ValueError, match="sample_rate should be"):
            gatewise.to_nam(model, path, sample_rate=rate)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="metadata should"):
        gatewise.to_nam(model, path, metadata={"loudness": float("nan")})
    with pytest.raises(TypeError, match="metadata should"):
        gatewise.to_nam(model, path, metadata={"loudness": np.zeros(3)})
    with pytest.raises(TypeError, match="metadata should"):
        gatewise.to_nam(model, path, metadata=[1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="model should be a Sequential"):
        gatewise.to_nam(model.layers[0], path)  # type: ignore[arg-type]
    values = model.state_dict()
    for bad in (np.nan, np.inf):
        values["1.bias"][0] = bad
        model.set_parameters(values)
        with pytest.raises(ValueError, match="finite parameters"):
            gatewise.to_nam(model, path)
    assert not list(tmp_path.iterdir())


def test_the_arrays_of_nam_have_the_networks_names(tmp_path: Path) -> None:
    path = written(tmp_path, amp_files.nam_file(1, 3, 2, metadata={"gain": 0.5}))
    with path.open("rb") as file:
        container = open_nam(file)
    assert (container.format, container.metadata["metadata"]) == ("nam", {"gain": 0.5})
    own = gatewise.from_nam(path).state_dict()
    assert own.keys() == container.headers.keys()
    for name, header in container.headers.items():
        assert np.array_equal(container.read(name), own[name])
        assert (header.dtype, header.shape) == (own[name].dtype, own[name].shape)
    # What is read is nobody else's.
    container.read("1.bias")[:] = 9
    assert container.read("1.bias") == own["1.bias"]


def test_other_architectures_of_nam_are_one_array(tmp_path: Path) -> None:
    for name in ("WaveNet", "ConvNet", "Linear", "SlimmableContainer"):
        said = amp_files.nam_file(1, 3, 1) | {"architecture": name}
        path = written(tmp_path, said)
        with pytest.raises(gatewise.FormatError, match=f"should be LSTM.*got '{name}'"):
            gatewise.from_nam(path)
        with path.open("rb") as file:
            container = open_json(file)
        assert np.array_equal(container.read("weights"), np.float32(said["weights"]))


def test_any_json_with_arrays_gives_them(tmp_path: Path) -> None:
    said = {"model": {"gru.weight": [[1, 2.5]], "note": "x"}, "b": [3], "n": [], "k": 2}
    with written(tmp_path, said).open("rb") as file:
        container = open_json(file)
    assert container.format == "json"
    assert {name: container.read(name).tolist() for name in container.headers} == {
        "model.gru.weight": [[1, 2.5]],
        "b": [3],
    }
    assert container.metadata == {"model": {"note": "x"}, "n": [], "k": 2}


def test_a_mark_before_the_text_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "amp.nam"
    path.write_bytes(b"\xef\xbb\xbf" + amp_files.encoded(amp_files.nam_file(1, 3, 1)))
    gatewise.from_nam(path)
