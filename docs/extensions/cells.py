"""The pictures of the cells, drawn line by line."""

from __future__ import annotations

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

matplotlib.rcParams["svg.hashsalt"] = "gatewise"
matplotlib.rcParams["mathtext.fontset"] = "cm"

Point = tuple[float, float]

INK, BACK = "#2b2b3a", "#c0392b"
SIGMOID, TANH, OTHER = "#cfe4f7", "#fbe0c3", "#e4e4ee"


class Drawing:
    """A sheet with boxes, circles for what is elementwise, and lines."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height))
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
        self.axes.axis("off")

    def box(self, at: Point, text: str, color: str, width: float = 0.9) -> None:
        """A gate, or anything else that has a name."""
        x, y = at
        style = "round,pad=0,rounding_size=0.12"
        corner, height = (x - width / 2, y - 0.28), 0.56
        self.axes.add_patch(
            FancyBboxPatch(
                corner, width, height, boxstyle=style, fc=color, ec=INK, lw=1.2, zorder=3
            )
        )
        self.words(at, text, size=14)

    def circle(self, at: Point, text: str) -> None:
        """An operation on each element."""
        self.axes.add_patch(Circle(at, 0.2, fc="white", ec=INK, lw=1.2, zorder=3))
        self.words(at, text, size=13)

    def words(self, at: Point, text: str, size: float = 13, color: str = INK) -> None:
        """Text with its middle at a point."""
        self.axes.text(
            *at, text, ha="center", va="center", fontsize=size, color=color, zorder=4
        )

    def line(self, *points: Point, arrow: bool = True, back: bool = False) -> None:
        """A line through points, with an arrow at its end; `back` is a gradient's way."""
        color, dashes = (BACK, (0, (4, 2))) if back else (INK, "-")
        if len(points) > 2 or not arrow:
            rest = points[:-1] if arrow else points
            self.axes.plot(
                *zip(*rest, strict=True), color=color, ls=dashes, lw=1.4, zorder=1
            )
        if arrow:
            self.axes.add_patch(
                FancyArrowPatch(
                    points[-2], points[-1], arrowstyle="-|>", mutation_scale=12,
                    color=color, lw=1.4, ls=dashes, shrinkA=0, shrinkB=0, zorder=2,
                )
            )  # fmt: skip

    def dot(self, at: Point) -> None:
        """Where a line parts."""
        self.axes.add_patch(Circle(at, 0.05, color=INK, zorder=3))


def rnn() -> Figure:
    """The vanilla cell."""
    draw = Drawing(8, 3)
    draw.words((0.45, 2.1), r"$a_{t-1}$")
    draw.box((2.0, 2.1), r"$W_{aa}$", OTHER)
    draw.line((0.8, 2.1), (1.55, 2.1))
    draw.words((0.45, 0.7), r"$x_t$")
    draw.box((2.0, 0.7), r"$W_{ax}$", OTHER)
    draw.line((0.8, 0.7), (1.55, 0.7))
    draw.circle((3.6, 2.1), "$+$")
    draw.line((2.45, 2.1), (3.4, 2.1))
    draw.line((2.45, 0.7), (3.6, 0.7), (3.6, 1.9))
    draw.words((3.6, 2.75), r"$b_a$")
    draw.line((3.6, 2.6), (3.6, 2.3))
    draw.box((5.0, 2.1), r"$\tanh$", TANH)
    draw.line((3.8, 2.1), (4.55, 2.1))
    draw.words((4.15, 2.3), r"$z_t$", 12)
    draw.line((5.45, 2.1), (7.2, 2.1))
    draw.words((7.55, 2.1), r"$a_t$")
    return draw.figure


def lstm() -> Figure:
    """The LSTM's cell, with the notebook's names."""
    draw = Drawing(10, 5.1)
    top, bottom, gates, middle = 4.3, 0.8, 1.9, 3.15
    draw.words((0.4, top), r"$c_{t-1}$")
    draw.words((0.4, bottom), r"$a_{t-1}$")
    draw.words((1.15, 0.2), r"$x_t$")
    draw.line((0.75, bottom), (6.4, bottom), arrow=False)
    draw.line((1.15, 0.4), (1.15, bottom), arrow=False)
    draw.dot((1.15, bottom))
    for x, name, color in [
        (2.2, r"$f_t\;\sigma$", SIGMOID),
        (3.6, r"$i_t\;\sigma$", SIGMOID),
        (5.0, r"$\tilde c_t\;\tanh$", TANH),
        (6.4, r"$o_t\;\sigma$", SIGMOID),
    ]:
        draw.line((x, bottom), (x, gates - 0.28))
        draw.box((x, gates), name, color, 1.2)
        if x < 6.4:
            draw.dot((x, bottom))
    draw.line((0.75, top), (2.0, top))
    draw.circle((2.2, top), r"$\odot$")
    draw.line((2.2, gates + 0.28), (2.2, top - 0.2))
    draw.line((2.4, top), (4.8, top))
    draw.circle((5.0, top), "$+$")
    draw.line((3.6, gates + 0.28), (3.6, middle), (4.8, middle))
    draw.circle((5.0, middle), r"$\odot$")
    draw.line((5.0, gates + 0.28), (5.0, middle - 0.2))
    draw.line((5.0, middle + 0.2), (5.0, top - 0.2))
    draw.line((5.2, top), (9.2, top))
    draw.words((9.6, top), r"$c_t$")
    draw.dot((8.0, top))
    draw.box((8.0, 3.45), r"$\tanh$", TANH)
    draw.line((8.0, top), (8.0, 3.73))
    draw.circle((8.0, 2.5), r"$\odot$")
    draw.line((8.0, 3.17), (8.0, 2.7))
    draw.line((6.4, gates + 0.28), (6.4, 2.5), (7.8, 2.5))
    draw.line((8.0, 2.3), (8.0, bottom), (9.2, bottom))
    draw.words((9.6, bottom), r"$a_t$")
    return draw.figure


