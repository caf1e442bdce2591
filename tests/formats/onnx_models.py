"""Small models of ONNX: honest ones of every kind, and ones that reach for other files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import gatewise

DATA = Path(__file__).parent / "data"
TORCH = ("lstm", "lstm_learnt", "gru", "rnn", "lstm_dynamo", "gru_dynamo")


def examples() -> list[bytes]:
    """The bytes of real files, of all kinds that there are."""
    figures = torch_figures()
    models = [every_dtype(), nested(), folded()]
    return [
        *(figures[f"{name}.file"].tobytes() for name in TORCH),
        *(model.SerializeToString() for model in models),
        *map(written, layers()),
    ]


def torch_figures() -> dict[str, Any]:
    """What ``data/make_torch_onnx.py`` has left."""
    with np.load(DATA / "torch_onnx.npz") as figures:
        return dict(figures)


def written(model: Any, **options: Any) -> bytes:
    """What `gatewise.to_onnx` writes."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.onnx")
        gatewise.to_onnx(model, path, **options)
        return path.read_bytes()


def layers() -> list[Any]:
    """Layers and nets of different kinds."""
    start = gatewise.GRU(2, 3, bidirectional=True, reset_after=False, seed=0)
    start.initial_state = np.full((2, 3), 0.5)
    return [
        start,
        gatewise.LSTM(2, 3, peepholes=True, recurrent_activation="hard_sigmoid", seed=0),
        gatewise.Sequential(
            gatewise.Embedding(5, 3, seed=0),
            gatewise.RNN(3, 4, 2, nonlinearity="leaky_relu", seed=0),
            gatewise.Linear(4, 2, seed=0),
            gatewise.Softmax(),
        ),
    ]


def tensor(name: str, values: Any, dtype: Any = np.float32) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(values, dtype), name)


def model(nodes: Sequence[Any], tensors: Sequence[Any] = (), **more: Any) -> Any:
    """A model with the fields of a graph that most have."""
    from onnx import helper

    inputs = [helper.make_tensor_value_info("x", 1, ["time", "batch", 2])]
    outputs = [helper.make_tensor_value_info("y", 1, ["time", 1, "batch", 3])]
    graph = helper.make_graph(nodes, "net", inputs, outputs, tensors, **more)
    opset = [helper.make_opsetid("", 17)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=8)
    helper.set_model_props(made, {"author": "nobody"})
    return made


def gru_tensors(prefix: str = "") -> list[Any]:
    generator = np.random.default_rng(0)
    return [
        tensor(f"{prefix}w", generator.standard_normal((1, 9, 2))),
        tensor(f"{prefix}r", generator.standard_normal((1, 9, 3))),
    ]


def gru(prefix: str = "", output: str = "y", **attributes: Any) -> Any:
    from onnx import helper

    inputs = ["x", f"{prefix}w", f"{prefix}r"]
    return helper.make_node(
        "GRU", inputs, [output], name=f"{prefix}gru", hidden_size=3, **attributes
    )


