"""
Narrow weights: what a quarter of the bytes costs
=================================================

``quantize`` makes a network of one with narrower weights. What that does to its size
and to its answers, on a network that has learnt something.
"""

# %%
# The digits again, as in :doc:`plot_digits`, learnt by a larger network than they need.
import numpy as np
from matplotlib import pyplot
from sklearn.datasets import load_digits

import gatewise
from gatewise.training import minibatches

pictures, digits = load_digits(return_X_y=True)
x = pictures.reshape(-1, 8, 8).transpose(0, 2, 1).astype("float32") / 16
order = np.random.default_rng(0).permutation(len(digits))
x, digits = x[order], digits[order]
model = gatewise.Sequential(
    gatewise.LSTM(8, 128, seed=0), gatewise.Last(), gatewise.Linear(128, 10, seed=1)
)
history = gatewise.fit(
    model,
    minibatches(x[:1300], digits[:1300]),
    gatewise.cross_entropy,
    gatewise.Adam(0.003),
    epochs=20,
    max_norm=1.0,
    progress=False,
)

# %%
# float16 halves the bytes, int8 quarters them. The answers are compared with those of the
# network itself.
unseen, right = x[1300:], digits[1300:]
whole = gatewise.predict(model, unseen)
names, errors, sizes, shares = [], [], [], []
for kind in ("float32", "float16", "int8"):
    narrow = model if kind == "float32" else model.quantize(kind)
    scores = gatewise.predict(narrow, unseen)
    matrices = [value for name, value in model.state_dict().items() if "weight" in name]
    bytes_each = {"float32": 4, "float16": 2, "int8": 1}[kind]
    names.append(kind)
    sizes.append(sum(matrix.size for matrix in matrices) * bytes_each / 1024)
    errors.append(np.abs(scores - whole).ravel())
    shares.append(float((scores.argmax(axis=1) == right).mean()))
    print(f"{kind:8} {sizes[-1]:4.0f} KiB of weights, {shares[-1]:.1%} right")

# %%
figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
axes[0].bar(names, sizes, color="C0")
axes[0].set_ylabel("weights, KiB")
bars = axes[1].bar(names, [100 * share for share in shares], color="C2")
axes[1].bar_label(bars, fmt="%.1f %%")
axes[1].set(ylim=(90, 101), ylabel="unseen digits right, %")
for name, error in zip(names[1:], errors[1:], strict=True):
    axes[2].hist(np.log10(error + 1e-9), bins=40, alpha=0.6, label=name)
axes[2].set(xlabel="difference of the scores, powers of ten")
axes[2].legend()
