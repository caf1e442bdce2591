"""An interrupt anywhere in a fit leaves the model as the last finished step did."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.training import fit, minibatches

PACKAGE = str(Path(gatewise.__file__).parent)
X = np.random.default_rng(0).standard_normal((6, 3, 2)).astype(np.float32)


class Interrupter:
    """Counts the lines of the package that run, and interrupts at one of them."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.count = 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            self.count += 1
            if self.count == self.at:
                raise KeyboardInterrupt
        return self

    def __enter__(self) -> Interrupter:
        sys.settrace(self)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)


class Training:
    """A short fit, and the parameters that its model has after each step."""

    def __init__(self) -> None:
        self.model = gatewise.Sequential(
            gatewise.GRU(2, 3, dropout=0.1, num_layers=2, seed=1),
            gatewise.Linear(3, 2, seed=2),
        )
        self.optimizer = gatewise.Adam(0.1)
        self.seen: list[bytes] = []

    def state(self) -> bytes:
        return b"".join(array.tobytes() for array in self.model.state_dict().values())

    def loss(self, outputs: Any, targets: Any) -> Any:
        trace = sys.gettrace()
        sys.settrace(None)
        self.seen.append(self.state())
        sys.settrace(trace)
        return gatewise.mse(outputs, targets)

    def run(self, path: Path) -> None:
        fit(
            self.model,
            minibatches(X, X[:, ::-1], batch_size=3),
            self.loss,
            self.optimizer,
            epochs=3,
            validation=[(X, X)],
            patience=1,
            max_norm=0.1,
            checkpoint=path,
            checkpoint_interval=0.0,
            progress=False,
        )


# Between a file's opening and its `with` nobody could close it but the collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_the_model_is_that_of_a_finished_step(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "fit.safetensors"
    whole = Training()
    with Interrupter() as interrupter:
        whole.run(path)
    states = {*whole.seen, whole.state()}
    assert len(states) >= 4
    lines = interrupter.count
    # Anywhere, as far as one test has time for it.
    places = np.random.default_rng(0).choice(np.arange(1, lines), 50, replace=False)
    for place in places.tolist():
        training = Training()
        with suppress(KeyboardInterrupt), Interrupter(place):
            training.run(path)
        assert training.state() in states, place
        # It can be gone on with, and computes with the parameters that it shows.
        again = Training()
        again.model.load_state_dict(training.model.state_dict())
        np.testing.assert_array_equal(training.model(X)[0], again.model(X)[0])
        training.optimizer.step(training.model, training.model.parameters())


def test_a_step_is_made_or_not_made(backend: str) -> None:
    gradients = {name: np.sign(a) for name, a in Training().model.state_dict().items()}

    def step(place: int | None) -> tuple[bytes, int]:
        training = Training()
        training.optimizer.step(training.model, gradients)
        with Interrupter(place) as interrupter, suppress(KeyboardInterrupt):
            training.optimizer.step(training.model, gradients)
        return training.state(), interrupter.count

    after, lines = step(None)
    before, _ = step(1)
    assert before != after
    found = [step(place)[0] for place in [*range(1, lines, 7), lines]]
    assert set(found) == {before, after}
    # First the one, and then the other.
    assert found == sorted(found, key=[before, after].index)
