"""ONNX's own tests of its recurrent operators, and models around them."""

from __future__ import annotations

import unittest
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from gatewise.formats import onnx as formats_onnx
from tests.formats import onnx_models as models

onnx = pytest.importorskip("onnx")

from onnx import helper  # noqa: E402
from onnx.backend.test import runner  # noqa: E402

OPERATORS = {"RNN", "LSTM", "GRU"}


@pytest.fixture(scope="module")
def cases() -> list[Any]:
    """The tests of these operators, wherever this version of ONNX has them."""
    folder = "onnx.backend.test.case.node"
    for name in OPERATORS:
        import_module(f"{folder}.{name.lower()}")
    found = getattr(import_module(folder), "_NodeTestCases", None)
    if not found:
        found = runner.load_model_tests(kind="node")
    return [
        case
        for case in found
        if case.model and OPERATORS & {node.op_type for node in case.model.graph.node}
    ]


def test_all_of_its_own_tests(
    cases: list[Any], backend: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def only_these(*_: Any, kind: str, **__: Any) -> list[Any]:
        return cases if kind == "node" else []

    monkeypatch.setattr(runner, "load_model_tests", only_these)
    tests = runner.Runner(formats_onnx.Backend, __name__)
    result = unittest.TestResult()
    tests.test_suite.run(result)
    assert result.errors == []
    assert result.failures == []
    # Each is there for CUDA too, which is no device of ours.
    passed = result.testsRun - len(result.skipped)
    with capsys.disabled():
        print(f" {passed} of ONNX's tests of RNN, LSTM and GRU pass on {backend} ", end="")
    assert passed == len(cases) >= 18


def test_the_class_is_one_of_onnx() -> None:
    base = import_module("onnx.backend.base")
    backend = formats_onnx.Backend
    assert issubclass(backend, base.Backend)
    assert backend is formats_onnx.Backend
    assert backend.supports_device("CPU:0")
    assert not backend.supports_device("CUDA")
    model = models.model([models.gru()], models.gru_tensors())
    assert backend.is_compatible(model)
    assert not backend.is_compatible(model, "CUDA")
    assert not backend.is_compatible(models.nested())
    with pytest.raises(ValueError, match=r"operators of this backend, got ai\.onnx\.If"):
        backend.prepare(models.nested())
    with pytest.raises(ValueError, match="device should be the CPU, got 'CUDA'"):
        backend.prepare(model, "CUDA")
    with pytest.raises(AttributeError, match="has no attribute 'Frontend'"):
        formats_onnx.Frontend  # noqa: B018


def test_inputs_of_models_and_nodes(backend: str) -> None:
    model = models.model([models.gru()], models.gru_tensors())
    x = np.ones((4, 3, 2), np.float32)
    (y,) = formats_onnx.Backend.run_model(model, x)
    w, r = (onnx.numpy_helper.to_array(each) for each in model.graph.initializer)
    wanted = formats_onnx.run_node(models.gru(), [x, w, r])[0]
    np.testing.assert_array_equal(y, wanted)
    prepared = formats_onnx.Backend.prepare(model)
    for given in ([x], (x,), {"x": x}):
        np.testing.assert_array_equal(prepared.run(given)[0], wanted)
    np.testing.assert_array_equal(prepared.run({"x": x, "w": w * 0})[0], wanted)
    with pytest.raises(
        ValueError, match="inputs should be the 1 that the model has, got 2"
    ):
        prepared.run([x, x])
    with pytest.raises(ValueError, match="should have an input 'x', got none"):
        prepared.run({})
    # Only the inputs that are there, as some callers have it.
    node = helper.make_node("GRU", ["X", "W", "R", "", "", "h"], ["", "Y_h"], hidden_size=3)
    h = np.ones((1, 3, 3), np.float32)
    found = formats_onnx.Backend.run_node(node, [x, w, r, h])
    again = formats_onnx.Backend.run_node(node, [x, w, r, None, None, h])
    assert found[0] is None
    np.testing.assert_array_equal(found[1], again[1])
    node = helper.make_node("Softmax", ["x"], ["y"])
    np.testing.assert_allclose(formats_onnx.Backend.run_node(node, x)[0], 0.5)


@pytest.mark.parametrize(
    "name",
    [
        "Cast",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Expand",
        "Gather",
        "Identity",
        "MatMul",
        "Reshape",
        "Shape",
        "Slice",
        "Softmax",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ],
)
def test_operators_around_them(name: str) -> None:
    """Against the library's own evaluator, on nodes with and without options."""
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

    def integers(*values: int) -> Any:
        return np.array(values, np.int64)

    empty: dict[str, Any] = {}
    cases: dict[str, list[tuple[list[Any], dict[str, Any], int]]] = {
        "Cast": [([x], {"to": 11}, 1), ([x], {"to": 7}, 1), ([x > 3], {"to": 1}, 1)],
        "Concat": [([x, x, x], {"axis": -1}, 1), ([x, x[:1]], {"axis": 0}, 1)],
        "Constant": [([], {"value_floats": [1.0, 2.0]}, 1), ([], {"value_int": 3}, 1)],
        "ConstantOfShape": [([integers(2, 3)], empty, 1)],
        "Expand": [
            ([x[:1], integers(2, 3, 4)], empty, 1),
            ([x[:1], integers(5, 1, 1, 1)], empty, 1),
        ],
        "Gather": [([x, integers(1, -1)], {"axis": 1}, 1), ([x, np.int64(0)], empty, 1)],
        "Identity": [([x], empty, 1)],
        "MatMul": [([x, x[0].T.copy()], empty, 1)],
        "Reshape": [([x, integers(0, -1)], empty, 1), ([x, integers(4, 6)], empty, 1)],
        "Shape": [([x], empty, 1), ([x], {"start": 1, "end": -1}, 1)],
        "Slice": [
            ([x, integers(1), integers(9)], empty, 1),
            ([x, integers(-1), integers(-9), integers(2), integers(-2)], empty, 1),
            (
                [x, integers(2, -3), integers(0, 2), integers(1, -1), integers(-1, 1)],
                empty,
                1,
            ),
            ([x, integers(0), integers(-1), integers(2)], empty, 1),
        ],
        "Softmax": [([x], empty, 1), ([x], {"axis": 0}, 1)],
        "Split": [([x, integers(1, 3)], {"axis": 2}, 2), ([x], {"axis": 2}, 2)],
        "Squeeze": [([x[:1]], empty, 1), ([x[:1], integers(0)], empty, 1)],
        "Transpose": [([x], empty, 1), ([x], {"perm": [1, 2, 0]}, 1)],
        "Unsqueeze": [([x, integers(0, -1)], empty, 1)],
    }
    reference = import_module("onnx.reference")
    for inputs, attributes, count in cases[name]:
        node = helper.make_node(
            name,
            [f"i{n}" for n in range(len(inputs))],
            [f"o{n}" for n in range(count)],
            **attributes,
        )
        found = formats_onnx.Backend.run_node(node, inputs)
        given = {f"i{n}": value for n, value in enumerate(inputs)}
        # Older than the newest: Split there has to be told how many outputs it has.
        graph = helper.make_graph(
            [node],
            "one",
            [helper.make_tensor_value_info(key, 1, None) for key in given],
            [helper.make_tensor_value_info(key, 1, None) for key in node.output],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        wanted = reference.ReferenceEvaluator(model).run(None, given)
        assert len(found) == len(wanted) == count
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, 1e-6)


def test_constants_that_are_inputs_can_be_given(backend: str) -> None:
    model = models.model([models.gru()], models.gru_tensors())
    for constant in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(constant.name, 1, list(constant.dims))
        )
    x = np.ones((4, 3, 2), np.float32)
    w, r = (onnx.numpy_helper.to_array(each) for each in model.graph.initializer)
    prepared = formats_onnx.Backend.prepare(model)
    wanted = formats_onnx.run_node(models.gru(), [x, 2 * w, r])[0]
    np.testing.assert_array_equal(prepared.run([x, 2 * w, r])[0], wanted)
    np.testing.assert_array_equal(prepared.run({"x": x, "w": 2 * w})[0], wanted)
    wanted = formats_onnx.run_node(models.gru(), [x, w, r])[0]
    np.testing.assert_array_equal(prepared.run(x)[0], wanted)


