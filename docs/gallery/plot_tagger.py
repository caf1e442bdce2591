"""
A tagger: colouring code, letter by letter
==========================================

An editor colours code by rules of the language. Here a network learns the colours from
examples: for each character of a Python file, is it part of a keyword, a name, a
number, a string, a comment, or an operator? Two directions read the text, since a
quotation mark means one thing at the beginning and another at the end.
"""

# %%
# The files are NumPy's own, and the standard library's tokenizer knows the right answers.
import builtins
import io
import keyword
import tokenize
from pathlib import Path

import numpy as np
from matplotlib import pyplot

import gatewise
from gatewise.training import Cosine, minibatches

TAGS = ["space", "keyword", "built-in", "name", "number", "string", "comment", "operator"]
COLORS = [
    "#ffffff",
    "#a626a4",
    "#0184bc",
    "#383a42",
    "#986801",
    "#50a14f",
    "#a0a1a7",
    "#e45649",
]


def tag(token: tokenize.TokenInfo) -> int:
    """Return the number of a token's tag."""
    if token.type == tokenize.NAME:
        if keyword.iskeyword(token.string):
            return 1
        return 2 if hasattr(builtins, token.string) else 3
    if token.type == tokenize.NUMBER:
        return 4
    if token.type == tokenize.STRING or tokenize.tok_name[token.type].startswith("FSTRING"):
        return 5
    if token.type == tokenize.COMMENT:
        return 6
    return 7 if token.type == tokenize.OP else 0


def tags(code: str) -> np.ndarray:
    """Return the tag of each character."""
    lines = code.splitlines(keepends=True)
    starts = np.cumsum([0, *map(len, lines)])
    found = np.zeros(len(code), int)
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.string.strip():
            (row, column), (last_row, last_column) = token.start, token.end
            found[starts[row - 1] + column : starts[last_row - 1] + last_column] = tag(
                token
            )
    return found


def read(names: list[str], length: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Return characters and tags of files, cut into sequences of one length."""
    home = Path(np.__file__).parent
    code = "".join((home / name).read_text("utf-8") for name in names)
    code = code.encode("ascii", "replace").decode()
    count = len(code) // length
    characters = np.frombuffer(code.encode(), np.uint8)[: count * length].astype(int)
    return characters.reshape(count, length), tags(code)[: count * length].reshape(
        count, length
    )


x, targets = read(
    ["lib/_function_base_impl.py", "lib/_npyio_impl.py", "lib/_format_impl.py"]
)
unseen, wanted = read(["lib/_arraysetops_impl.py"])
print(f"{x.size} characters to learn from, {unseen.size} to be judged on")

# %%
# An embedding of each character, two directions, and a score for each tag.
model = gatewise.Sequential(
    gatewise.Embedding(128, 24, seed=0),
    gatewise.GRU(24, 64, bidirectional=True, seed=1),
    gatewise.Linear(128, len(TAGS), seed=2),
)
history = gatewise.fit(
    model,
    minibatches(x, targets, batch_size=32),
    gatewise.cross_entropy,
    gatewise.Adam(0.005),
    epochs=8,
    metrics=[gatewise.accuracy],
    schedule=Cosine(),
    max_norm=1.0,
    progress=False,
)

# %%
# Beside it, what each character alone is most often, without any context.
answers = gatewise.predict(model, unseen).argmax(axis=-1)
counts = np.zeros((128, len(TAGS)))
np.add.at(counts, (x.ravel(), targets.ravel()), 1)
alone = counts.argmax(axis=1)[unseen]
visible = wanted > 0
print(f"of {visible.sum()} visible characters right:")
print(f"  the network     {(answers == wanted)[visible].mean():.1%}")
print(f"  without context {(alone == wanted)[visible].mean():.1%}")

# %%
# Code that it never saw, in its colours. What it has wrong is underlined.
SAMPLE = '''\
def mean(values, weights=None):
    """The average; weighted if you like."""
    if weights is None:  # all alike
        return sum(values) / len(values)
    total = 0.0
    for value, weight in zip(values, weights):
        total += value * weight
    return total / sum(weights)
'''
letters = np.frombuffer(SAMPLE.encode(), np.uint8).astype(int)
found, right = model(letters)[0].argmax(axis=-1), tags(SAMPLE)
figure, axes = pyplot.subplots(figsize=(10, 3.4), layout="constrained")
row = column = 0
for letter, given, known in zip(SAMPLE, found, right, strict=True):
    if letter == "\n":
        row, column = row + 1, 0
        continue
    axes.text(column, -row, letter, family="monospace", size=13, color=COLORS[given])
    if known and given != known:
        axes.plot([column, column + 0.9], [-row - 0.25] * 2, "r", lw=1.5)
    column += 1
for place, (name, color) in enumerate(zip(TAGS[1:], COLORS[1:], strict=True)):
    axes.text(7 * place, 1.3, name, color=color, size=11, weight="bold")
axes.set(xlim=(0, 52), ylim=(-row + 0.2, 2))
axes.axis("off")
