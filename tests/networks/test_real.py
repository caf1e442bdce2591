"""The networks that packages ship, run by the examples, against the packages' own code."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise

Folder = Callable[[str], Path]


@pytest.mark.parametrize("example", ["silero_vad"], indirect=True)
class TestSileroVAD:
    def test_as_in_onnxruntime(self, example: Any, folder: Folder, backend: str) -> None:
        data = folder("silero_vad") / "silero_vad" / "data"
        pytest.importorskip("onnx", reason="onnx is not installed")
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
        arrays = gatewise.load_arrays(data / "silero_vad_16k.safetensors")
        clip = example.peers.voice(6)[: 180 * 512]
        detector = example.SileroVAD(arrays)
        whole = detector(clip)
        # It tells a voice from the breaks in it.
        assert (whole > 0.9).sum() > 40
        assert (whole < 0.1).sum() > 40
        others = example.peers.ways_of_onnxruntime(data, arrays, clip)
        assert np.abs(whole - others.pop("these weights")()).max() < 1e-5
        stream = detector.stream()
        live = [stream(chunk) for chunk in clip.reshape(-1, 512)]
        assert np.abs(live - whole).max() < 1e-5
        # The other files come from another training.
        found = gatewise.load_arrays(data / "silero_vad_16k_op15.onnx")
        trained = example.SileroVAD({example.peers.renamed(k): v for k, v in found.items()})
        probabilities = trained(clip)
        assert np.abs(probabilities - whole).max() > 0.01
        others |= example.peers.way_of_the_package(str(data.parents[1]), clip)
        assert len(others) >= 3
        for run in others.values():
            assert np.abs(probabilities - run()).max() < 1e-5

    def test_as_in_the_package(self, example: Any, folder: Folder) -> None:
        """The package has one reader of its safetensors, for tinygrad, which compiles."""
        path = folder("silero_vad")
        tinygrad = pytest.importorskip("tinygrad", reason="tinygrad is not installed")
        state = pytest.importorskip("tinygrad.nn.state")
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(path))
            module = pytest.importorskip("silero_vad.tinygrad_model")
        file = path / "silero_vad" / "data" / "silero_vad_16k.safetensors"
        own = module.TinySileroVAD()
        state.load_state_dict(own, state.safe_load(str(file)), verbose=False)
        clip = example.peers.voice(1)[: 20 * 512]
        padded = np.concatenate([np.zeros(64, np.float32), clip])
        known, results = None, []
        try:
            for first in range(0, len(clip), 512):
                window = tinygrad.Tensor(padded[None, first : first + 576])
                probability, known = own(window, known)
                results.append(probability.item())
                known = known.realize()
        except (FileNotFoundError, RuntimeError) as error:
            pytest.skip(f"tinygrad has no compiler here: {error}")
        probabilities = example.SileroVAD(gatewise.load_arrays(file))(clip)
        assert np.abs(probabilities - results).max() < 1e-5


# The package leaves a file of its own open.
@pytest.mark.filterwarnings("ignore:.*unclosed file", "ignore:Exception ignored in")
@pytest.mark.parametrize("example", ["g2p_en"], indirect=True)
def test_words_as_g2p_en_spells_them(example: Any, folder: Folder, backend: str) -> None:
    path = folder("g2p_en")
    network = example.G2p(gatewise.load_arrays(path / "g2p_en" / "checkpoint20.npz"))
    words = [
        *example.made_up(300),
        "gatewise",
        "don't",
        "naïve",
        "antidisestablishmentarianism",
    ]
    own = example.theirs(str(path))
    expected = [own.predict(word) for word in words]
    assert network(words) == expected
    assert [network([word])[0] for word in words] == expected
    assert own.phonemes == example.PHONEMES
    assert own.graphemes == example.LETTERS


@pytest.mark.parametrize("example", ["resemblyzer"], indirect=True)
def test_voices_as_resemblyzer_embeds_them(
    example: Any, folder: Folder, backend: str
) -> None:
    path = folder("resemblyzer")
    pytest.importorskip("torch", reason="torch is not installed")
    arrays = gatewise.load_arrays(path / "resemblyzer" / "pretrained.pt")
    encoder = example.VoiceEncoder(arrays, prefix="model_state.")
    mels = example.random_mels(4)
    own = example.theirs(str(path))
    assert own is not None
    embeddings = encoder(mels)
    assert np.abs(embeddings - own(mels)).max() < 1e-5
    assert np.abs(embeddings[0] - embeddings[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ("g2p_en", r"^the same phonemes for 2000 of 2000 words, one by one$"),
        ("resemblyzer", r"^largest difference from the package's: \d\.\de-07$"),
        ("silero_vad", r"^speech from 4\.\d\d to 6\.\d\d s$"),
    ],
    indirect=["example"],
)
@pytest.mark.filterwarnings("ignore:.*unclosed file", "ignore:Exception ignored in")
def test_what_an_example_says(
    example: Any,
    said: str,
    folder: Folder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    package = example.__name__.removeprefix("example_")
    path = folder(package)
    pytest.importorskip("torch", reason="torch is not installed")

    def once(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
        for run in runs.values():
            run()
        return dict.fromkeys(runs, 1.0)

    monkeypatch.setattr(example.in_turns, "times", once)
    # The other tests have as many as they had.
    monkeypatch.setattr(gatewise, "set_num_threads", lambda num_threads: None)
    example.main(str(path))
    text = capsys.readouterr().out
    assert re.search(said, text, re.MULTILINE)
    assert "not compared" not in text
    assert re.search(r"^  gatewise|^  live, gatewise", text, re.MULTILINE)
