"""The language model: its measure, its gradients, what it writes, and how it is trained."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatewise.training import Adam, CheckpointError
from gatewise.training.checkpoint import load_checkpoint, save_checkpoint
from gatewise.training.language_model import CELLS, LanguageModel, load_language_model
from gatewise.training.language_training import LanguageTraining, Settings
from gatewise.training.text import TextError, Vocabulary

TEXT = "she sells sea shells on the sea shore; " * 40
SETTINGS = Settings(batch_size=4, length=16, learning_rate=0.02, seed=0)


def make_model(
    cell: str = "gru", hidden_size: int = 16, num_layers: int = 1
) -> LanguageModel:
    return LanguageModel(
        Vocabulary(TEXT), cell=cell, hidden_size=hidden_size, num_layers=num_layers
    )


@pytest.mark.parametrize("cell", CELLS)
def test_bits_per_character_are_the_mean_surprise(cell: str, backend: str) -> None:
    model = make_model(cell)
    tokens = model.vocabulary.encode(TEXT[:200])
    logits = model.network(tokens[None, :-1])[0][0].astype(float)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    surprise = -np.log2(chances[np.arange(199), tokens[1:]])
    assert model.bits_per_character(tokens) == pytest.approx(surprise.mean(), rel=1e-5)


def test_bits_of_long_texts_carry_the_state(backend: str) -> None:
    model = make_model()
    tokens = model.vocabulary.encode(TEXT)[:1500]
    # Five streams of two batches of 149 steps; where they begin depends on the 9 tokens
    # that are left over.
    found = model.bits_per_character(tokens)
    streams = []
    for offset in range(10):
        inputs = tokens[offset : offset + 5 * 298].reshape(5, 298)
        targets = tokens[offset + 1 : offset + 1 + 5 * 298].reshape(5, 298)
        logits = model.network(inputs)[0].astype(float)
        log_chances = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
        chosen = np.take_along_axis(log_chances, targets[..., None], axis=2)
        streams.append(-chosen.mean() / math.log(2))
    assert min(abs(found - bits) for bits in streams) < 1e-5


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_by_finite_differences(cell: str, backend: str) -> None:
    model = make_model(cell, hidden_size=5, num_layers=2)
    tokens = model.vocabulary.encode(TEXT[:27]).reshape(3, 9)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    _, _, state = model.loss_and_gradients(inputs, targets)
    loss, gradients, _ = model.loss_and_gradients(inputs, targets, state)
    assert loss > 0
    start = model.network.state_dict()
    rng = np.random.default_rng(0)
    for name, gradient in gradients.items():
        direction = rng.standard_normal(gradient.shape).astype(np.float32)
        losses = []
        for step in (1e-2, -1e-2):
            model.network.set_parameters({name: start[name] + np.float32(step) * direction})
            losses.append(model.loss_and_gradients(inputs, targets, state)[0])
        model.network.set_parameters(start)
        expected = (losses[0] - losses[1]) / 2e-2
        # The least of them is 1e-3, the error of the differences 6e-5.
        assert abs(expected) > 1e-3, name
        assert float((gradient * direction).sum()) == pytest.approx(expected, abs=2e-4), (
            name
        )


def test_what_is_written_follows_the_models_chances(backend: str) -> None:
    model = make_model()
    prompt = "sea s"
    logits = model.network(model.vocabulary.encode(prompt)[None])[0][0, -1].astype(float)
    scaled = {temperature: np.exp(logits / temperature) for temperature in (0.25, 2.0)}
    draws = 1500
    for temperature in scaled:
        written = [
            "".join(model.sample(1, prompt=prompt, temperature=temperature, seed=seed))[-1]
            for seed in range(draws)
        ]
        counts = np.array([written.count(c) for c in model.vocabulary.characters])
        # Pearson's test with ten degrees of freedom: above 40 with a chance of 2e-5.
        distances = {}
        for other, odds in scaled.items():
            expected = draws * odds / odds.sum()
            distances[other] = ((counts - expected) ** 2 / expected).sum()
        assert distances.pop(temperature) < 40
        assert min(distances.values()) > 100


def test_the_coldest_text_takes_the_likeliest_each_time(backend: str) -> None:
    model = make_model("lstm", num_layers=2)
    text = "".join(model.sample(12, prompt="she", temperature=0))
    assert len(text) == 15
    for end in range(3, 15):
        logits = model.network(model.vocabulary.encode(text[:end])[None])[0]
        assert model.vocabulary.characters[logits[0, -1].argmax()] == text[end]


def test_a_text_is_written_as_it_is_asked_for() -> None:
    endless = make_model().sample(10**12, prompt="she ", seed=3)
    beginning = "".join(itertools.islice(endless, 30))
    assert beginning == "".join(make_model().sample(26, prompt="she ", seed=3))


def test_bad_samples_are_refused_at_once() -> None:
    model = make_model()
    for temperature in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="temperature should be"):
            model.sample(3, temperature=temperature)
    with pytest.raises(TextError, match="'Z'"):
        model.sample(3, prompt="Z")
    with pytest.raises(ValueError, match="cell should be one of gru, lstm, rnn, got 'x'"):
        make_model("x")


def test_training_gets_the_text_by_heart(backend: str) -> None:
    training = LanguageTraining(make_model(), TEXT, SETTINGS)
    training.run(steps=150)
    assert training.best_bits < 0.3 * training.order_zero_bits
    assert "sea shells on the sea shore" in "".join(
        training.model.sample(200, temperature=0, prompt="she ")
    )


def test_the_state_is_carried_from_batch_to_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    training = LanguageTraining(make_model(), TEXT, SETTINGS)
    begins, ends = [], []
    compute = LanguageModel.loss_and_gradients

    def watched(model: LanguageModel, inputs: Any, targets: Any, state: Any) -> Any:
        begins.append(state)
        found = compute(model, inputs, targets, state)
        ends.append(found[2])
        return found

    monkeypatch.setattr(LanguageModel, "loss_and_gradients", watched)
    a_pass = training.batches.batches_a_pass
    training.run(steps=2 * a_pass)
    expected = [None, *ends[:-1]]
    expected[a_pass] = None
    assert len(begins) == 2 * a_pass
    assert all(begin is end for begin, end in zip(begins, expected, strict=True))


def test_steps_are_clipped_and_their_rate_rises_and_falls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = LanguageTraining(make_model(), TEXT, SETTINGS)
    rates, norms = [], []
    compute = LanguageModel.loss_and_gradients

    def steep(model: LanguageModel, inputs: Any, targets: Any, state: Any) -> Any:
        loss, gradients, state = compute(model, inputs, targets, state)
        return loss, {name: 1e3 * array for name, array in gradients.items()}, state

    def step(optimizer: Adam, parameters: Any, gradients: Any) -> None:
        rates.append(optimizer.learning_rate)
        norms.append(math.hypot(*(np.linalg.norm(array) for array in gradients.values())))

    monkeypatch.setattr(LanguageModel, "loss_and_gradients", steep)
    monkeypatch.setattr(Adam, "step", step)
    training.run(steps=100)
    np.testing.assert_allclose(norms, 1.0, rtol=1e-5)
    highest = int(np.argmax(rates))
    assert 5 < highest < 30
    assert 0.9 < rates[highest] / SETTINGS.learning_rate <= 1
    assert (np.diff(rates[: highest + 1]) > 0).all()
    assert (np.diff(rates[highest:]) < 0).all()
    assert max(rates[0], rates[-1]) < 0.06 * SETTINGS.learning_rate


@pytest.mark.parametrize("cell", CELLS)
def test_resumed_training_ends_where_uninterrupted_training_does(
    tmp_path: Path, cell: str, backend: str
) -> None:
    whole = LanguageTraining(make_model(cell), TEXT, SETTINGS)
    whole.run(steps=60)
    part = LanguageTraining(make_model(cell), TEXT, SETTINGS)
    part.run(steps=60, stopped=lambda: part.step == 23, path=tmp_path / "model.safetensors")
    resumed = LanguageTraining.resume(tmp_path / "model.safetensors", TEXT)
    assert resumed.step == 23
    resumed.run(steps=60)
    part.run(steps=60)
    for other in (resumed, part):
        other.save(tmp_path / "other.npz")
        whole.save(tmp_path / "whole.safetensors")
        expected = load_checkpoint(tmp_path / "whole.safetensors", "language model")[0]
        found = load_checkpoint(tmp_path / "other.npz", "language model")[0]
        assert list(found) == list(expected)
        for name, array in expected.items():
            if not name.startswith("model."):
                np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_the_best_model_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = LanguageTraining(make_model(), TEXT, SETTINGS)
    training.run(steps=30)
    best = training.model.network.state_dict()
    monkeypatch.setattr(LanguageModel, "bits_per_character", lambda self, tokens: 99.0)
    training.run(steps=40, path=tmp_path / "model.safetensors")
    resumed = LanguageTraining.resume(tmp_path / "model.safetensors", TEXT)
    assert resumed.best_bits == training.best_bits < 99
    resumed.run(steps=50, path=tmp_path / "model.safetensors")
    loaded = load_language_model(tmp_path / "model.safetensors")
    for model in (training.model, resumed.model, loaded):
        for name, array in best.items():
            np.testing.assert_array_equal(model.network.parameters()[name], array)


def edit_array(arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
    arrays.pop("model.1.weight")


def edit_shape(arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
    metadata["model"]["hidden_size"] = 17


def edit_cell(arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
    metadata["model"]["cell"] = "mlp"


def edit_kind(arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
    metadata["model"] = [1, 2]


@pytest.mark.parametrize("edit", [edit_array, edit_shape, edit_cell, edit_kind])
def test_a_model_that_is_not_whole_is_refused(tmp_path: Path, edit: Any) -> None:
    path = tmp_path / "model.safetensors"
    LanguageTraining(make_model(), TEXT, SETTINGS).save(path)
    load_language_model(path)
    arrays, metadata = load_checkpoint(path, "language model")
    edit(arrays, metadata)
    save_checkpoint(path, "language model", arrays, metadata)
    with pytest.raises(CheckpointError, match="not a whole language model"):
        load_language_model(path)
    with pytest.raises(CheckpointError, match="not a whole language model"):
        LanguageTraining.resume(path, TEXT)


def test_the_time_of_earlier_runs_counts(tmp_path: Path) -> None:
    training = LanguageTraining(make_model(), TEXT, SETTINGS)
    training.seconds = 1000.0
    training.run(seconds=1000.05, steps=2000, path=tmp_path / "model.safetensors")
    assert training.seconds >= 1000.05
    assert (
        LanguageTraining.resume(tmp_path / "model.safetensors", TEXT).seconds
        == training.seconds
    )


def test_endless_training_is_refused() -> None:
    with pytest.raises(ValueError, match="seconds or steps should be finite"):
        LanguageTraining(make_model(), TEXT, SETTINGS).run()
