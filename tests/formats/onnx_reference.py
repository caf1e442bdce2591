"""Random recurrent nodes of ONNX, and what they compute by the specification.

One sequence after the other, one step after the other, in float64 and with nothing of
gatewise's: slow, and easy to compare with the text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
INPUTS = {
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
}
DEFAULTS = {
    "RNN": ["Tanh"],
    "GRU": ["Sigmoid", "Tanh"],
    "LSTM": ["Sigmoid", "Tanh", "Tanh"],
}
FIGURES = "onnx_figures.npz"

# With the numbers that each takes of alphas and of betas.
FUNCTIONS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "Relu": (0, 0, lambda x, a, b: np.maximum(x, 0)),
    "Tanh": (0, 0, lambda x, a, b: np.tanh(x)),
    "Sigmoid": (0, 0, lambda x, a, b: 1 / (1 + np.exp(-x))),
    "Affine": (1, 1, lambda x, a, b: a * x + b),
    "LeakyRelu": (1, 0, lambda x, a, b: np.where(x >= 0, x, a * x)),
    "ThresholdedRelu": (1, 0, lambda x, a, b: np.where(x > a, x, 0)),
    "ScaledTanh": (1, 1, lambda x, a, b: a * np.tanh(b * x)),
    "HardSigmoid": (1, 1, lambda x, a, b: np.clip(a * x + b, 0, 1)),
    "Elu": (1, 0, lambda x, a, b: np.where(x >= 0, x, a * (np.exp(x) - 1))),
    "Softsign": (0, 0, lambda x, a, b: x / (1 + abs(x))),
    "Softplus": (0, 0, lambda x, a, b: np.log(1 + np.exp(x))),
}
# Where a node does not say: those of the operators of these names.
ALPHAS = {"LeakyRelu": 0.01, "ThresholdedRelu": 1.0, "HardSigmoid": 0.2, "Elu": 1.0}
BETAS = {"HardSigmoid": 0.5}


class Case(NamedTuple):
    """A node, with its inputs in their order."""

    kind: str
    attributes: dict[str, Any]
    inputs: dict[str, Any]

    @property
    def names(self) -> list[str]:
        return [name if self.inputs[name] is not None else "" for name in self.inputs]

    @property
    def outputs(self) -> list[str]:
        return ["Y", "Y_h", "Y_c"][: 3 if self.kind == "LSTM" else 2]


def random_cases(seed: int, count: int, **fixed: Any) -> list[Case]:
    """Nodes with every option; `fixed` are sizes, the dtype, or a layout."""
    generator = np.random.default_rng(seed)
    return [random_case(generator, **fixed) for _ in range(count)]


def random_case(
    generator: np.random.Generator,
    dtype: str = "float32",
    layout: int = 0,
    shortest: int = 1,
) -> Case:
    kind = str(generator.choice(list(GATES)))
    time, batch, features, hidden = (int(n) for n in generator.integers(1, 6, 4))
    direction = str(generator.choice(["forward", "reverse", "bidirectional"]))
    ways, gates = (2 if direction == "bidirectional" else 1), GATES[kind]

    def values(*shape: int, chance: float = 1.0) -> Any:
        drawn = (generator.standard_normal(shape) * 0.7).astype(dtype)
        return drawn if generator.random() < chance else None

    state = (batch, ways, hidden) if layout else (ways, batch, hidden)
    lengths = generator.integers(shortest, time + 1, batch).astype(np.int32)
    inputs = {
        "X": values(batch, time, features) if layout else values(time, batch, features),
        "W": values(ways, gates * hidden, features),
        "R": values(ways, gates * hidden, hidden),
        "B": values(ways, 2 * gates * hidden, chance=0.7),
        "sequence_lens": lengths if generator.random() < 0.5 else None,
        "initial_h": values(*state, chance=0.5),
    }
    attributes: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
    if layout:
        attributes["layout"] = 1
    if kind == "LSTM":
        inputs["initial_c"] = values(*state, chance=0.5)
        inputs["P"] = values(ways, 3 * hidden, chance=0.5)
        if generator.random() < 0.4:
            attributes["input_forget"] = 1
    if kind == "GRU" and generator.random() < 0.5:
        attributes["linear_before_reset"] = 1
    if generator.random() < 0.4:
        attributes["clip"] = float(np.float32(generator.uniform(0.2, 1.5)))
    if generator.random() < 0.6:
        drawn = generator.choice(list(FUNCTIONS), len(DEFAULTS[kind]) * ways)
        attributes["activations"] = [str(name) for name in drawn]
        for position, argument in enumerate(("activation_alpha", "activation_beta")):
            count = sum(FUNCTIONS[name][position] for name in attributes["activations"])
            numbers = np.float32(generator.uniform(0.1, 0.9, count))
            if count:
                attributes[argument] = [float(number) for number in numbers]
    return Case(kind, attributes, inputs)


def expected(case: Case) -> list[Any]:
    """The outputs of a node, in float64."""
    given, said = case.inputs, case.attributes
    swap = said.get("layout", 0)

    def wide(name: str) -> Any:
        value = given.get(name)
        return None if value is None else value.astype(np.float64)

    x, h0, c0 = wide("X"), wide("initial_h"), wide("initial_c")
    if swap:
        x, h0, c0 = (None if a is None else a.swapaxes(0, 1) for a in (x, h0, c0))
    time, batch = x.shape[:2]
    hidden = given["R"].shape[2]
    direction = said.get("direction", "forward")
    reverses = {"forward": [0], "reverse": [1], "bidirectional": [0, 1]}[direction]
    functions = functions_of(case, len(reverses))
    lengths = given.get("sequence_lens")
    lengths = [time] * batch if lengths is None else lengths
    y = np.zeros((time, len(reverses), batch, hidden))
    finals = np.zeros((2, len(reverses), batch, hidden))
    for way, reverse in enumerate(reverses):
        for sequence in range(batch):
            h = np.zeros(hidden) if h0 is None else h0[way, sequence]
            c = np.zeros(hidden) if c0 is None else c0[way, sequence]
            steps = range(lengths[sequence])
            for t in reversed(steps) if reverse else steps:
                h, c = step(case, way, functions[way], x[t, sequence], h, c)
                y[t, way, sequence] = h
            finals[:, way, sequence] = h, c
    outputs = [y, *finals[: len(case.outputs) - 1]]
    if swap:
        outputs = [y.transpose(2, 0, 1, 3), *(f.swapaxes(0, 1) for f in outputs[1:])]
    return outputs


def functions_of(case: Case, ways: int) -> list[list[Callable[[Any], Any]]]:
    """What the sums of each direction go through: f, g and h."""
    alphas = iter(case.attributes.get("activation_alpha", []))
    betas = iter(case.attributes.get("activation_beta", []))
    names = case.attributes.get("activations", DEFAULTS[case.kind] * ways)
    found: list[Callable[[Any], Any]] = []
    for name in names:
        takes_alpha, takes_beta, function = FUNCTIONS[name]
        a = next(alphas, ALPHAS.get(name)) if takes_alpha else None
        b = next(betas, BETAS.get(name)) if takes_beta else None
        found.append(lambda x, function=function, a=a, b=b: function(x, a, b))
    each = len(DEFAULTS[case.kind])
    return [found[way * each : (way + 1) * each] for way in range(ways)]


def step(case: Case, way: int, functions: Any, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """One step of one sequence: h and c after it."""
    clip = case.attributes.get("clip", np.inf)
    hidden, gates = len(h), GATES[case.kind]
    f, g = functions[0], functions[-1]

    def clipped(sums: Any) -> Any:
        return np.clip(sums, -clip, clip)

    def blocks(name: str, count: int) -> list[Any]:
        array = case.inputs.get(name)
        if array is None:
            return [np.zeros(hidden)] * count
        return [b.astype(np.float64) for b in np.split(array[way], count)]

    w, r, biases = blocks("W", gates), blocks("R", gates), blocks("B", 2 * gates)
    wb, rb = biases[:gates], biases[gates:]
    if case.kind == "RNN":
        return f(clipped(w[0] @ x + r[0] @ h + wb[0] + rb[0])), c
    if case.kind == "GRU":
        z = f(clipped(w[0] @ x + r[0] @ h + wb[0] + rb[0]))
        reset = f(clipped(w[1] @ x + r[1] @ h + wb[1] + rb[1]))
        if case.attributes.get("linear_before_reset"):
            candidate = g(clipped(w[2] @ x + reset * (r[2] @ h + rb[2]) + wb[2]))
        else:
            candidate = g(clipped(w[2] @ x + r[2] @ (reset * h) + rb[2] + wb[2]))
        return (1 - z) * candidate + z * h, c
    # Blocks of weights in the order i o f c.
    f, g, output = functions
    pi, po, pf = blocks("P", 3)
    i = f(clipped(w[0] @ x + r[0] @ h + pi * c + wb[0] + rb[0]))
    forget = f(clipped(w[2] @ x + r[2] @ h + pf * c + wb[2] + rb[2]))
    if case.attributes.get("input_forget"):
        forget = 1 - i
    c = forget * c + i * g(clipped(w[3] @ x + r[3] @ h + wb[3] + rb[3]))
    o = f(clipped(w[1] @ x + r[1] @ h + po * c + wb[1] + rb[1]))
    return o * output(c), c


def run_onnxruntime(case: Case) -> list[Any]:
    """What ONNX Runtime makes of a node, in float32 and of layout 0."""
    import onnxruntime
    from onnx import helper

    present = {name: value for name, value in case.inputs.items() if value is not None}
    node = helper.make_node(case.kind, case.names, case.outputs, **case.attributes)

    def value(name: str, dtype: Any, shape: Any) -> Any:
        number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, number, shape)

    graph = helper.make_graph(
        [node],
        "node",
        [value(name, array.dtype, array.shape) for name, array in present.items()],
        [value(name, "float32", None) for name in case.outputs],
    )
    opset = [helper.make_opsetid("", 14)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return list(session.run(None, present))


def figure_cases() -> list[Case]:
    """Those whose outputs are stored."""
    return random_cases(9, 60)