def gru() -> Figure:
    """The GRU's cell, with the notebook's names."""
    draw = Drawing(10, 5.1)
    top, state, inputs, gates, middle = 4.4, 1.0, 0.45, 1.95, 3.15
    draw.words((0.4, top), r"$a_{t-1}$")
    draw.words((0.4, inputs), r"$x_t$")
    draw.line((0.75, inputs), (8.0, inputs), arrow=False)
    draw.dot((1.0, top))
    draw.line((1.0, top), (1.0, state), (4.4, state), arrow=False)
    for x, name, color in [
        (2.4, r"$r_t\;\sigma$", SIGMOID),
        (4.6, r"$u_t\;\sigma$", SIGMOID),
        (7.8, r"$\tilde c_t\;\tanh$", TANH),
    ]:
        draw.line((x + 0.2, inputs), (x + 0.2, gates - 0.28))
        draw.box((x, gates), name, color, 1.2)
        if x < 7:
            draw.line((x - 0.2, state), (x - 0.2, gates - 0.28))
            draw.dot((x + 0.2, inputs))
    draw.dot((2.2, state))
    # The reset gate on the old state, and from there to the candidate.
    draw.circle((2.4, middle), r"$\odot$")
    draw.dot((2.4, top))
    draw.line((2.4, top), (2.4, middle + 0.2))
    draw.line((2.4, gates + 0.28), (2.4, middle - 0.2))
    draw.line((2.6, middle), (3.5, middle), (3.5, 1.35), (7.6, 1.35), (7.6, gates - 0.28))
    # The update gate, and 1 minus it.
    draw.dot((4.6, middle))
    draw.line((4.6, gates + 0.28), (4.6, middle), (7.6, middle))
    draw.circle((7.8, middle), r"$\odot$")
    draw.line((7.8, gates + 0.28), (7.8, middle - 0.2))
    draw.line((4.6, middle), (4.6, 3.4))
    draw.box((4.6, 3.68), r"$1-$", OTHER, 0.7)
    draw.line((4.6, 3.96), (4.6, top - 0.2))
    draw.line((0.75, top), (4.4, top))
    draw.circle((4.6, top), r"$\odot$")
    draw.line((4.8, top), (7.6, top))
    draw.circle((7.8, top), "$+$")
    draw.line((7.8, middle + 0.2), (7.8, top - 0.2))
    draw.line((8.0, top), (9.2, top))
    draw.words((9.6, top), r"$a_t$")
    return draw.figure


def through_time() -> Figure:
    """A sequence, and the gradients' way back through it."""
    draw = Drawing(10, 3.6)
    for number, name in enumerate(["1", "2", r"t", "T"]):
        x = 1.9 + 2.1 * number
        draw.box((x, 1.8), r"cell", OTHER, 1.0)
        draw.words((x, 0.3), rf"$x_{{{name}}}$")
        draw.line((x - 0.15, 0.55), (x - 0.15, 1.52))
        draw.line((x + 0.15, 1.52), (x + 0.15, 0.55), back=True)
        draw.line((x - 0.15, 2.08), (x - 0.15, 2.95))
        draw.line((x + 0.15, 2.95), (x + 0.15, 2.08), back=True)
        draw.words((x - 0.15, 3.2), rf"$a_{{{name}}}$")
        draw.words((x + 0.55, 2.6), rf"$da_{{{name}}}$", 12, BACK)
        if number:
            draw.line((x - 1.6, 1.92), (x - 0.5, 1.92))
            draw.line((x - 0.5, 1.68), (x - 1.6, 1.68), back=True)
    draw.words((0.35, 1.92), r"$a_0$")
    draw.line((0.6, 1.92), (1.4, 1.92))
    draw.line((1.4, 1.68), (0.6, 1.68), back=True)
    draw.words((0.35, 1.5), r"$da_0$", 12, BACK)
    return draw.figure


def head() -> Figure:
    """The prediction, its loss, and the way back through both."""
    draw = Drawing(9, 2.4)
    draw.words((0.4, 1.3), r"$a_t$")
    draw.box((2.1, 1.3), r"$W_y,\,b_y$", OTHER, 1.2)
    draw.box((4.5, 1.3), r"softmax", TANH, 1.2)
    draw.box((7.0, 1.3), r"$-\sum y\,\log\hat y$", OTHER, 1.8)
    draw.words((8.7, 1.3), r"$L$")
    for start, end, below in [
        (0.7, 1.5, r"$W_y^\top dz_t$"),
        (2.7, 3.9, r"$dz_t=\hat y_t-y_t$"),
    ]:
        draw.line((start, 1.42), (end, 1.42))
        draw.line((end, 1.18), (start, 1.18), back=True)
        draw.words(((start + end) / 2, 0.75), below, 12, BACK)
    draw.words((3.3, 1.65), r"$z_t$", 12)
    draw.line((5.1, 1.42), (6.1, 1.42))
    draw.words((5.6, 1.7), r"$\hat y_t$", 12)
    draw.line((7.9, 1.42), (8.5, 1.42))
    draw.words((7.0, 2.2), r"$y_t$")
    draw.line((7.0, 2.05), (7.0, 1.58))
    draw.line((6.1, 1.18), (5.1, 1.18), back=True)
    return draw.figure


def figures() -> dict[str, Figure]:
    """All pictures, by the names of their files."""
    return {
        "rnn": rnn(), "lstm": lstm(), "gru": gru(), "through_time": through_time(),
        "head": head(),
    }  # fmt: skip
