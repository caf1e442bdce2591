"""The fit loop: it learns, stops early, and goes on after a kill as if there was none."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.training import (
    CheckpointError,
    Epoch,
    fit,
    load_checkpoint,
    minibatches,
    save_checkpoint,
)
from gatewise.training.progress import Progress

rng = np.random.default_rng(5)
X = rng.standard_normal((40, 6, 3)).astype(np.float32)
SUMS = np.cumsum(X[..., :1], axis=1)


def make_model(dropout: float = 0.0) -> gatewise.Sequential:
    return gatewise.Sequential(
        gatewise.GRU(3, 8, num_layers=2, dropout=dropout, seed=1),
        gatewise.Dropout(dropout, seed=2),
        gatewise.Linear(8, 1, seed=3),
    )


def run(model: Any, **options: Any) -> list[Epoch]:
    batches = minibatches(X, SUMS, batch_size=8)
    defaults = {"epochs": 6, "progress": False, "optimizer": gatewise.Adam(0.02)}
    return fit(model, batches, gatewise.mse, **(defaults | options))


def test_it_learns(backend: str) -> None:
    epochs = run(make_model(), epochs=30, max_norm=1.0)
    assert [epoch.number for epoch in epochs] == list(range(1, 31))
    assert epochs[-1].loss < 0.1 * epochs[0].loss


def test_one_step_is_the_gradient_step_of_the_parts(backend: str) -> None:
    model, expected = make_model(), make_model()
    fit(model, [(X, SUMS)], gatewise.mse, gatewise.SGD(0.1), epochs=1, progress=False)
    y, _, tape = expected.forward(X)
    _, dy = gatewise.mse(y, SUMS)
    gradients = expected.backward(tape, dy)[2]
    for name, before in expected.parameters().items():
        after = before - np.float32(0.1) * gradients[name]
        np.testing.assert_array_equal(model.parameters()[name], after)


def test_a_feedforward_model_and_one_without_a_head() -> None:
    linear = gatewise.Linear(3, 1, seed=0)
    epochs = fit(
        linear,
        [(X, X[..., :1])],
        gatewise.mse,
        gatewise.Adam(0.1),
        epochs=60,
        progress=False,
    )
    assert epochs[-1].loss < 0.01
    layer = gatewise.RNN(3, 1, seed=0)
    epochs = run(layer)
    assert epochs[-1].loss < epochs[0].loss


def test_what_stands_past_a_length_does_not_matter(backend: str) -> None:
    lengths = rng.integers(0, 7, size=len(X))
    past = np.arange(6) >= lengths[:, None]
    results = []
    for filler in (0.0, 1e6):
        x, sums = X.copy(), SUMS.copy()
        x[past], sums[past] = filler, filler
        model = make_model()
        epochs = fit(
            model,
            minibatches(x, sums, lengths),
            gatewise.mse,
            gatewise.Adam(),
            epochs=2,
            validation=[(x, sums, lengths)],
            progress=False,
        )
        results.append((epochs, model.state_dict()))
    assert results[0][0] == results[1][0]
    for name, array in results[0][1].items():
        np.testing.assert_array_equal(results[1][1][name], array)


def test_the_mask_is_that_of_what_comes_out(backend: str) -> None:
    masks = []

    def loss(outputs: Any, targets: Any, *, mask: Any = None) -> Any:
        masks.append(mask)
        return gatewise.mse(outputs, targets, mask=mask)

    lengths = np.arange(40) % 7
    model = gatewise.Sequential(
        gatewise.Conv1d(3, 4, 2, stride=2, seed=0), gatewise.GRU(4, 1, seed=1)
    )
    batches = [(X, np.zeros((40, 3, 1)), lengths)]
    fit(model, batches, loss, gatewise.Adam(), epochs=1, progress=False)
    np.testing.assert_array_equal(masks[0], np.arange(3) < (lengths // 2)[:, None])
    pooled = gatewise.Sequential(gatewise.GRU(3, 2, seed=0), gatewise.Last())
    batches = [(X, np.zeros((40, 2)), lengths)]
    fit(
        pooled, batches, loss, gatewise.Adam(), epochs=1, validation=batches, progress=False
    )
    assert masks[1:] == [None, None]


def test_classes_with_targets_to_ignore() -> None:
    # Only the last step of each sequence counts: is the sum above zero?
    targets = np.full(X.shape[:2], -100)
    targets[:, -1] = SUMS[:, -1, 0] > 0
    model = gatewise.Sequential(
        gatewise.LSTM(3, 12, seed=0), gatewise.Linear(12, 2, seed=1)
    )
    epochs = fit(
        model,
        minibatches(X, targets, batch_size=10),
        gatewise.softmax_cross_entropy,
        gatewise.Adam(0.03),
        epochs=40,
        progress=False,
    )
    assert epochs[-1].loss < 0.1
    answers = model(X)[0][:, -1].argmax(axis=1)
    assert (answers == targets[:, -1]).mean() > 0.95


def test_early_stopping_keeps_the_best() -> None:
    # The validation loss cannot get better: its targets are those of training, negated.
    model = make_model()
    validation = [(X, -SUMS)]
    losses: list[float | None] = []
    epochs = run(
        model,
        epochs=50,
        validation=validation,
        patience=3,
        after_epoch=lambda epoch: losses.append(epoch.validation_loss),
    )
    assert losses == [epoch.validation_loss for epoch in epochs]
    best = int(np.argmin(losses))
    assert len(epochs) == best + 1 + 3
    measured = gatewise.mse(model(X)[0], -SUMS)[0]
    assert measured == pytest.approx(losses[best], rel=1e-6)


def test_the_order_of_batches_is_the_seeds() -> None:
    class Recorder(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            seen.append(index)
            return super().__getitem__(index)

    orders = {}
    for seed in (0, 0, 1, None):
        seen: list[int] = []
        batches = Recorder(minibatches(X, SUMS, batch_size=8))
        fit(
            make_model(),
            batches,
            gatewise.mse,
            gatewise.SGD(),
            epochs=2,
            seed=seed,
            progress=False,
        )
        assert sorted(seen[:5]) == sorted(seen[5:]) == list(range(5))
        assert orders.setdefault(seed, seen) == seen
    assert orders[None] == [*range(5), *range(5)]
    assert orders[0] != orders[1]
    assert orders[0][:5] != orders[0][5:]


class Killed(BaseException):
    pass


class Dying:
    """Batches of which no more than `left` can be had, as if the power went."""

    def __init__(self, batches: Any, left: int) -> None:
        self.batches = self.present = batches
        self.left = left

    def for_epoch(self, number: int) -> Dying:
        self.present = self.batches.for_epoch(number)
        return self

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        if self.left == 0:
            raise Killed
        self.left -= 1
        return self.present[index]


@pytest.mark.parametrize("after", [1, 7, 10, 14, 29])
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, after: int, shuffle: bool, backend: str
) -> None:
    batches = minibatches(X[:32], SUMS[:32], batch_size=6, shuffle=shuffle)
    options: dict[str, Any] = {
        "epochs": 5,
        "validation": [(X[32:], SUMS[32:])],
        "patience": 5,
        "max_norm": 1.0,
        "progress": False,
    }
    whole = make_model(dropout=0.2)
    expected = fit(whole, batches, gatewise.mse, gatewise.Adam(0.02), **options)

    options |= {"checkpoint": tmp_path / "fit.safetensors", "checkpoint_interval": 0.0}
    with pytest.raises(Killed):
        fit(
            make_model(dropout=0.2),
            Dying(batches, after),
            gatewise.mse,
            gatewise.Adam(0.02),
            **options,
        )
    # Other initial parameters, so that they must come from the file.
    resumed = make_model(dropout=0.2)
    resumed.set_parameters(
        {name: array * 0 for name, array in resumed.parameters().items()}
    )
    again = Dying(batches, 30 - after)
    epochs = fit(resumed, again, gatewise.mse, gatewise.Adam(0.02), resume=True, **options)
    assert epochs == expected
    assert again.left == 0
    for name, array in whole.parameters().items():
        np.testing.assert_array_equal(resumed.parameters()[name], array)


@pytest.mark.parametrize("kind", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"])
def test_any_generator_goes_on_where_it_was(tmp_path: Path, kind: str) -> None:
    def model() -> gatewise.Sequential:
        generator = np.random.Generator(getattr(np.random, kind)(3))
        return gatewise.Sequential(
            gatewise.GRU(3, 4, num_layers=2, dropout=0.5, seed=generator),
            gatewise.Linear(4, 1, seed=0),
        )

    path = tmp_path / "fit.safetensors"
    expected = run(model(), epochs=4)
    run(model(), epochs=2, checkpoint=path)
    assert run(model(), epochs=4, checkpoint=path, resume=True) == expected


SCRIPT = """
import sys
import numpy as np, gatewise
from gatewise.training import fit, minibatches
x = np.random.default_rng(0).standard_normal((64, 10, 2)).astype(np.float32)
model = gatewise.Sequential(gatewise.GRU(2, 16, seed=0), gatewise.Linear(16, 2, seed=1))
def report(epoch):
    print(epoch.number, flush=True)
