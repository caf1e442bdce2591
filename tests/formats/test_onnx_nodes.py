"""ONNX's RNN, LSTM and GRU with every attribute, against its runtime and its text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatewise.formats.onnx import Node, run_node
from tests.formats import onnx_reference as reference
from tests.new_process import run

DATA = Path(__file__).parents[1] / "data"


def run_case(case: reference.Case) -> list[Any]:
    node = Node(case.kind, case.names, case.outputs, case.attributes)
    return list(run_node(node, list(case.inputs.values())))


def assert_equal(found: list[Any], wanted: list[Any], tolerance: float = 2e-5) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, tolerance, tolerance)


def test_the_runtimes_figures(backend: str) -> None:
    with np.load(DATA / reference.FIGURES) as stored:
        figures = dict(stored)
    cases = reference.figure_cases()
    assert len(figures) == len(cases)
    for number, case in enumerate(cases):
        found = np.concatenate([output.ravel() for output in run_case(case)])
        np.testing.assert_allclose(found, figures[f"{number}"], 2e-5, 2e-5)


def test_the_runtime_itself(backend: str) -> None:
    pytest.importorskip("onnxruntime")
    for case in reference.random_cases(1, 60):
        assert_equal(run_case(case), reference.run_onnxruntime(case))


@pytest.mark.parametrize("layout", [0, 1])
def test_the_specification(layout: int, backend: str) -> None:
    for case in reference.random_cases(
        2 + layout, 60, dtype="float64", layout=layout, shortest=0
    ):
        found = run_case(case)
        assert {output.dtype for output in found} == {np.dtype(np.float64)}
        assert_equal(found, reference.expected(case), 1e-9)


def test_the_reference_has_every_option() -> None:
    cases = reference.random_cases(2, 60, shortest=0)
    said = [case.attributes for case in cases]
    assert {each["direction"] for each in said} == {"forward", "reverse", "bidirectional"}
    for name in ("clip", "input_forget", "linear_before_reset", "activation_beta"):
        assert any(name in each for each in said)
    assert {n for each in said for n in each.get("activations", [])} == set(
        reference.FUNCTIONS
    )
    assert any(
        0 in case.inputs["sequence_lens"]
        for case in cases
        if case.inputs["sequence_lens"] is not None
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_single(dtype: str, backend: str) -> None:
    name = dtype
    if dtype == "bfloat16":
        name = pytest.importorskip("ml_dtypes").bfloat16
    case = reference.random_cases(4, 1, shortest=1)[0]
    inputs = {
        key: value if value is None or value.dtype == np.int32 else value.astype(name)
        for key, value in case.inputs.items()
    }
    found = run_case(case._replace(inputs=inputs))
    assert {output.dtype for output in found} == {np.dtype(name)}
    single = {
        key: value if value is None or value.dtype == np.int32 else value.astype(np.float32)
        for key, value in inputs.items()
    }
    for half, wide in zip(found, run_case(case._replace(inputs=single)), strict=True):
        assert (half == wide.astype(name)).all()


def example(kind: str = "LSTM", **attributes: Any) -> tuple[Node, dict[str, Any]]:
    gates, generator = reference.GATES[kind], np.random.default_rng(0)
    inputs = {
        "X": generator.standard_normal((5, 3, 2)),
        "W": generator.standard_normal((1, gates * 4, 2)),
        "R": generator.standard_normal((1, gates * 4, 4)),
    }
    return Node(kind, list(inputs), ["Y", "Y_h"], attributes), inputs


def test_inputs_come_by_name_or_in_order(backend: str) -> None:
    node, inputs = example()
    wanted = run_node(node, list(inputs.values()))
    named = node._replace(input=["a", "b", "c"])
    found = run_node(named, dict(zip("abc", inputs.values(), strict=True)))
    assert all((a == b).all() for a, b in zip(found, wanted, strict=True))
    left_out = node._replace(input=[*inputs, "", "", "", "", "P"])
    peepholes = np.ones((1, 12))
    given = [*inputs.values(), None, None, None, None, peepholes]
    assert (run_node(left_out, given)[0] != wanted[0]).any()


def test_outputs_without_a_name_are_none(backend: str) -> None:
    node, inputs = example()
    y, h, c = run_node(node._replace(output=["", "", "Y_c"]), inputs)
    assert y is None
    assert h is None
    assert c.shape == (1, 3, 4)
    assert run_node(node._replace(output=[]), inputs) == ()


def test_names_of_activations_have_no_case(backend: str) -> None:
    for names in (["sigmoid", "TANH", "tanh"], ["Sigmoid", "Tanh", "Tanh"], []):
        node, inputs = example(activations=names)
        wanted = run_node(example()[0], inputs)
        assert (run_node(node, inputs)[0] == wanted[0]).all()


def test_an_rnn_takes_the_default_of_its_attribute(backend: str) -> None:
    node, inputs = example("RNN", activations=["Tanh", "Tanh"])
    assert (run_node(node, inputs)[0] == run_node(example("RNN")[0], inputs)[0]).all()


def test_numbers_go_to_the_functions_that_take_them(backend: str) -> None:
    x = np.array([-1.0, 1.0]).reshape(1, 2, 1)
    w, r = np.ones((2, 1, 1)), np.zeros((2, 1, 1))
    said = {
        "direction": "bidirectional",
        "activations": ["Relu", "HardSigmoid"],
        "activation_alpha": [0.25],
    }
    y, _ = run_node(Node("RNN", ["X", "W", "R"], ["Y", "Y_h"], said), [x, w, r])
    np.testing.assert_allclose(y[0, :, :, 0], [[0, 1], [0.25, 0.75]])
    said |= {"activations": ["LeakyRelu", "Elu"], "activation_alpha": [0.5]}
    y, _ = run_node(Node("RNN", ["X", "W", "R"], ["Y", "Y_h"], said), [x, w, r])
    np.testing.assert_allclose(y[0, :, 0, 0], [-0.5, np.exp(-1) - 1])


def test_a_sequence_without_steps_keeps_its_state(backend: str) -> None:
    for clip in ({}, {"clip": 1.0}):
        node, inputs = example(**clip)
        inputs |= {"": None, "n": np.array([0, 5, 2]), "h": np.ones((1, 3, 4))}
        inputs["c"] = np.full((1, 3, 4), 2.0)
        node = node._replace(input=list(inputs), output=["Y", "Y_h", "Y_c"])
        y, h, c = run_node(node, inputs)
        assert (h[0, 0] == 1).all()
        assert (c[0, 0] == 2).all()
        assert not y[:, 0, 0].any()
        assert not y[2:, 0, 2].any()
        assert (y[1, 0, 2] == h[0, 2]).all()


@pytest.mark.parametrize("sizes", [(0, 3), (5, 0)])
def test_nothing_to_do(sizes: tuple[int, int], backend: str) -> None:
    for clip in ({}, {"clip": 1.0}):
        node, inputs = example(**clip)
        y, h = run_node(node, inputs | {"X": np.zeros((*sizes, 2))})
        assert y.shape == (sizes[0], 1, sizes[1], 4)
        assert h.shape == (1, sizes[1], 4)
        assert not h.any()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"activations": ["Tanh"]},
            "activations should have 3 names, 3 for each direction",
        ),
        ({"activations": ["Tanh", "Tanh", "Mish"]}, "activations should be of Relu, Tanh"),
        (
            {"activations": ["Affine"] * 3},
            "activation_alpha should have a number for Affine",
        ),
        ({"activations": 3}, "activations should be a list of names"),
        ({"activations": [3, 3, 3]}, "activations should be of Relu"),
        (
            {"activations": ["Elu"] * 3, "activation_alpha": [1.0] * 4},
            "activation_alpha should have at most 3 numbers",
        ),
        (
            {"activations": ["Elu"] * 3, "activation_alpha": [float("nan")]},
            "activation_alpha should have finite numbers",
        ),
        ({"activation_alpha": "all"}, "activation_alpha should be a list of numbers"),
        ({"clip": 0.0}, "clip should be a number above 0"),
        ({"clip": float("nan")}, "clip should be a number above 0"),
        ({"clip": "much"}, "clip should be a number above 0"),
        ({"direction": "sideways"}, "direction should be one of forward, reverse"),
        ({"hidden_size": 0}, "hidden_size should be a whole number from 1"),
        ({"hidden_size": 5}, re.escape("W should have shape (1, 20, 2)")),
        ({"hidden_size": 2**62}, "hidden_size should be a whole number"),
        ({"layout": 2}, "layout should be a whole number from 0 to 1"),
        ({"linear_before_reset": 1}, "should have attributes of its kind"),
        ({"colour": 1}, "should have attributes of its kind, got 'colour'"),
        ({"input_forget": 1.0}, "input_forget should be a whole number"),
        ({"output_sequence": 7}, "output_sequence should be a whole number"),
    ],
)
def test_attributes_that_make_no_sense(
    attributes: dict[str, Any], message: str, backend: str
) -> None:
    node, inputs = example(**attributes)
    with pytest.raises(ValueError, match=message):
        run_node(node, inputs)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"X": None}, "X should be an array, got none"),
        ({"X": np.ones((5, 2))}, re.escape("X should have shape (time, batch, 2)")),
        ({"X": np.ones((5, 3, 3))}, re.escape("X should have shape (5, 3, 2)")),
        ({"X": np.ones((5, 3, 2), np.float32)}, "X should have dtype float64"),
        ({"X": np.ones((5, 3, 2), int)}, "X should hold one of float16"),
        ({"W": None}, "W should be an array"),
        ({"W": np.ones((1, 16, 0))}, "W should have shape"),
        ({"W": np.ones((1, 15, 2))}, re.escape("W should have shape (1, 16, 2)")),
        ({"W": np.ones((2, 16, 2))}, re.escape("W should have shape (1, 16, 2)")),
        ({"R": np.ones((1, 16))}, "R should have shape"),
        ({"R": np.ones((1, 16, 0))}, "R should have shape"),
        ({"R": np.ones((1, 16, 4), np.float32)}, "R should have dtype float64"),
        ({"B": np.ones((1, 31))}, re.escape("B should have shape (1, 32)")),
        ({"sequence_lens": np.ones(3)}, "sequence_lens should be integers"),
        ({"sequence_lens": np.ones(2, int)}, "sequence_lens should be integers"),
        ({"sequence_lens": np.full(3, 6)}, "sequence_lens should be from 0 to 5, got 6"),
        ({"sequence_lens": np.full(3, -1)}, "sequence_lens should be from 0 to 5, got -1"),
        (
            {"initial_h": np.ones((1, 3, 5))},
            re.escape("initial_h should have shape (1, 3, 4)"),
        ),
        ({"initial_c": np.ones((3, 4))}, "initial_c should have shape"),
        ({"P": np.ones((1, 13))}, re.escape("P should have shape (1, 12)")),
    ],
)
def test_inputs_that_do_not_fit(
    changed: dict[str, Any], message: str, backend: str
) -> None:
    node, inputs = example()
    every = dict.fromkeys(reference.INPUTS["LSTM"]) | inputs | changed
    with pytest.raises(ValueError, match=message):
        run_node(node._replace(input=list(every)), every)


def test_nodes_that_are_none(backend: str) -> None:
    node, inputs = example()
    with pytest.raises(ValueError, match="node should be an RNN, an LSTM or a GRU of ONNX"):
        run_node(node._replace(op_type="Conv"), inputs)
    with pytest.raises(ValueError, match="node should be an RNN"):
        run_node(node._replace(domain="com.example"), inputs)
    with pytest.raises(TypeError, match="node should be a Node or an onnx"):
        run_node(3, inputs)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="should have at most 8 inputs, got 9"):
        run_node(node._replace(input=list("abcdefghi")), inputs)
    with pytest.raises(ValueError, match="should have at most 3 outputs"):
        run_node(node._replace(output=list("abcd")), inputs)
    with pytest.raises(ValueError, match="inputs should be at most 3"):
        run_node(node, [*inputs.values(), None])
    with pytest.raises(ValueError, match="inputs should have 'X', got none of that name"):
        run_node(node, {})
    with pytest.raises(TypeError, match="inputs should be a list or a tuple"):
        run_node(node, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_threads should be"):
        run_node(node, inputs, num_threads=0)


def test_a_node_of_the_library(backend: str) -> None:
    helper = pytest.importorskip("onnx.helper")
    for case in reference.random_cases(5, 20):
        node = helper.make_node(case.kind, case.names, case.outputs, **case.attributes)
        found = run_node(node, list(case.inputs.values()))
        assert all((a == b).all() for a, b in zip(found, run_case(case), strict=True))


def test_attributes_of_the_library_that_make_no_sense() -> None:
    onnx = pytest.importorskip("onnx")
    inputs = example()[1]
    node = onnx.helper.make_node("LSTM", list(inputs), ["Y"], clip=1.0)
    node.attribute.append(node.attribute[0])
    with pytest.raises(ValueError, match="clip of the LSTM 'Y' should be there once"):
        run_node(node, inputs)
    node.attribute[1].name, node.attribute[1].type = "layout", onnx.AttributeProto.GRAPH
    with pytest.raises(ValueError, match="layout of the LSTM 'Y' should be numbers"):
        run_node(node, inputs)
    # As files of the first version have them.
    node.attribute[1].type, node.attribute[1].i = onnx.AttributeProto.UNDEFINED, 3
    node.attribute[1].ClearField("f")
    with pytest.raises(ValueError, match="layout should be a whole number from 0 to 1"):
        run_node(node, inputs)
    node.attribute[1].CopyFrom(onnx.AttributeProto(name="direction", type=3, s=b"\xff"))
    with pytest.raises(ValueError, match="direction of the LSTM 'Y' should be a text"):
        run_node(node, inputs)


def test_nodes_run_where_the_library_is_missing(backend: str) -> None:
    code = """
import sys
sys.modules["onnx"] = None
import numpy as np, gatewise
from gatewise.formats.onnx import Node, run_node
one = np.ones((1, 1, 1))
print(run_node(Node("RNN", ["X", "W", "R"], ["Y"], {}), [one, one, one])[0].shape)
for call in (lambda: gatewise.to_onnx(gatewise.GRU(1, 1), "model.onnx"),
             lambda: gatewise.from_onnx(sys.executable),
             lambda: gatewise.formats.onnx.Backend):
    try:
        call()
    except ImportError as error:
        print(error)
"""
    done = run(code, GATEWISE_BACKEND=backend)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "(1, 1, 1, 1)"
    assert (
        lines[1:] == ["files of ONNX need the package onnx: pip install gatewise[onnx]"] * 3
    )
