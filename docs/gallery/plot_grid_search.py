"""
Which network? A search with scikit-learn
=========================================

How many units, and what to make of the steps of a sequence? ``gatewise.sklearn`` has
networks as estimators, so scikit-learn's own search tries them, on sequences of unequal
length.
"""

# %%
# The utterances of :doc:`plot_japanese_vowels`, as a list of arrays ``(time, 12)``.
import numpy as np
from aeon.datasets import load_japanese_vowels
from matplotlib import pyplot
from sklearn.model_selection import GridSearchCV

from gatewise.sklearn import RecurrentClassifier

series, speakers = load_japanese_vowels(split="train")[:2]
sequences = [each.T for each in series]

# %%
# Three-fold cross-validation of nine networks; each network's features are scaled by what
# it is trained on, so that nothing is known ahead.
SIZES, POOLS = [8, 16, 48], ["last", "mean", "max"]
search = GridSearchCV(
    RecurrentClassifier(bidirectional=True, max_iter=20, random_state=0),
    {"hidden_size": SIZES, "pooling": POOLS},
    cv=3,
)
search.fit(sequences, speakers)
print(search.best_params_, f"{search.best_score_:.1%}")

# %%
# What the best of them says of 370 utterances that no search has seen.
unseen, right = load_japanese_vowels(split="test")[:2]
print(f"{search.score([each.T for each in unseen], right):.1%} right")

# %%
shares = 100 * search.cv_results_["mean_test_score"].reshape(len(SIZES), len(POOLS))
times = search.cv_results_["mean_fit_time"].reshape(len(SIZES), len(POOLS))
figure, (left, middle) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for axes, values, title in (
    (left, shares, "right, %, in cross-validation"),
    (middle, times, "seconds for a training"),
):
    axes.imshow(values, cmap="Blues", aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        dark = value > values.mean()
        color = "white" if dark else "black"
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=color)
    axes.set(title=title, xlabel="pooling", ylabel="units of each direction")
    axes.set_xticks(range(len(POOLS)), POOLS)
    axes.set_yticks(range(len(SIZES)), [str(size) for size in SIZES])