epochs = fit(
    model, minibatches(x, x[:, ::-1], batch_size=4), gatewise.mse, gatewise.Adam(),
    epochs=int(sys.argv[2]), checkpoint=sys.argv[1], checkpoint_interval=0.0, resume=True,
    progress=False, after_epoch=report,
)
sums = [float(array.sum()) for array in model.parameters().values()]
print("end", [epoch.loss for epoch in epochs], sums)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_process_goes_on(tmp_path: Path) -> None:
    def start(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / name), "12"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    expected = start("whole.safetensors").communicate()[0].splitlines()
    assert expected[-1].startswith("end")
    killed = start("killed.safetensors")
    assert killed.stdout is not None
    with killed.stdout:
        for _ in range(4):
            killed.stdout.readline()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    resumed = start("killed.safetensors").communicate()[0].splitlines()
    assert resumed[-1] == expected[-1]
    # It did not begin again: fewer epochs were left to report.
    assert len(resumed) < len(expected)


def test_a_finished_run_can_be_lengthened(tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    expected = run(make_model(), epochs=6)
    run(make_model(), epochs=2, checkpoint=path)
    assert run(make_model(), epochs=2, checkpoint=path, resume=True) == expected[:2]
    assert run(make_model(), epochs=6, checkpoint=path, resume=True) == expected


def test_a_checkpoint_goes_on_in_its_own_precision(tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    expected = run(make_model(), epochs=3, compute="bfloat16")
    run(make_model(), epochs=1, checkpoint=path, compute="bfloat16")
    for compute in (None, "float32"):
        with pytest.raises(
            CheckpointError, match="compute should be bfloat16, got float32"
        ):
            run(make_model(), epochs=3, checkpoint=path, resume=True, compute=compute)
    found = run(make_model(), epochs=3, checkpoint=path, resume=True, compute="bfloat16")
    assert found == expected
    # What was written before there was a choice is of float32.
    arrays, metadata = load_checkpoint(path, "fit checkpoint")
    del metadata["compute"]
    save_checkpoint(path, "fit checkpoint", arrays, metadata)
    with pytest.raises(CheckpointError, match="compute should be float32, got bfloat16"):
        run(make_model(), epochs=3, checkpoint=path, resume=True, compute="bfloat16")


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    run(make_model(), epochs=1, checkpoint=path)
    model = make_model()
    before = model.state_dict()
    with pytest.raises(CheckpointError, match="optimizer should be Adam, got SGD"):
        run(model, checkpoint=path, resume=True, optimizer=gatewise.SGD())
    with pytest.raises(CheckpointError, match="seed should be 0, got 1"):
        run(model, checkpoint=path, resume=True, seed=1)
    with pytest.raises(CheckpointError, match="seed of minibatches should be 0, got None"):
        fit(
            model,
            minibatches(X, SUMS, batch_size=8, shuffle=False),
            gatewise.mse,
            gatewise.Adam(),
            epochs=2,
            checkpoint=path,
            resume=True,
            progress=False,
        )
    with pytest.raises(CheckpointError, match="compute should be float32, got bfloat16"):
        run(model, checkpoint=path, resume=True, compute="bfloat16")
    with pytest.raises(CheckpointError, match="does not fit this"):
        run(gatewise.Linear(3, 1), checkpoint=path, resume=True)
    save_checkpoint(path, "other", {}, {})
    with pytest.raises(CheckpointError, match="holds 'other', not 'fit checkpoint'"):
        run(model, checkpoint=path, resume=True)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="not a gatewise file"):
        run(model, checkpoint=path, resume=True)
    for name, array in before.items():
        np.testing.assert_array_equal(model.parameters()[name], array)


NAN = np.where(np.arange(X.size).reshape(X.shape) == 40, np.nan, X)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": -1}, ValueError, "epochs should be at least 0, got -1"),
        ({"epochs": 1.5}, TypeError, "epochs should be an integer, got 1.5"),
        ({"epochs": "3"}, TypeError, "epochs should be an integer, got '3'"),
        ({"patience": 3}, ValueError, "patience should be None without validation, got 3"),
        (
            {"patience": 0, "validation": [(X, SUMS)]},
            ValueError,
            "patience should be at least 1, got 0",
        ),
        (
            {"patience": 1.0, "validation": [(X, SUMS)]},
            TypeError,
            "patience should be an integer, got 1.0",
        ),
        (
            {"resume": True},
            ValueError,
            "checkpoint should be a file to resume from, got None",
        ),
        ({"max_norm": -1}, ValueError, "max_norm should be a finite number of at least 0"),
        ({"max_norm": "1"}, TypeError, "max_norm should be a number, got '1'"),
        ({"seed": -1}, ValueError, "seed should be at least 0, got -1"),
        ({"seed": 0.5}, TypeError, "seed should be an integer, got 0.5"),
        ({"checkpoint_interval": -1}, ValueError, "checkpoint_interval should be a finite"),
        ({"checkpoint_interval": "a"}, TypeError, "checkpoint_interval should be a number"),
        ({"after_epoch": 3}, TypeError, "after_epoch should be a function, got 3"),
        ({"batches": []}, ValueError, "batches should hold at least one"),
        (
            {"batches": [(X,)]},
            ValueError,
            r"batches\[0\] should be \(x, targets\) .* got a tuple of 1",
        ),
        (
            {"batches": [(X, SUMS), (X, SUMS, None, None, None)]},
            ValueError,
            r"batches\[1\] should be \(x, targets\) .* got a tuple of 5",
        ),
        (
            {"batches": (X, SUMS)},
            TypeError,
            r"batches\[0\] should be \(x, targets\) .* got an array of shape \(40, 6, 3\)",
        ),
        (
            {"batches": X},
            TypeError,
            r"batches should be a sequence of batches \(x, targets\), such as .* an array",
        ),
        ({"batches": ((X, SUMS) for _ in "ab")}, TypeError, "such as .* got a generator"),
        ({"batches": {"x": X}}, TypeError, "batches should be .* got a dict"),
        ({"batches": None}, TypeError, "batches should be .* got None"),
        ({"batches": minibatches}, TypeError, "batches should be .* got a function"),
        (
            {"batches": [(3, SUMS)]},
            TypeError,
            r"batches\[0\]\[0\] should be an array of ex",
        ),
        ({"validation": (X, SUMS)}, TypeError, r"validation\[0\] should be \(x, targets\)"),
        ({"validation": X}, TypeError, "validation should be a sequence of batches"),
        ({"loss": "crossentropy"}, TypeError, "loss should be .* got 'crossentropy'"),
        ({"loss": None}, TypeError, "loss should be a function .* got None"),
        ({"loss": Progress}, TypeError, "loss should be a function .* got the class Progr"),
        (
            {"optimizer": gatewise.Adam},
            TypeError,
            r"as gatewise.Adam\(\), got the class Ad",
        ),
        ({"optimizer": "adam"}, TypeError, "optimizer should be .* got 'adam'"),
        ({"model": "lstm"}, TypeError, "model should be a layer, got 'lstm'"),
        ({"model": gatewise.GRU}, TypeError, "model should be a layer, got the class GRU"),
        ({"model": [gatewise.GRU(3, 1)]}, TypeError, "model should be a layer, got a list"),
    ],
)
def test_bad_input_is_named_before_anything_starts(
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    arguments = {
        "model": make_model(),
        "batches": [(X, SUMS)],
        "loss": gatewise.mse,
        "optimizer": gatewise.Adam(),
        "epochs": 1,
        "checkpoint": None if "resume" in options else tmp_path / "fit.safetensors",
    }
    with pytest.raises(error, match=message):
        fit(**(arguments | options))
    assert capsys.readouterr().err == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda outputs, targets: None, "got None"),
        (lambda outputs, targets: 3.0, "got 3.0"),
        (lambda outputs, targets: (1, 2, 3), "got a tuple"),
        (lambda outputs, targets: ("a", outputs), "got a tuple"),
    ],
)
def test_a_loss_that_returns_something_else_is_named(loss: Any, said: str) -> None:
    with pytest.raises(TypeError, match=f"loss should return its value and .* {said}"):
        fit(make_model(), [(X, SUMS)], loss, gatewise.Adam(), epochs=1, progress=False)


