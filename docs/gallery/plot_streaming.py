"""
A detector that runs while the signal comes in
==============================================

A sensor at a walker's leg. Which sample is the one where the heel strikes is easy to
say afterwards, with the whole signal at hand. A stream says it at once, from the
samples so far: one step for each, with its own deadline.
"""

# %%
# The accelerations are those of the *Daphnet* set, which aeon carries: 64 samples a
# second of three sensors. Afterwards, a strike is a large, sharp swing of the first one.
import time

import numpy as np
from aeon.datasets import load_daphnet_s06r02e0
from matplotlib import pyplot
from scipy.signal import find_peaks

import gatewise
from gatewise.training import Cosine, minibatches

RATE = 64
signal = load_daphnet_s06r02e0()[0].astype("float32")
strikes, _ = find_peaks(-signal[:, 0], height=1500, distance=RATE // 2)
print(f"{len(signal) / RATE:.0f} seconds, {len(strikes)} strikes")

# %%
# It learns from the first part, and is judged on the last two fifths. What it should say
# is 1 at a strike and in the two samples after it.
end = int(0.6 * len(signal))
x = signal / signal[:end].std(axis=0) / 2
targets = np.zeros((len(x), 1), "float32")
for late in range(3):
    targets[np.minimum(strikes + late, len(x) - 1)] = 1
WINDOW = 256
places = np.arange(0, end - WINDOW, 32)[:, None] + np.arange(WINDOW)
model = gatewise.Sequential(gatewise.GRU(9, 32, seed=0), gatewise.Linear(32, 1, seed=1))
history = gatewise.fit(
    model,
    minibatches(x[places], targets[places], batch_size=16),
    gatewise.binary_cross_entropy,
    gatewise.Adam(0.01),
    epochs=25,
    schedule=Cosine(),
    max_norm=1.0,
    progress=False,
)

# %%
# Now live: one sample at a time, through the whole net, with the state kept between.
stream = model.stream()
scores, taken = np.empty(len(x)), np.empty(len(x))
for step, sample in enumerate(x):
    began = time.perf_counter()
    scores[step] = stream(sample)[0]
    taken[step] = time.perf_counter() - began
middle, most = np.quantile(taken, [0.5, 0.999]) * 1e6
print(f"a step takes {middle:.1f} microseconds, 999 of 1000 at most {most:.0f}")
print(f"the deadline is {1e6 / RATE:.0f}; late were {(taken > 1 / RATE).sum()}")
print(f"from the whole signal it differs by {np.abs(model(x)[0][:, 0] - scores).max():.0e}")

# %%
# An alarm is where the score rises above 0; one within a quarter of a second of a strike
# is right.
chance = gatewise.sigmoid(scores)
alarms = np.flatnonzero((chance[1:] > 0.5) & (chance[:-1] <= 0.5)) + 1
alarms = alarms[np.diff(alarms, prepend=-RATE) > RATE // 4]
late, wanted = alarms[alarms >= end], strikes[strikes >= end]
distance = late[:, None] - wanted
hits = (np.abs(distance) <= RATE // 4).any(axis=0)
false = int((np.abs(distance) > RATE // 4).all(axis=1).sum())
delays = distance[np.abs(distance) <= RATE // 4] / RATE * 1000
print(f"of {len(wanted)} strikes {hits.sum()} found, {false} false alarms")
print(f"alarm after the strike: {np.median(delays):.0f} ms in the middle")

# %%
figure, axes = pyplot.subplots(2, 1, figsize=(10, 5), layout="constrained")
shown = slice(end + 400, end + 400 + 8 * RATE)
seconds = np.arange(shown.start, shown.stop) / RATE
axes[0].plot(seconds, signal[shown, 0] / 1000, "C7", label="acceleration, g")
axes[0].plot(seconds, 4 * chance[shown], "C0", label="what the stream says")
seen = wanted[(wanted >= shown.start) & (wanted < shown.stop)]
axes[0].plot(seen / RATE, signal[seen, 0] / 1000, "rv", label="strikes, known afterwards")
axes[0].set_xlabel("second")
axes[0].legend(loc="upper right", ncols=3)
axes[1].hist(1e6 * taken, bins=np.geomspace(1, 1e6 / RATE, 80))
axes[1].axvline(1e6 / RATE, color="r")
axes[1].text(0.8e6 / RATE, 10, "deadline", color="r", rotation=90, ha="right")
axes[1].set(xscale="log", yscale="log", xlabel="microseconds for a step", ylabel="steps")
