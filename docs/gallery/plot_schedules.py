"""
Learning rates over a training
==============================

The schedules that ``fit`` knows, and what they make of one and the same training:
yearly sunspots since 1700, forecast a year ahead.
"""

# %%
from typing import Any

import numpy as np
from matplotlib import pyplot
from statsmodels.datasets import sunspots

import gatewise
from gatewise.training import (
    Constant,
    Cosine,
    ReduceOnPlateau,
    Schedule,
    Step,
    WarmUp,
    minibatches,
)

data: Any = sunspots.load_pandas().data
series = data["SUNACTIVITY"].to_numpy("float32")[:, None] / 100
inputs, targets = series[:-1], np.diff(series, axis=0)
places = np.arange(0, 180, 3)[:, None] + np.arange(48)
EPOCHS = 60
schedules: dict[str, Schedule] = {
    "Constant()": Constant(),
    "Step(every=20, factor=0.3)": Step(every=20, factor=0.3),
    "Cosine()": Cosine(),
    "WarmUp(10, then=Cosine())": WarmUp(10, then=Cosine()),
    "ReduceOnPlateau(patience=5)": ReduceOnPlateau(patience=5),
}

# %%
# The same network from the same start each time; only the schedule differs.
figure, axes = pyplot.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
for name, schedule in schedules.items():
    model = gatewise.Sequential(gatewise.GRU(1, 24, seed=0), gatewise.Linear(24, 1, seed=1))
    history = gatewise.fit(
        model,
        minibatches(inputs[places], targets[places], batch_size=8),
        gatewise.mse,
        gatewise.Adam(0.01),
        epochs=EPOCHS,
        validation=[(inputs[None, 180:], targets[None, 180:])],
        schedule=schedule,
        max_norm=1.0,
        progress=False,
    )
    columns = history.to_dict()
    axes[0].plot(columns["epoch"], columns["learning_rate"], label=name)
    axes[1].plot(columns["epoch"], columns["validation_loss"], label=name)
    print(f"{name:28} best validation loss {min(columns['validation_loss']):.4f}")
axes[0].set(xlabel="epoch", ylabel="learning rate", yscale="log", ylim=(1e-5, 2e-2))
axes[1].set(xlabel="epoch", ylabel="validation loss", yscale="log")
axes[0].legend()
