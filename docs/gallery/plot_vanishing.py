"""
How gradients vanish and explode
================================

What is left of the gradient of the last state, so many steps before it? For the vanilla
network it depends on how large its weights are, and there is hardly a size at which it
stays. An LSTM's depends on its forget gate.
"""

# %%
# Weights that turn but neither stretch nor shrink, times a factor.
import numpy as np
from matplotlib import pyplot

import gatewise

UNITS, STEPS = 40, 80
rng = np.random.default_rng(0)
turn = np.linalg.qr(rng.standard_normal((UNITS, UNITS)))[0]
x = 0.02 * rng.standard_normal((1, 1, STEPS))
a0 = np.zeros((UNITS, 1))
last = np.zeros((UNITS, 1, STEPS))
last[:, :, -1] = rng.standard_normal((UNITS, 1)) / np.sqrt(UNITS)


def norms_rnn(factor: float) -> np.ndarray:
    """Return the length of the gradient that arrives at each step, the last one first."""
    parameters = {
        "Waa": factor * turn,
        "Wax": np.ones((UNITS, 1)),
        "ba": np.zeros((UNITS, 1)),
    }
    parameters |= {"Wya": np.zeros((2, UNITS)), "by": np.zeros((2, 1))}
    _, _, (steps, _) = gatewise.rnn_forward(x, a0, parameters)
    da, norms = last[:, :, -1], []
    for step in reversed(steps):
        norms.append(np.linalg.norm(da))
        da = gatewise.rnn_cell_backward(da, step)["da_prev"]
    return np.array(norms)


def norms_lstm(forget: float) -> np.ndarray:
    """Return the same for the memory of an LSTM whose forget gate has this bias."""
    random = np.random.default_rng(1)
    shape = (UNITS, UNITS + 1)
    parameters = {f"W{gate}": 0.05 * random.standard_normal(shape) for gate in "fico"}
    parameters |= {f"b{gate}": np.zeros((UNITS, 1)) for gate in "ico"}
    parameters |= {"bf": np.full((UNITS, 1), forget)}
    parameters |= {"Wy": np.zeros((2, UNITS)), "by": np.zeros((2, 1))}
    *_, (steps, _) = gatewise.lstm_forward(x, a0, parameters)
    da, dc, norms = np.zeros((UNITS, 1)), last[:, :, -1], []
    for step in reversed(steps):
        norms.append(np.linalg.norm(dc))
        gradients = gatewise.lstm_cell_backward(da, dc, step)
        da, dc = gradients["da_prev"], gradients["dc_prev"]
    return np.array(norms)


# %%
figure, axes = pyplot.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
for factor in (0.8, 0.95, 1.0, 1.05, 1.2):
    axes[0].semilogy(norms_rnn(factor), label=f"weights of size {factor}")
for forget in (0.0, 1.0, 3.0, 5.0):
    share = float(gatewise.sigmoid(forget))
    axes[1].semilogy(norms_lstm(forget), label=f"bias {forget:.0f}: keeps {share:.1%}")
axes[0].set(title="vanilla", xlabel="steps back", ylabel="length of the gradient")
axes[1].set(title="LSTM, by its forget gate", xlabel="steps back", ylim=(1e-9, 1e7))
for axis in axes:
    axis.legend()
