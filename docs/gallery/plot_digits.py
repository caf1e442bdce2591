"""
Handwritten digits, read column by column
=========================================

A picture becomes a sequence: its columns from left to right. A GRU reads them one after
the other, and after each it has an opinion. A narrow 1 is a shorter sequence than a
wide 0.
"""

# %%
# scikit-learn carries 1797 digits of 8 by 8. Empty columns at the sides are cut off, so
# the sequences are of unequal length.
import numpy as np
from matplotlib import pyplot
from sklearn.datasets import load_digits

import gatewise
from gatewise.training import minibatches, pad_sequences

pictures, digits = load_digits(return_X_y=True)
pictures = pictures.reshape(-1, 8, 8).astype("float32") / 16
order = np.random.default_rng(0).permutation(len(digits))
pictures, digits = pictures[order], digits[order]
sequences = [picture.T[picture.max(axis=0) > 0] for picture in pictures]
x, lengths = pad_sequences(sequences)
print(f"{len(x)} sequences of {lengths.min()} to {lengths.max()} columns")

# %%
# A GRU, its last state, and a score for each digit. ``fit`` returns what every epoch came
# to, and that can draw itself.
model = gatewise.Sequential(
    gatewise.GRU(8, 48, seed=0), gatewise.Last(), gatewise.Linear(48, 10, seed=1)
)
train, check, test = slice(0, 1200), slice(1200, 1400), slice(1400, None)
history = gatewise.fit(
    model,
    minibatches(x[train], digits[train], lengths[train]),
    gatewise.cross_entropy,
    gatewise.Adam(0.005),
    epochs=30,
    metrics=[gatewise.accuracy],
    validation=minibatches(x[check], digits[check], lengths[check]),
    max_norm=1.0,
    progress=False,
)
history

# %%
# What it says of digits that it never saw.
scores = gatewise.predict(model, sequences[test])
answers = scores.argmax(axis=1)
print(f"{(answers == digits[test]).mean():.1%} of {len(answers)} are right")

# %%
# And what it thinks on the way: the layers after each column, on one digit of each kind.
# Read from left to right how the first columns leave it undecided.
gru, _, head = model
examples = [int(np.flatnonzero(digits[test] == digit)[0]) for digit in range(10)]
figure, axes = pyplot.subplots(2, 10, figsize=(12, 2.8), layout="constrained")
for (above, below), example in zip(axes.T, examples, strict=True):
    columns = sequences[test][example]
    states, _ = gru(columns)
    opinions = gatewise.softmax(head(states).T)
    above.imshow(columns.T, cmap="gray_r")
    above.axis("off")
    below.imshow(opinions, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    below.set(xticks=[], yticks=[])
axes[1, 0].set(yticks=range(10), ylabel="digit")
axes[1, 0].tick_params(labelsize=6)
