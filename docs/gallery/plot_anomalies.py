"""
A beat that is unlike the others: anomalies in a sensor's series
================================================================

A pressure sensor in a blood vessel. In one place of 7501 something is wrong, so little
that one does not see it. Nobody tells the network what is wrong: it learns to forecast
a stretch that is all right, and where it is surprised later, there is something.
"""

# %%
# aeon carries the series, number 135 of the archive of Wu and Keogh (2021, *Current time
# series anomaly detection benchmarks are flawed*, IEEE TKDE): 1200 steps that are normal,
# and the rest.
import numpy as np
from aeon.datasets import load_kdd_tsad_135
from matplotlib import pyplot

import gatewise
from gatewise.training import Cosine, minibatches

normal = load_kdd_tsad_135(split="train")[0].astype("float32")
series, labels = load_kdd_tsad_135(split="test")
series, wrong = series.astype("float32"), labels.astype(bool)
middle, spread = normal.mean(), normal.std()

# %%
# From each step to the steps after it: the network forecasts the next 8 values, as what
# they will add to the present one.
AHEAD, WINDOW = 8, 250


def inputs_and_targets(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs ``(time, 2)`` and targets ``(time, AHEAD)``."""
    scaled = (values - middle) / spread
    slopes = 10 * np.diff(scaled, prepend=scaled[0])
    later = np.lib.stride_tricks.sliding_window_view(scaled, AHEAD)[1:]
    inputs = np.stack([scaled, slopes], axis=1)[: len(later)]
    return inputs, later - scaled[: len(later), None]


x, targets = inputs_and_targets(normal)
starts = np.arange(0, len(x) - WINDOW + 1, 5)
places = starts[:, None] + np.arange(WINDOW)
model = gatewise.Sequential(gatewise.GRU(2, 32, seed=0), gatewise.Linear(32, AHEAD, seed=1))
history = gatewise.fit(
    model,
    minibatches(x[places], targets[places], batch_size=16),
    gatewise.mse,
    gatewise.Adam(0.01),
    epochs=30,
    schedule=Cosine(),
    max_norm=1.0,
    progress=False,
)
history.plot()

# %%
# How surprised it is at each step: the error of the forecasts, over about a twentieth of
# a beat. The first beat, in which it finds its way, is not counted.
x, targets = inputs_and_targets(series)
errors = ((model(x)[0] - targets) ** 2).mean(axis=1)
surprise = np.convolve(errors, np.ones(10) / 10, mode="same")
surprise[:200] = 0
most = int(surprise.argmax())
first, last = np.flatnonzero(wrong)[[0, -1]]
print(f"most surprised at step {most}; marked as wrong are steps {first} to {last}")
ratio = surprise[first - 100 : last + 100].max() / np.quantile(surprise, 0.99)
print(f"there {ratio:.1f} times as much as at the 99 % quantile of all steps")

# %%
figure, axes = pyplot.subplots(3, 1, figsize=(10, 6.5), layout="constrained")
axes[0].plot(series, lw=0.8)
axes[0].set_ylabel("pressure")
axes[1].plot(surprise, "C3", lw=0.8)
axes[1].set(ylabel="surprise", xlabel="time step")
for axis in axes[:2]:
    axis.axvspan(first, last, color="C1", alpha=0.5)
near = slice(first - 400, last + 400)
steps = np.arange(near.start, near.stop)
axes[2].plot(steps, series[near], label="pressure")
axes[2].axvspan(first, last, color="C1", alpha=0.4, label="marked by who made the series")
twin = axes[2].twinx()
twin.plot(steps, surprise[near], "C3")
twin.set_ylabel("surprise", color="C3")
axes[2].legend(loc="upper right")