def every_dtype() -> Any:
    """A model whose tensors are of all dtypes, raw and in fields."""
    from onnx import TensorProto, helper

    generator, tensors = np.random.default_rng(0), []
    small = {21: 4, 22: 4, 23: 4, 25: 2, 26: 2}
    for number in range(1, 27):
        if number == TensorProto.STRING:
            continue
        name = TensorProto.DataType.Name(number).lower()
        if number in small or 17 <= number <= 20 or number == 24:
            count = 7 if number in small else 256
            units = generator.bytes(-(-count * small.get(number, 8) // 8))
            if number not in small:
                units = bytes(range(256))
            made = TensorProto(data_type=number, dims=[count], raw_data=units)
            field = TensorProto(data_type=number, dims=[count], int32_data=list(units))
        else:
            dtype = helper.tensor_dtype_to_np_dtype(number)
            with np.errstate(all="ignore"):
                values = (generator.standard_normal((2, 3)) * 50).astype(dtype)
            made = tensor("", values, dtype)
            listed = values.astype(float if number == 16 else dtype).ravel().tolist()
            field = helper.make_tensor("", number, [2, 3], listed)
        made.name, field.name = name, f"{name}_field"
        tensors += [made, field]
    return model([gru()], [*gru_tensors(), *tensors])


def nested() -> Any:
    """A model with a recurrent node in either branch of an If, and constants everywhere."""
    from onnx import helper

    def branch(prefix: str, nodes: list[Any], tensors: list[Any]) -> Any:
        outputs = [helper.make_tensor_value_info(f"{prefix}y", 1, None)]
        return helper.make_graph(nodes, prefix, [], outputs, tensors)

    then = branch("then_", [gru("then_", "then_y")], gru_tensors("then_"))
    constants = [
        helper.make_node("Constant", [], [f"else_{value.name}"], value=value)
        for value in gru_tensors()
    ]
    otherwise = branch("else_", [*constants, gru("else_", "else_y")], [])
    condition = tensor("condition", True, bool)
    numbers = helper.make_node("Constant", [], ["numbers"], value_floats=[1.5, 2.5])
    number = helper.make_node("Constant", [], ["number"], value_int=3)
    choice = helper.make_node(
        "If", ["condition"], ["y"], name="choice", then_branch=then, else_branch=otherwise
    )
    return model([numbers, number, choice], [condition])


def folded() -> Any:
    """A model whose weights go through what exporters do to them."""
    from onnx import helper

    make = helper.make_node
    w, r = (np.ascontiguousarray(each) for each in folded_weights())
    integers = {
        "zero": [0],
        "ends": [3],
        "two": [3, 6],
        "rest": [9],
        "shape": [1, 9, 3],
    }
    tensors = [tensor(name, value, np.int64) for name, value in integers.items()]
    nodes = [
        make("Transpose", ["kernel"], ["turned"], perm=[1, 0]),
        make("Split", ["turned"], ["w_r", "w_z", "w_n"], axis=0),
        make("Concat", ["w_z", "w_r", "w_n"], ["w_rows"], axis=0),
        make("Unsqueeze", ["w_rows", "zero"], ["w_wide"]),
        make("Cast", ["w_wide"], ["w"], to=1),
        make("Slice", ["recurrent", "zero", "ends", "zero"], ["r_r"]),
        make("Slice", ["recurrent", "two", "two"], ["unused"]),
        make("Gather", ["recurrent", "rows_z"], ["r_z"], axis=0),
        make("Slice", ["recurrent", "six", "rest", "zero"], ["r_n"]),
        make("Concat", ["r_z", "r_r", "r_n"], ["r_rows"], axis=0),
        make("Reshape", ["r_rows", "shape"], ["r_copy"]),
        make("Identity", ["r_copy"], ["r"]),
        gru(),
    ]
    tensors += [
        tensor("kernel", w.T, np.float64),
        tensor("recurrent", r),
        tensor("rows_z", [3, 4, 5], np.int64),
        tensor("six", [6], np.int64),
    ]
    return model(nodes, tensors)


def folded_weights() -> tuple[Any, Any]:
    """The weights that `folded` begins with, gates in the order r z n."""
    generator = np.random.default_rng(1)
    w = np.round(generator.standard_normal((9, 2)), 3).astype(np.float32)
    return w, generator.standard_normal((9, 3)).astype(np.float32)


def reaching(location: str) -> dict[str, bytes]:
    """Models with a tensor whose data are said to be elsewhere, by where it stands."""
    from onnx import TensorProto, helper

    def outside(flagged: bool = True) -> Any:
        found = TensorProto(name="secret", data_type=1, dims=[4])
        if flagged:
            found.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": "0", "length": "16"}.items():
            found.external_data.add(key=key, value=value)
        return found

    def inner() -> Any:
        return helper.make_graph([], "inner", [], [], [outside()])

    places: dict[str, Callable[[], Any]] = {
        "initializer": lambda: model([gru()], [*gru_tensors(), outside()]),
        "without the flag": lambda: model([gru()], [*gru_tensors(), outside(False)]),
        "constant": lambda: model(
            [helper.make_node("Constant", [], ["c"], value=outside()), gru()], gru_tensors()
        ),
        "attribute": lambda: model([helper.make_node("Any", [], ["c"], of=[outside()])]),
        "branch": lambda: model(
            [helper.make_node("If", ["x"], ["c"], then_branch=inner(), else_branch=inner())]
        ),
    }
    found = {place: make().SerializeToString() for place, make in places.items()}
    function = helper.make_function(
        "example",
        "f",
        [],
        ["c"],
        [helper.make_node("Constant", [], ["c"], value=outside())],
        [helper.make_opsetid("", 17)],
    )
    with_function = model([gru()], gru_tensors())
    with_function.functions.append(function)
    found["function"] = with_function.SerializeToString()
    training = model([gru()], gru_tensors())
    training.training_info.add().algorithm.CopyFrom(inner())
    found["training"] = training.SerializeToString()
    sparse = model([gru()], gru_tensors())
    sparse.graph.sparse_initializer.add().values.CopyFrom(outside())
    found["sparse"] = sparse.SerializeToString()
    return found
