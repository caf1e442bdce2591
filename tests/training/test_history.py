"""What `fit` returns: a list that can be looked at."""

from __future__ import annotations

import math
import pickle
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gatewise.training import Epoch, History

EPOCHS = [
    Epoch(1, 2.0, 2.5, {"accuracy": 0.3}, {"accuracy": 0.2}, 0.1),
    Epoch(2, 1.0, 1.5, {"accuracy": 0.6}, {"accuracy": 0.5}, 0.1),
    Epoch(3, 0.5, 1.75, {"accuracy": 0.9}, {"accuracy": math.nan}, 0.05),
]


class Checker(HTMLParser):
    """Counts elements, and finds those that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    assert not checker.open
    return checker


def test_it_is_a_list_of_epochs() -> None:
    history = History(EPOCHS, "enough")
    assert history == EPOCHS
    assert isinstance(history, list)
    assert history[1:] == EPOCHS[1:]
    assert [epoch.number for epoch in history] == [1, 2, 3]
    assert history.best is EPOCHS[1]
    again = pickle.loads(pickle.dumps(History(EPOCHS[:2], "enough")))
    assert again == EPOCHS[:2]
    assert again.stopped == "enough"
    assert hash(EPOCHS[0]) != hash(EPOCHS[1])
    assert Epoch(1, 0.5) == Epoch(1, 0.5, None)


def test_it_becomes_a_dictionary() -> None:
    found = History(EPOCHS).to_dict()
    assert list(found) == [
        "epoch",
        "loss",
        "accuracy",
        "validation_loss",
        "validation_accuracy",
        "learning_rate",
    ]
    assert found["validation_loss"] == [2.5, 1.5, 1.75]
    assert math.isnan(found["validation_accuracy"][2])
    assert History().to_dict() == {"epoch": []}
    assert History([Epoch(1, 2.0)]).to_dict() == {"epoch": [1], "loss": [2.0]}


def test_it_says_how_it_went() -> None:
    assert repr(History(EPOCHS)) == (
        "<History of 3 epochs: loss 0.5, accuracy 0.9, validation_loss 1.75, "
        "validation_accuracy nan; best epoch 2>"
    )
    assert repr(History([Epoch(1, 2.0)])) == "<History of 1 epoch: loss 2; best epoch 1>"
    assert repr(History()) == "<History of no epochs>"


def test_the_best_is_no_nan() -> None:
    assert History([Epoch(1, math.nan), Epoch(2, 3.0)]).best.number == 2
    with pytest.raises(ValueError, match=r"^history should have epochs, got none"):
        _ = History().best


def test_a_notebook_shows_curves_and_a_table() -> None:
    checker = checked(History(EPOCHS, "a < b & c")._repr_html_())
    assert checker.counts["svg"] == 2
    assert checker.counts["polyline"] == 4
    assert checker.counts["tr"] == 4
    assert "stopped: a < b & c" in checker.text
    assert checked(History()._repr_html_()).text == "no epochs"
    # One epoch is a point, and all alike are a line.
    checked(History(EPOCHS[:1])._repr_html_())
    checked(History([Epoch(1, 1.0), Epoch(2, 1.0)])._repr_html_())
    checked(History([Epoch(1, math.nan), Epoch(2, math.inf)])._repr_html_())


def test_a_long_table_is_cut_short() -> None:
    losses = [abs(number - 40) + 1.0 for number in range(1, 101)]
    history = History([Epoch(n, loss) for n, loss in enumerate(losses, 1)])
    checker = checked(history._repr_html_())
    # The head, six rows at either end, the best, and two gaps.
    assert checker.counts["tr"] == 1 + 6 + 1 + 6 + 2
    assert "<b" not in history._repr_html_()
    assert re.search(r'font-weight: bold"><td[^>]*>40</td>', history._repr_html_())


def test_names_cannot_be_markup() -> None:
    history = History([Epoch(1, 1.0, None, {"<script>": 1.0})])
    assert "script" not in checked(history._repr_html_()).counts


def test_a_plot_has_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = History(EPOCHS).plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    assert [axis.get_title() for axis in figure.axes] == ["loss", "accuracy"]
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert set(lines) == {"training", "validation", "best epoch"}
    assert list(lines["validation"].get_ydata()) == [2.5, 1.5, 1.75]
    assert list(lines["training"].get_xdata()) == [1, 2, 3]
    assert figure._repr_png_().startswith(b"\x89PNG")
    History(EPOCHS[:1]).plot()
    with pytest.raises(ValueError, match="history should have epochs to plot, got none"):
        History().plot()


def test_without_matplotlib_a_plot_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'gatewise\[plot\]'"):
        History(EPOCHS).plot()
