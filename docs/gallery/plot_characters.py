"""
A character model: how text becomes likely
==========================================

A network reads English letter by letter and says how likely each next letter is.
Whoever can forecast text can write some.
"""

# %%
# Every CPython carries some two hundred pages about itself.
from pydoc_data.topics import topics

import numpy as np
from matplotlib import pyplot

import gatewise
from gatewise.training import Cosine, minibatches

text = "\n".join(topics[name] for name in sorted(topics))
text = text.encode("ascii", "ignore").decode()
alphabet = sorted(set(text))
codes = {letter: code for code, letter in enumerate(alphabet)}
tokens = np.array([codes[letter] for letter in text])
print(f"{len(text)} characters, {len(alphabet)} different ones")

# %%
# Each sequence is 120 characters; the target of each is the next one.
LENGTH = 120
count = len(tokens) // LENGTH - 1
x = tokens[: count * LENGTH].reshape(count, LENGTH)
targets = tokens[1 : count * LENGTH + 1].reshape(count, LENGTH)
order = np.random.default_rng(0).permutation(count)
x, targets = x[order], targets[order]
end = int(0.9 * count)
model = gatewise.Sequential(
    gatewise.Embedding(len(alphabet), 48, seed=0),
    gatewise.GRU(48, 160, seed=1),
    gatewise.Linear(160, len(alphabet), seed=2),
)
history = gatewise.fit(
    model,
    minibatches(x[:end], targets[:end], batch_size=32),
    gatewise.cross_entropy,
    gatewise.Adam(0.004),
    epochs=7,
    validation=minibatches(x[end:], targets[end:], batch_size=64),
    schedule=Cosine(),
    max_norm=1.0,
    progress=False,
)
bits = np.array(history.to_dict()["validation_loss"]) / np.log(2)
print("bits for a character:", " ".join(f"{value:.2f}" for value in bits))

# %%
# What does it expect? Above, the text; below each letter the five most likely ones to
# follow, the darker the likelier. Within words it is often sure, at their beginnings it
# cannot be.
line = "the function returns an iterator over the list"
probabilities = gatewise.softmax(model([codes[letter] for letter in line])[0].T)
figure, axes = pyplot.subplots(figsize=(12, 2.2), layout="constrained")
for place, letter in enumerate(line):
    axes.text(place, 0.6, letter, ha="center", family="monospace", size=13, weight="bold")
    best = probabilities[:, place].argsort()[::-1][:5]
    for row, code in enumerate(best):
        share = float(probabilities[code, place])
        axes.fill_between(
            [place - 0.5, place + 0.5],
            -row - 0.5,
            -row + 0.5,
            color="C0",
            alpha=share,
            lw=0,
        )
        shown = alphabet[code].replace(" ", "␣").replace("\n", "¶")
        axes.text(
            place, -row, shown, ha="center", va="center", family="DejaVu Sans", size=10
        )
axes.set(xlim=(-1, len(line)), ylim=(-4.7, 1.4))
axes.axis("off")

# %%
# Some units of the state follow something that a reader can name. The one that tells the
# place within a line best, over a page that it reads:
page = text[60_000:60_600]
states, _ = model[1](model[0]([codes[letter] for letter in page]))
place, places = 0, []
for letter in page:
    places.append(place)
    place = 0 if letter == "\n" else place + 1
alike = [abs(np.corrcoef(unit, places)[0, 1]) for unit in states.T]
unit = int(np.argmax(alike))
figure, axes = pyplot.subplots(figsize=(12, 2.4), layout="constrained")
axes.plot(states[:, unit], label=f"unit {unit}")
for end_of_line in np.flatnonzero(np.array(list(page)) == "\n"):
    axes.axvline(end_of_line, color="C7", lw=0.8)
axes.set(xlabel="character; grey lines are ends of lines")
axes.legend(loc="upper right")

# %%
# And it writes: a stream, whose next letter is drawn by the chances that it says.
rng = np.random.default_rng(1)
stream = model.stream()
written = "The function"
scores = stream(codes["\n"])
for letter in written:
    scores = stream(codes[letter])
for _ in range(300):
    chances = gatewise.softmax(scores.astype("float64") / 0.7)
    written += alphabet[rng.choice(len(alphabet), p=chances)]
    scores = stream(codes[written[-1]])
print(written)
