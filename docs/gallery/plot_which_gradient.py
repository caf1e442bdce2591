"""
Which way back is right?
========================

A learner's gradients have the right shapes, and training goes down somehow. Are they
right? The figures of an exercise may be wrong themselves, see :doc:`/maths/copies`; the
definition of a slope cannot be.
"""

# %%
# An LSTM over twelve steps, and some slopes of a loss.
import numpy as np
from matplotlib import pyplot

import gatewise

rng = np.random.default_rng(0)
parameters = {f"W{gate}": 0.7 * rng.standard_normal((6, 9)) for gate in "fico"}
parameters |= {f"b{gate}": np.zeros((6, 1)) for gate in "fico"}
parameters |= {"Wy": np.zeros((2, 6)), "by": np.zeros((2, 1))}
STEPS = 12
x, a0 = rng.standard_normal((3, 4, STEPS)), np.zeros((6, 4))
da = rng.standard_normal((6, 4, STEPS))
steps, _ = gatewise.lstm_forward(x, a0, parameters)[3]

# %%
# The definition: move one number of the input in both directions, and see what becomes of
# the loss.


def loss(inputs: np.ndarray) -> float:
    """Return what the gradients are of."""
    return float((da * gatewise.lstm_forward(inputs, a0, parameters)[0]).sum())


def slope(index: tuple[int, ...], step: float = 1e-6) -> float:
    """Return the slope at one number of the input."""
    moved = np.zeros_like(x)
    moved[index] = step
    return (loss(x + moved) - loss(x - moved)) / (2 * step)


measured = np.array([slope(index) for index in np.ndindex(x.shape)]).reshape(x.shape)

# %%
# Ways back as they are found in public: what each hands to the step before differs.


def way_back(with_a: bool, with_c: bool, start: float = 0.0) -> np.ndarray:
    """Return the gradient of x by a loop over `lstm_cell_backward`."""
    da_later, dc_later = start * da[:, :, -1], np.zeros((6, 4))
    dx = np.zeros_like(x)
    for t in reversed(range(STEPS)):
        gradients = gatewise.lstm_cell_backward(da[:, :, t] + da_later, dc_later, steps[t])
        dx[:, :, t] = gradients["dxt"]
        da_later = gradients["da_prev"] if with_a else np.zeros((6, 4))
        dc_later = gradients["dc_prev"] if with_c else np.zeros((6, 4))
    return dx


ways = {
    "gatewise.lstm_backward": gatewise.lstm_backward(da, (steps, x))["dx"],
    "a loop that passes on both": way_back(True, True),
    "the last step twice": way_back(True, True, start=1.0),
    "passes on da alone": way_back(True, False),
    "passes on dc alone": way_back(False, True),
    "passes on nothing": way_back(False, False),
}
size = np.abs(measured).max(axis=(0, 1))
figure, axes = pyplot.subplots(figsize=(10, 4), layout="constrained")
for (name, dx), style in zip(
    ways.items(), ["o-", "x--", "s-", "^-", "v-", "d-"], strict=True
):
    error = np.abs(dx - measured).max(axis=(0, 1)) / size
    print(f"{name:28} largest error {error.max():.0e}")
    axes.semilogy(np.arange(1, STEPS + 1), np.maximum(error, 1e-12), style, label=name)
axes.set(xlabel="time step", ylabel="largest error of dx, relative")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
