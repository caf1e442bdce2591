"""The cases: which cells, sizes and kinds of work are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CELLS = ("lstm", "gru", "rnn")
KINDS = ("inference", "training", "ragged", "float64", "real")
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


@dataclass(frozen=True)
class Case:
    """One piece of work, the same for every contestant.

    A case of one step at inference is a streaming step: the state is carried from call to
    call. All others start from zeros at each call.
    """

    kind: str
    cell: str
    batch: int
    time: int
    input_size: int
    hidden_size: int
    layers: int = 1
    directions: int = 1
    dtype: str = "float32"
    training: bool = False
    ragged: bool = False
    name: str = ""

    def __str__(self) -> str:
        sizes = f"B{self.batch} T{self.time}"
        if self.name:
            layers = f" x{self.layers}" if self.layers > 1 else ""
            both = " two-way" if self.directions > 1 else ""
            network = f"{self.cell} {self.input_size}-{self.hidden_size}{layers}{both}"
            return f"{self.name}: {network} {sizes}"
        marked = self.training and self.kind in ("ragged", "float64")
        return f"{self.cell} {sizes} H{self.hidden_size}{' training' * marked}"

    @property
    def streaming(self) -> bool:
        """Whether a call is one step that carries the state on."""
        return self.time == 1 and not self.training

    @property
    def gates(self) -> int:
        """How many rows of a weight matrix belong to a unit."""
        return GATES[self.cell]

    def input_sizes(self) -> list[int]:
        """The features that each direction of each layer reads, layer by layer."""
        deeper = [self.hidden_size * self.directions] * (self.layers - 1)
        sizes = [self.input_size, *deeper]
        return [size for size in sizes for _ in range(self.directions)]


def grid() -> list[Case]:
    """Every case, grouped by kind."""
    return [*_inference(), *_training(), *_ragged(), *_float64(), *_real()]


def quick_grid() -> list[Case]:
    """A sample of every kind."""
    full = grid()
    wanted = {
        Case("inference", "lstm", 1, 1, 64, 64),
        Case("inference", "lstm", 1, 1, 256, 256),
        Case("inference", "lstm", 8, 100, 64, 64),
        Case("inference", "lstm", 128, 50, 256, 256),
        Case("ragged", "lstm", 32, 100, 128, 128, ragged=True),
        Case("float64", "lstm", 32, 100, 128, 128, dtype="float64"),
        *(Case("inference", cell, 1, 1, 128, 128) for cell in CELLS),
        *(Case("inference", cell, 1, 100, 128, 128) for cell in CELLS),
        *(Case("inference", cell, 32, 100, 128, 128) for cell in CELLS),
        *(Case("training", cell, 32, 100, 64, 64, training=True) for cell in CELLS),
        *(case for case in full if case.kind == "real" and case.batch == 1),
    }
    return [case for case in full if case in wanted]


def _square(
    kind: str,
    shapes: Sequence[tuple[int, int, tuple[int, ...]]],
    *,
    dtype: str = "float32",
    training: bool = False,
    ragged: bool = False,
) -> list[Case]:
    """Cases of all cells with as many inputs as units, in shapes of batch, time and H."""
    return [
        Case(kind, cell, batch, time, h, h, dtype=dtype, training=training, ragged=ragged)
        for cell in CELLS
        for batch, time, sizes in shapes
        for h in sizes
    ]


def _inference() -> list[Case]:
    every = (32, 64, 128, 256, 512, 1024)
    shapes = [
        (1, 1, every),
        (1, 100, every),
        (8, 100, every[1:5]),
        (32, 100, every[1:5]),
        (128, 50, every[3:5]),
    ]
    return _square("inference", shapes)


def _training() -> list[Case]:
    shapes = [(1, 100, (128,)), (32, 100, (64, 128, 256)), (128, 50, (256, 512))]
    return _square("training", shapes, training=True)


def _ragged() -> list[Case]:
    inference = _square("ragged", [(32, 100, (64, 128, 256))], ragged=True)
    training = _square("ragged", [(32, 100, (128,))], training=True, ragged=True)
    return inference + training


def _float64() -> list[Case]:
    shapes = [
        (1, 1, (64, 256)),
        (1, 100, (64, 128, 256)),
        (8, 100, (128,)),
        (32, 100, (64, 128, 256)),
        (128, 50, (256,)),
    ]
    training = [(1, 100, (128,)), (32, 100, (64, 128, 256))]
    return [
        *_square("float64", shapes, dtype="float64"),
        *_square("float64", training, dtype="float64", training=True),
    ]


def _real() -> list[Case]:
    def real(
        name: str, cell: str, i: int, h: int, *rest: int, training: bool = False
    ) -> Case:
        layers, directions, batch, time = rest
        return Case(
            "real",
            cell,
            batch,
            time,
            i,
            h,
            layers,
            directions,
            training=training,
            name=name,
        )

    return [
        real("voice activity", "lstm", 128, 128, 1, 1, 1, 1),
        real("guitar amplifier", "lstm", 1, 40, 1, 1, 1, 512),
        real("noise suppression", "gru", 384, 384, 3, 1, 1, 1),
        real("speaker embedding", "lstm", 40, 256, 3, 1, 32, 160),
        real("diarisation", "lstm", 60, 128, 4, 2, 32, 293),
        real("language model", "lstm", 400, 1152, 3, 1, 16, 70, training=True),
    ]


def memory_cases(quick: bool) -> list[Case]:
    """Where the peak memory of training is measured."""
    shapes = [(32, 100, (256,))] if quick else [(32, 100, (256,)), (128, 50, (512,))]
    cases = _square("memory", shapes, training=True)
    return cases[:1] if quick else cases
