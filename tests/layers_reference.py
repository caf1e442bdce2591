"""What the tests of the layers compare with: a plain reference, and PyTorch's cases.

`recurrence` computes every recurrent layer one sequence and one step at a time in float64,
straight from the formulas. `CASES` are the layers that PyTorch has too.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import gatewise

FIGURES = "torch_figures.npz"


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def recurrence(layer: Any, x: np.ndarray, state: Any = None, lengths: Any = None) -> Any:
    """Return ``y, state, cells`` of `layer` at inference, in float64."""
    x = np.asarray(x, np.float64)
    batch, time, _ = x.shape
    lengths = [time] * batch if lengths is None else lengths
    weights = {name: np.float64(array) for name, array in layer.parameters().items()}
    directions = 2 if layer.bidirectional else 1
    count = layer.num_layers * directions
    if isinstance(state, tuple):
        h, c = np.array(state[0], np.float64), np.array(state[1], np.float64)
    else:
        zeros = np.zeros((count, batch, layer.output_size))
        h = zeros if state is None else np.array(state, np.float64)
        c = np.zeros((count, batch, layer.hidden_size))
    cells = np.zeros((count, batch, time, layer.hidden_size))
    for n in range(layer.num_layers):
        y = np.zeros((batch, time, directions * layer.output_size))
        for d in range(directions):
            k, suffix = n * directions + d, f"_l{n}" + "_reverse" * d
            own = {
                name.removesuffix(suffix): array
                for name, array in weights.items()
                if name.endswith(suffix) and (d or not name.endswith("_reverse"))
            }
            out = slice(d * layer.output_size, (d + 1) * layer.output_size)
            for s, length in enumerate(lengths):
                for t in range(length)[:: -1 if d else 1]:
                    old_h, old_c = h[k, s].copy(), c[k, s].copy()
                    new_h, new_c = _step(layer, own, x[s, t], old_h, old_c)
                    keep = layer.zoneout
                    h[k, s] = keep * old_h + (1 - keep) * new_h
                    keep = getattr(layer, "cell_zoneout", 0)
                    c[k, s] = keep * old_c + (1 - keep) * new_c
                    y[s, t, out], cells[k, s, t] = h[k, s], c[k, s]
        x = y
    return y, (h, c) if isinstance(layer, gatewise.LSTM) else h, cells


def _step(layer: Any, own: Any, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    zero = np.zeros(len(own["weight_ih"]))
    from_x = own["weight_ih"] @ x + own.get("bias_ih", zero)
    w_hh, b_hh = own["weight_hh"], own.get("bias_hh", zero)
    size = layer.hidden_size
    if isinstance(layer, gatewise.RNN):
        total = from_x + w_hh @ h + b_hh
        return np.tanh(total) if layer.nonlinearity == "tanh" else np.maximum(total, 0), c
    if isinstance(layer, gatewise.GRU):
        from_h = w_hh @ h + b_hh
        r = sigmoid(from_x[:size] + from_h[:size])
        z = sigmoid(from_x[size : 2 * size] + from_h[size : 2 * size])
        if layer.reset_after:
            n = np.tanh(from_x[2 * size :] + r * from_h[2 * size :])
        else:
            n = np.tanh(from_x[2 * size :] + w_hh[2 * size :] @ (r * h) + b_hh[2 * size :])
        return (1 - z) * n + z * h, c
    i, f, g, o = np.split(from_x + w_hh @ h + b_hh, 4)
    to_i, to_f, to_o = own.get("weight_peephole", np.zeros((3, size)))
    c = sigmoid(f + to_f * c) * c + sigmoid(i + to_i * c) * np.tanh(g)
    h = sigmoid(o + to_o * c) * np.tanh(c)
    return own["weight_hr"] @ h if "weight_hr" in own else h, c


@dataclass(frozen=True)
class Case:
    """A layer that PyTorch has too, and the size of what it is run on."""

    kind: str
    hidden_size: int
    batch: int
    time: int
    ragged: bool = False
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        options = "-".join(f"{key}={value}" for key, value in self.options.items())
        ragged = "-ragged" if self.ragged else ""
        sizes = f"H{self.hidden_size}-B{self.batch}-T{self.time}"
        return f"{self.kind}-{sizes}{ragged}{'-' if options else ''}{options}"

    @property
    def input_size(self) -> int:
        return 1 + (self.hidden_size + self.time) % 5

    def layer(self, dtype: str) -> Any:
        """The layer, with weights that float32 can hold too."""
        layer = getattr(gatewise, self.kind)(
            self.input_size, self.hidden_size, **self.options, dtype=dtype
        )
        generator = self._generator()
        bound = 1 / np.sqrt(self.hidden_size)
        layer.set_parameters(
            {
                name: np.float32(generator.uniform(-bound, bound, array.shape))
                for name, array in layer.parameters().items()
            }
        )
        return layer

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(self.name.encode()))

    def arguments(self) -> dict[str, Any]:
        """Input, state, lengths and the gradients that come from above, in float32."""
        generator = self._generator()
        directions = 2 if self.options.get("bidirectional") else 1
        size = self.options.get("proj_size") or self.hidden_size
        count = self.options.get("num_layers", 1) * directions

        def draw(*shape: int) -> np.ndarray:
            return np.float32(generator.standard_normal(shape))

        def draw_state() -> Any:
            h = draw(count, self.batch, size)
            return (
                (h, draw(count, self.batch, self.hidden_size)) if self.kind == "LSTM" else h
            )

        return {
            "x": draw(self.batch, self.time, self.input_size),
            "state": draw_state(),
            "lengths": self.lengths(),
            "dy": draw(self.batch, self.time, directions * size),
            "dstate": draw_state(),
        }

    def lengths(self) -> list[int] | None:
        """Lengths with a zero and a tie, where the batch is large enough."""
        if not self.ragged:
            return None
        return [self.time, 1, 0, self.time // 2 + 1, self.time, 1, self.time // 2][
            : self.batch
        ]


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu"}),
    ("LSTM", {}),
    ("LSTM", {"proj_size": 2}),
    ("GRU", {}),
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True},
    {"bias": False},
    {"num_layers": 3, "bidirectional": True, "bias": False},
]
SIZES = [
    # hidden size, batch, time, ragged
    (1, 1, 1, False),
    (3, 2, 7, False),
    (8, 7, 2, False),
    (17, 2, 7, True),
    (64, 7, 7, False),
    (64, 1, 7, False),
    (3, 7, 1, True),
]


def grid() -> Iterator[Case]:
    """Every kind with every option on a ragged batch, and with one option at every size."""
    for k, (kind, own) in enumerate(KINDS):
        for options in OPTIONS:
            yield Case(kind, 8, 7, 7, True, own | options)
        for s, size in enumerate(SIZES):
            if size[0] > own.get("proj_size", 0):
                yield Case(kind, *size, own | OPTIONS[(k + s) % len(OPTIONS)])


CASES = list(grid())


def results(y: Any, state: Any, dx: Any, dstate: Any, gradients: Any) -> dict[str, Any]:
    """Everything that a forward and a backward pass give, by name."""
    named = {"y": y, "dx": dx}
    for name, parts in (("state", state), ("dstate", dstate)):
        parts = parts if isinstance(parts, tuple) else (parts,)
        named |= {f"{name}[{i}]": part for i, part in enumerate(parts)}
    return named | dict(gradients)


def run_layer(case: Case, dtype: str) -> dict[str, Any]:
    """The results of gatewise for a case."""
    layer, given = case.layer(dtype), case.arguments()
    y, state, tape = layer.forward(given["x"], given["state"], lengths=given["lengths"])
    return results(y, state, *layer.backward(tape, given["dy"], given["dstate"]))


def run_torch(case: Case) -> dict[str, np.ndarray]:
    """The results of PyTorch for a case, in float64.

    PyTorch refuses empty sequences, so it gets the others: an empty one keeps its state,
    has no outputs, and hands the gradient of its state through.
    """
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    layer, given = case.layer("float64"), case.arguments()
    twin = getattr(torch.nn, case.kind)(
        case.input_size,
        case.hidden_size,
        **case.options,
        batch_first=True,
        dtype=torch.float64,
    )
    twin.load_state_dict(
        {name: torch.tensor(array) for name, array in layer.state_dict().items()}
    )

    def tensors(parts: Any, indices: Any, grad: bool) -> list[Any]:
        parts = parts if isinstance(parts, tuple) else (parts,)
        return [
            torch.tensor(np.float64(part[:, indices]), requires_grad=grad) for part in parts
        ]

    lengths = case.lengths() or [case.time] * case.batch
    some = [i for i, length in enumerate(lengths) if length]
    x = torch.tensor(np.float64(given["x"][some]), requires_grad=True)
    initial = tensors(given["state"], some, True)
    packed = pack_padded_sequence(
        x, [lengths[i] for i in some], batch_first=True, enforce_sorted=False
    )
    outputs, final = twin(packed, tuple(initial) if case.kind == "LSTM" else initial[0])
    y, _ = pad_packed_sequence(outputs, batch_first=True, total_length=case.time)
    final = final if isinstance(final, tuple) else (final,)
    loss = (y * torch.tensor(np.float64(given["dy"][some]))).sum()
    for part, dpart in zip(final, tensors(given["dstate"], some, False), strict=True):
        loss = loss + (part * dpart).sum()
    loss.backward()

    def whole(found: Any, like: np.ndarray, axis: int) -> np.ndarray:
        array = np.float64(like)
        array[(slice(None),) * axis + (some,)] = found.detach().numpy()
        return array

    def parts(given: Any, found: list[Any]) -> tuple[np.ndarray, ...]:
        given = given if isinstance(given, tuple) else (given,)
        return tuple(whole(f, g, 1) for f, g in zip(found, given, strict=True))

    return results(
        whole(y, np.zeros_like(given["dy"]), 0),
        parts(given["state"], list(final)),
        whole(x.grad, np.zeros_like(given["x"]), 0),
        parts(given["dstate"], [part.grad for part in initial]),
        {name: parameter.grad.numpy() for name, parameter in twin.named_parameters()},
    )


KEPT = 32


def digest(array: Any) -> np.ndarray:
    """At most 32 figures that tell an array: itself, or sums over parts of it.

    Each number of the array, under a sign of its own, stands in one sum.
    """
    flat = np.asarray(array, np.float64).ravel()
    if flat.size <= KEPT:
        return flat
    generator = np.random.default_rng(flat.size)
    part, sign = (
        generator.integers(KEPT, size=flat.size),
        generator.choice([-1, 1], flat.size),
    )
    return np.bincount(part, flat * sign, minlength=KEPT)
