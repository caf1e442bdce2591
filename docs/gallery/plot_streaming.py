"""
A detector that runs while the signal comes in
==============================================

A watch feels how its wearer moves. Walking, running, standing, or playing badminton?
Afterwards, with the whole signal at hand, that is easy. A stream says it at once, from
the samples so far: one step for each sample, with its own deadline.
"""

# %%
# The accelerations and rotations are those of *BasicMotions*, which aeon carries: six
# numbers ten times a second, 80 stretches of ten seconds each.
import time

import numpy as np
from aeon.datasets import load_basic_motions
from matplotlib import pyplot

import gatewise
from gatewise.training import Cosine, minibatches

RATE = 10
KINDS = ["standing", "walking", "running", "badminton"]


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return stretches ``(n, time, 6)`` and what is done in each, from 0 to 3."""
    stretches, kinds = load_basic_motions(split=split)[:2]
    x = np.asarray(stretches, "float32").transpose(0, 2, 1) / 5
    return x, np.array([KINDS.index(str(kind).lower()) for kind in kinds])


train, train_kinds = load("train")
test, test_kinds = load("test")
rng = np.random.default_rng(0)


def days(x: np.ndarray, kinds: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return signals in which one thing follows on another, and what is done when."""
    signals, truths = [], []
    for _ in range(count):
        order = rng.integers(0, len(x), 6)
        ends = rng.integers(40, 100, 6)
        parts = [x[k, :end] for k, end in zip(order, ends, strict=True)]
        signals.append(np.concatenate(parts)[:240])
        truths.append(np.repeat(kinds[order], ends)[:240])
    return np.stack(signals), np.stack(truths)


# %%
# It learns from days put together of stretches, so that it sees people change what they do.
x, truth = days(train, train_kinds, 300)
model = gatewise.Sequential(
    gatewise.GRU(6, 32, seed=0),
    gatewise.Dropout(0.3, seed=2),
    gatewise.Linear(32, 4, seed=1),
)
history = gatewise.fit(
    model,
    minibatches(x, truth, batch_size=16),
    gatewise.cross_entropy,
    gatewise.Adam(0.01),
    epochs=12,
    metrics=[gatewise.accuracy],
    schedule=Cosine(),
    max_norm=1.0,
    progress=False,
)

# %%
# Now live, on stretches that it never saw: one sample at a time, through the whole net,
# with the state kept between.
order = rng.permutation(len(test))
signal, doing = np.concatenate(test[order]), np.repeat(test_kinds[order], test.shape[1])
stream = model.stream()
scores, taken = np.empty((len(signal), 4)), np.empty(len(signal))
for step, sample in enumerate(signal):
    began = time.perf_counter()
    scores[step] = stream(sample)
    taken[step] = time.perf_counter() - began
middle, most = np.quantile(taken, [0.5, 0.999]) * 1e6
print(f"a step takes {middle:.1f} microseconds, 999 of 1000 at most {most:.0f}")
print(f"the deadline is {1e6 / RATE:.0f}; late were {(taken > 1 / RATE).sum()}")
print(f"from the whole signal it differs by {np.abs(model(signal)[0] - scores).max():.0e}")

# %%
# How many samples are right, by how long ago the wearer changed.
found = scores.argmax(axis=1)
changes = np.flatnonzero(np.diff(doing, prepend=-1))
steps = np.arange(len(doing))
since = steps - changes[np.searchsorted(changes, steps, "right") - 1]
right = np.array([(found == doing)[since == late].mean() for late in range(60)])
print(f"{(found == doing).mean():.1%} of all samples right")
print(
    f"{(found == doing)[since >= 2 * RATE].mean():.1%} from two seconds after a change on"
)

# %%
figure, axes = pyplot.subplots(2, 1, figsize=(10, 5.5), layout="constrained")
shown = slice(0, 800)
seconds = np.arange(shown.stop) / RATE
axes[0].plot(seconds, signal[shown, :3], lw=0.7, color="#555")
colors = ["#cfe4f7", "#c8e6c9", "#fbe0c3", "#e1bee7"]
for kind, color in enumerate(colors):
    for values, low, high in ((doing, 4, 8), (found, -8, -4)):
        axes[0].fill_between(
            seconds, low, high, where=values[shown] == kind, color=color, step="post", lw=0
        )
    axes[0].plot([], [], color=color, lw=8, label=KINDS[kind])
axes[0].text(0.5, 6.5, "what is done", va="center")
axes[0].text(0.5, -6.5, "what the stream says", va="center")
axes[0].set(xlabel="second", ylim=(-8, 8), xlim=(0, seconds[-1]), ylabel="acceleration")
axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False)
axes[1].plot(np.arange(60) / RATE, 100 * right)
axes[1].set(xlabel="seconds since a change", ylabel="samples right, %", ylim=(0, 102))
inset = axes[1].inset_axes((0.6, 0.2, 0.38, 0.55))
inset.hist(1e6 * taken, bins=list(np.geomspace(1, 1e6 / RATE, 60)))
inset.axvline(1e6 / RATE, color="r")
inset.set(xscale="log", yscale="log", title="microseconds for a step; red: deadline")