def test_an_error_in_a_loss_is_its_own() -> None:
    def loss(outputs: Any, targets: Any) -> Any:
        raise TypeError("my own")

    with pytest.raises(TypeError, match=r"^my own$"):
        fit(make_model(), [(X, SUMS)], loss, gatewise.Adam(), epochs=1, progress=False)


def not_finite_weights() -> gatewise.Sequential:
    model = make_model()
    weight = model.state_dict()["2.weight"]
    weight[0, 3] = np.inf
    model.set_parameters({"2.weight": weight})
    return model


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"batches": [(NAN, SUMS)]}, r"x holds nan at \(2, 1, 1\)$"),
        ({"batches": [(X, SUMS * np.inf)]}, r"targets holds -?inf at \(0, 0, 0\)$"),
        (
            {"batches": [(X, SUMS + np.where(SUMS > 3, np.nan, 0))]},
            r"targets holds nan at \(\d+, \d+, 0\)$",
        ),
        (
            {"model": not_finite_weights()},
            "the parameter 2.weight is not finite: a lower learning rate may help",
        ),
        (
            {"loss": lambda outputs, targets: (np.nan, outputs)},
            "the parameters are finite: a lower learning rate may help",
        ),
    ],
)
def test_what_makes_a_loss_not_finite_is_named(
    options: dict[str, Any], cause: str, backend: str
) -> None:
    arguments: dict[str, Any] = {
        "model": make_model(),
        "batches": [(X, SUMS)],
        "loss": gatewise.mse,
    } | options
    model, before = arguments["model"], arguments["model"].state_dict()
    message = rf"the loss is (nan|inf) at batch 0 of epoch 1; .*{cause}"
    with pytest.raises(ValueError, match=message):
        fit(**arguments, optimizer=gatewise.Adam(), epochs=1, progress=False)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_cause_is_not_looked_for_past_the_lengths() -> None:
    lengths = np.arange(40) % 7
    past = np.arange(6) >= lengths[:, None]
    x, sums = X.copy(), SUMS.copy()
    x[past] = np.nan
    sums[past] = np.nan
    sums[13, 5] = np.nan
    arguments: dict[str, Any] = {
        "batches": [(x, sums, lengths)],
        "loss": gatewise.mse,
        "optimizer": gatewise.Adam(),
    }
    with pytest.raises(ValueError, match=r"targets holds nan at \(13, 5, 0\)$"):
        fit(make_model(), **arguments, epochs=1, progress=False)


