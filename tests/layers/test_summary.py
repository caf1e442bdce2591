"""What `summary` prints, and what a notebook shows."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import gatewise


def make_model() -> gatewise.Sequential:
    head = gatewise.Linear(16, 16)
    return gatewise.Sequential(
        gatewise.Embedding(50, 16),
        gatewise.Conv1d(16, 8, 3, stride=2),
        gatewise.Sequential(
            gatewise.LSTM(8, 16, 2, bidirectional=True, merge="sum", dtype="float64"),
            gatewise.Dropout(0.2),
        ),
        gatewise.AttentionPool(16),
        head,
        gatewise.ReLU(),
        head,
    )


def test_every_layer_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model()
    model.summary()
    lines = capsys.readouterr().out.splitlines()
    rows = [re.split(r"  +", line.strip()) for line in lines if not line.startswith("-")]
    places, shapes = [row[0] for row in rows[1:-1]], [row[2] for row in rows[1:-1]]
    assert places == ["0", "1", "2.0", "2.1", "3", "4", "5", "6"]
    # Those of the outputs, of ten steps say.
    x: Any = np.ones((3, 10), int)
    for layer, shape in zip(model[:2], shapes, strict=False):
        x = layer(x)
        words = shape.strip("()").split(", ")
        assert words[0] == "batch"
        assert words[1] == {10: "time", 4: "time/2"}[x.shape[1]]
        assert int(words[2]) == x.shape[2]
    assert shapes[2:] == ["(batch, time/2, 16)"] * 2 + ["(batch, 16)"] * 4
    counts = [int(row[3].replace(",", "")) for row in rows[1:-1]]
    sizes = [int(row[4].replace(",", "")) for row in rows[1:-1]]
    assert sum(counts) == model.parameter_count == int(rows[-1][-2].replace(",", ""))
    assert sum(sizes) == sum(a.nbytes for a in model.parameters().values())
    assert rows[-2][1] == "Linear(16, 16), again"
    assert rows[-2][3] == "0"
    assert len({len(line) for line in lines if line.startswith("-")}) == 1


@pytest.mark.parametrize(
    "layer",
    [
        gatewise.GRU(3, 4).quantize("int8"),
        gatewise.Linear(2, 3),
        gatewise.ReLU(),
        gatewise.Last(),
        make_model(),
    ],
)
def test_html_has_the_same_cells(layer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    class Cells(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.data: list[str] = []

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

        def handle_data(self, data: str) -> None:
            self.data.append(data)

    cells = Cells()
    cells.feed(layer._repr_html_())
    assert not cells.open
    layer.summary()
    lines = capsys.readouterr().out.splitlines()
    words = [w for line in lines if not line.startswith("--") for w in line.split()]
    assert " ".join(cells.data).split() == words


def test_what_a_layer_of_ones_own_says_is_no_markup() -> None:
    class Odd(gatewise.Layer):
        def arguments(self) -> dict[str, Any]:
            return {"text": "<b>"}

        def compute(self, x: Any, call: Any) -> Any:
            return x

        def gradients(self, dy: Any, call: Any) -> Any:
            return dy, {}

    assert "<b>" not in Odd()._repr_html_()
    assert "&lt;b&gt;" in Odd()._repr_html_()
