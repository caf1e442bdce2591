"""Learning-rate schedules: PyTorch's figures, and what `fit` does with them."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.training import (
    Constant,
    Cosine,
    Epoch,
    ReduceOnPlateau,
    Schedule,
    Step,
    WarmUp,
    fit,
)

X = np.random.default_rng(0).standard_normal((6, 3, 2)).astype(np.float32)


def torch_rates(make: Any, epochs: int, losses: list[float] | None = None) -> list[float]:
    """The rate of every epoch, by one of PyTorch's schedulers."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    with warnings.catch_warnings():
        # That no step was made before the scheduler's.
        warnings.simplefilter("ignore")
        for epoch in range(epochs):
            rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step(*([] if losses is None else [losses[epoch]]))
    return rates


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (Step(3, 0.5), lambda s, o: s.StepLR(o, 3, 0.5)),
        (Cosine(), lambda s, o: s.CosineAnnealingLR(o, 12)),
        (Cosine(0.1), lambda s, o: s.CosineAnnealingLR(o, 12, 0.1)),
        (WarmUp(4, 0.25), lambda s, o: s.LinearLR(o, 0.25, total_iters=4)),
        (Constant(0.5), lambda s, o: s.ConstantLR(o, 0.5, 99)),
        (
            WarmUp(4, 0.25, Cosine()),
            lambda s, o: s.SequentialLR(
                o,
                [s.LinearLR(o, 0.25, total_iters=4), s.CosineAnnealingLR(o, 8)],
                milestones=[4],
            ),
        ),
    ],
)
def test_figures_are_pytorchs(schedule: Schedule, make: Any) -> None:
    found = [schedule.factor(float(epoch), 12) for epoch in range(12)]
    np.testing.assert_allclose(found, torch_rates(make, 12), rtol=1e-12)


LOSSES = [5.0, 4.0, 4.0, 4.2, 3.99999, 4.0, 3.0, 3.1, 3.0, 3.0, 3.0, 3.0, 1.0, 2.0, 1.0]
LOSSES += [1.00001, 0.9, math.nan, 0.0, 0.0]


@pytest.mark.parametrize(
    "options",
    [
        {"factor": 0.5, "patience": 1},
        {"factor": 0.1, "patience": 0},
        {"factor": 0.5, "patience": 2, "cooldown": 2},
        {"factor": 0.5, "patience": 0, "threshold": 0.3},
        {"factor": 0.3, "patience": 1, "lowest": 0.2},
    ],
)
def test_a_plateau_is_pytorchs(options: dict[str, Any]) -> None:
    theirs = {"lowest": "min_lr"}
    renamed = {theirs.get(name, name): value for name, value in options.items()}
    expected = torch_rates(
        lambda s, o: s.ReduceLROnPlateau(o, eps=0, **renamed), len(LOSSES), LOSSES
    )
    schedule = ReduceOnPlateau(**options)
    # Forgotten when a training begins.
    schedule.end_epoch(Epoch(1, -100.0))
    schedule.reset()
    found = []
    for number, loss in enumerate(LOSSES, 1):
        found.append(schedule.factor(float(number), 99))
        # As after an interruption.
        state = schedule.state_dict()
        schedule = ReduceOnPlateau(**options)
        schedule.load_state_dict(state)
        schedule.end_epoch(Epoch(number, 99.0, loss))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


class Recorder(gatewise.SGD):
    """An optimizer that remembers the rates of its steps."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.rates: list[float] = []

    def step(self, parameters: Any, gradients: Any) -> None:
        self.rates.append(self.learning_rate)
        super().step(parameters, gradients)


def train(schedule: Any, epochs: int = 4, **options: Any) -> tuple[Recorder, Any]:
    optimizer = Recorder()
    batches = [(X[:3], X[:3, :, :1]), (X[3:], X[3:, :, :1])]
    model = gatewise.GRU(2, 1, seed=0)
    settings: dict[str, Any] = {"epochs": epochs, "progress": False, **options}
    history = fit(model, batches, gatewise.mse, optimizer, schedule=schedule, **settings)
    return optimizer, history


def test_every_step_has_its_own_rate() -> None:
    optimizer, history = train(WarmUp(1, then=Cosine()))
    expected = [0.5 * WarmUp(1, then=Cosine()).factor(step / 2, 4) for step in range(8)]
    assert optimizer.rates == expected
    assert [epoch.learning_rate for epoch in history] == expected[1::2]
    # The optimizer is as it was.
    assert optimizer.learning_rate == 0.5


def test_without_one_the_rate_is_the_optimizers() -> None:
    optimizer, history = train(None)
    assert set(optimizer.rates) == {0.5}
    assert history.to_dict()["learning_rate"] == [0.5] * 4


def test_an_exception_gives_the_rate_back() -> None:
    class Fails(Schedule):
        def factor(self, epoch: float, epochs: int) -> float:
            if epoch > 1:
                raise ZeroDivisionError
            return 0.1

    optimizer = Recorder()
    with pytest.raises(ZeroDivisionError):
        fit(
            gatewise.GRU(2, 1),
            [(X, X[..., :1])],
            gatewise.mse,
            optimizer,
            epochs=4,
            schedule=Fails(),
            progress=False,
        )
    assert optimizer.learning_rate == 0.5


@pytest.mark.parametrize(
    ("value", "error"), [(math.nan, ValueError), (-1.0, ValueError), (None, TypeError)]
)
def test_a_factor_that_is_none_is_refused(value: Any, error: type[Exception]) -> None:
    class Wrong(Schedule):
        def factor(self, epoch: float, epochs: int) -> float:
            return value  # type: ignore[no-any-return]

    with pytest.raises(error, match=r"^schedule\.factor\(\.\.\.\) should be a "):
        train(Wrong())


def test_a_number_that_is_watched_has_to_be_there() -> None:
    with pytest.raises(
        ValueError, match=r"^monitor should be one of loss, learning_rate, "
    ):
        train(ReduceOnPlateau(monitor="validation_accuracy"))
    _, history = train(ReduceOnPlateau(0.5, 0, threshold=0.9, monitor="loss"), epochs=3)
    assert [epoch.learning_rate for epoch in history] == [0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Constant(-1),
            ValueError,
            "factor should be a finite number of at least 0",
        ),
        (lambda: Step(0), ValueError, "every should be at least 1, got 0"),
        (lambda: Step(1.5), TypeError, "every should be an integer, got 1.5"),
        (lambda: Cosine(math.nan), ValueError, "final should be a finite number"),
        (lambda: Cosine(epochs=0), ValueError, "epochs should be at least 1, got 0"),
        (lambda: WarmUp(-1), ValueError, "epochs should be a finite number of at least 0"),
        (
            lambda: WarmUp(then=Cosine),
            TypeError,
            "then should be a schedule .* class Cosine",
        ),
        (lambda: ReduceOnPlateau(1.0), ValueError, "factor should be below 1, got 1.0"),
        (
            lambda: ReduceOnPlateau(monitor=3),
            TypeError,
            "monitor should be a string, got 3",
        ),
        (
            lambda: ReduceOnPlateau().load_state_dict({"best": 1.0}),
            ValueError,
            "schedule.reached is missing",
        ),
        (lambda: train("cosine"), TypeError, "schedule should be a schedule .* 'cosine'"),
    ],
)
def test_bad_input_is_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        make()