def test_lengths_for_a_model_without_time_are_refused() -> None:
    with pytest.raises(ValueError, match="lengths should be None for a Linear, got"):
        fit(
            gatewise.Linear(3, 1),
            [(X, SUMS, np.full(40, 6))],
            gatewise.mse,
            gatewise.Adam(),
            epochs=1,
            progress=False,
        )


def test_an_unwritable_checkpoint_is_noticed_before_training(tmp_path: Path) -> None:
    model = make_model()
    before = model.state_dict()
    with pytest.raises(FileNotFoundError):
        run(model, checkpoint=tmp_path / "missing" / "fit.safetensors")
    for name, array in before.items():
        np.testing.assert_array_equal(model.parameters()[name], array)


def test_progress_is_shown_with_and_without_tqdm(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tqdm")
    run(make_model(), progress=True)
    assert "100%" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm", None)
    # Where training is slow there are lines before the last.
    monkeypatch.setattr("gatewise.training.progress._SECONDS_BETWEEN_LINES", math.inf)
    run(make_model(), progress=True)
    error = capsys.readouterr().err
    assert error.startswith("100%, 0 s left, epoch 6, loss ")
    assert error.count("\n") == 1
    run(make_model(), progress=False)
    assert capsys.readouterr().err == ""


def stop_early(**options: Any) -> list[Epoch]:
    # Validation on what training makes worse.
    return run(make_model(), epochs=50, validation=[(X, -SUMS)], patience=3, **options)


def test_early_stopping_is_said_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tqdm")
    epochs = stop_early(progress=True)
    message = f"stopped after epoch {len(epochs)}: no better validation loss for 3 epochs"
    last = capsys.readouterr().err.rstrip("\n").split("\r")[-1]
    assert re.fullmatch(rf"100%\|.*\| .* left, {message} *", last), last
    monkeypatch.setitem(sys.modules, "tqdm", None)
    stop_early(progress=True)
    assert capsys.readouterr().err == f"{message}\n"
    stop_early(progress=False)
    assert capsys.readouterr().err == ""


def test_a_fit_that_is_not_stopped_does_not_say_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(make_model(), epochs=3, validation=[(X, SUMS)], patience=3, progress=True)
    assert "stopped" not in capsys.readouterr().err


def test_no_more_is_done_than_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for without in (False, True):
        if without:
            monkeypatch.setitem(sys.modules, "tqdm", None)
        with Progress() as progress:
            progress.update(1.013, "a step past the end")
        error = capsys.readouterr().err
        assert "100%" in error
        assert "101%" not in error
        assert "-" not in error.replace("\r", "")


def test_progress_goes_on_from_what_was_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tqdm")
    with Progress(0.5):
        pass
    assert capsys.readouterr().err.startswith("\r 50%")
    monkeypatch.setitem(sys.modules, "tqdm", None)
    clock = iter([100.0, 110.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with Progress(0.5) as progress:
        progress.update(0.75, "so far")
    # A quarter in ten seconds, and another one to come.
    assert capsys.readouterr().err == " 75%, 10 s left, so far\n"