def test_what_operators_of_other_versions_mean() -> None:
    run, x = formats_onnx.Backend.run_node, np.ones((1, 2, 3), np.float32)
    node = helper.make_node("Cast", ["x"], ["y"], to="DOUBLE")
    assert run(node, x)[0].dtype == np.float64
    node = helper.make_node("Cast", ["x"], ["y"], to="FLOAT")
    assert run(node, x)[0].dtype == np.float32
    for to in (8, "STRING", 0):
        node = helper.make_node("Cast", ["x"], ["y"], to=to)
        with pytest.raises(ValueError, match="to should be a dtype of numbers"):
            run(node, x)
    weight = np.ones((1, 2, 1), np.float32)
    for node in (
        helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="NOTSET"),
        helper.make_node("Conv", ["x", "w", ""], ["y"]),
    ):
        np.testing.assert_array_equal(run(node, [x, weight])[0], [[[2, 2, 2]]])
    node = helper.make_node("Add", ["a", "b"], ["y"], axis=0, broadcast=1)
    with pytest.raises(ValueError, match="axes should be matched from the last one"):
        run(node, [np.eye(2), np.ones(2)])
    node = helper.make_node("Split", ["x", "sizes"], ["y", "z"], axis=2)
    with pytest.raises(ValueError, match="split should be 3 together"):
        run(node, [x, np.array([1, 1])])


def test_an_output_that_no_node_gives() -> None:
    model = models.model([helper.make_node("Dropout", ["x"], ["y", "mask"])])
    model.graph.output.append(helper.make_tensor_value_info("mask", 9, [2]))
    with pytest.raises(ValueError, match="model should give 'mask', got no node"):
        formats_onnx.Backend.run_model(model, np.ones((4, 3, 2), np.float32))
