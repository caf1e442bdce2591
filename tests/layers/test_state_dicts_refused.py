"""Arrays that make no layer, and what is said of them."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import gatewise


def lstm(prefix: str = "", **options: Any) -> dict[str, Any]:
    layer = gatewise.LSTM(3, 4, 2, bidirectional=True, seed=0, **options)
    return layer.to_state_dict(prefix)


def without(arrays: dict[str, Any], *parts: str) -> dict[str, Any]:
    return {n: a for n, a in arrays.items() if not any(part in n for part in parts)}


def renamed(arrays: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {name.replace(old, new): array for name, array in arrays.items()}


MISFITS: list[tuple[dict[str, Any], str]] = [
    (without(lstm(), "bias_hh_l1_reverse"), r"parameters: missing bias_hh_l1_reverse$"),
    (without(lstm(), "bias_ih"), "missing bias_ih_l0, bias_ih_l0_reverse, bias_ih_l1"),
    (
        without(lstm(), "l1_reverse"),
        "missing weight_ih_l1_reverse, weight_hh_l1_reverse, bias",
    ),
    (without(lstm(), "weight_hh_l0"), "missing weight_hh_l0, weight_hh_l0_reverse"),
    (without(lstm(), "l0"), "nothing of layer 0, while there is a layer 1"),
    (renamed(lstm(), "l1", "l2"), "nothing of layer 1, while there is a layer 2"),
    (renamed(lstm(), "l1", "l999999999"), "nothing of layer 1, .* a layer 999999999"),
    (renamed(lstm(), "l1", "l" + "9" * 5000), "unexpected weight_ih_l9999"),
    (renamed(lstm(), "l1", "l01"), "unexpected weight_ih_l01"),
    (lstm() | {"weight_hh_l0_g": np.ones((16, 1))}, "unexpected weight_hh_l0_g"),
    (
        lstm() | {"weight_ih": np.ones((16, 3))},
        "a cell or those of layers, got both weight_ih",
    ),
    (
        lstm() | {"weight_hh_l1": np.ones((20, 5))},
        r"weight_hh_l1 should have shape \(16, 4\)",
    ),
    (
        lstm() | {"weight_ih_l1": np.ones((16, 4))},
        r"weight_ih_l1 .* \(16, 8\), got \(16, 4\)",
    ),
    (lstm() | {"bias_ih_l1": np.ones((16, 1))}, r"bias_ih_l1 should have shape \(16,\)"),
    (
        lstm() | {"weight_hh_l0": np.ones(16)},
        r"weight_hh_l0 should have two axes .* \(16,\)",
    ),
    (lstm() | {"weight_ih_l0": np.ones((16, 0))}, "two axes with something in it"),
    (lstm() | {"weight_hh_l0": np.ones((17, 4))}, "should have 4 . 4 rows, got 17$"),
    (without(lstm(proj_size=2), "hr"), "weight_hh_l0 should have 4 . 2 rows, got 16$"),
    (without(lstm(proj_size=2), "hr_l1"), "missing weight_hr_l1, weight_hr_l1_reverse"),
    (without(lstm(peepholes=True), "hole_l0_r"), "missing weight_peephole_l0_reverse"),
    (lstm() | {"initial_h": np.ones((4, 4))}, "missing initial_c"),
    (
        lstm() | {"initial_h": np.ones((4, 4)), "initial_c": np.ones((2, 4))},
        r"initial_c should have shape \(4, 4\), got \(2, 4\)",
    ),
    (
        lstm() | {"weight_ih_l0": np.ones((16, 3), np.int8)},
        "should have scales with its int8",
    ),
    (
        lstm() | {"weight_ih_l0_scale": np.ones(16)},
        "weight_ih_l0 should be int8 as others are",
    ),
]


@pytest.mark.parametrize(("arrays", "text"), MISFITS, ids=[text for _, text in MISFITS])
def test_what_does_not_fit(arrays: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        gatewise.LSTM.from_state_dict(arrays)
    assert str(caught.value).startswith("state_dict should have an LSTM's parameters: ")


def test_narrow_weights_and_their_scales() -> None:
    narrow = gatewise.LSTM(3, 4, seed=0).quantize("int8").to_state_dict()
    with pytest.raises(ValueError, match="missing weight_ih_l0_scale"):
        gatewise.LSTM.from_state_dict(without(narrow, "weight_ih_l0_scale"))
    with pytest.raises(ValueError, match=r"weight_ih_l0_scale should have shape \(16,\)"):
        gatewise.LSTM.from_state_dict(narrow | {"weight_ih_l0_scale": np.ones((16, 1))})
    with pytest.raises(ValueError, match="weight_hh_l0_scale should hold finite numbers"):
        gatewise.LSTM.from_state_dict(narrow | {"weight_hh_l0_scale": np.full(16, np.nan)})
    with pytest.raises(ValueError, match="only layers of float32 can be quantized"):
        gatewise.LSTM.from_state_dict(narrow, dtype="float64")


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("other", ["RNN", "GRU", "LSTM"])
def test_another_kind_is_named(kind: str, other: str) -> None:
    arrays = getattr(gatewise, other)(3, 4, seed=0).to_state_dict("a.")
    if kind == other:
        getattr(gatewise, kind).from_state_dict(arrays, "a.")
        return
    article = {"RNN": "an", "GRU": "a", "LSTM": "an"}[other]
    with pytest.raises(
        ValueError, match=f"these are {article} {other}'s shapes: use gatewise.{other}$"
    ):
        getattr(gatewise, kind).from_state_dict(arrays, "a.")


def test_what_only_an_lstm_has() -> None:
    arrays = gatewise.GRU(3, 4, seed=0).to_state_dict()
    for name in ("weight_peephole_l0", "initial_c"):
        more = {name: np.ones((3, 4)), "initial_h": np.ones((1, 4))}
        with pytest.raises(ValueError, match=f"unexpected {name}, which only an LSTM has"):
            gatewise.GRU.from_state_dict(arrays | more)
    projected = gatewise.LSTM(3, 4, proj_size=2, seed=0).to_state_dict()
    with pytest.raises(ValueError, match=r"an LSTM's shapes: use gatewise\.LSTM$"):
        gatewise.GRU.from_state_dict(projected)


def test_a_wrong_prefix_leads_to_the_right_ones() -> None:
    arrays = {
        **lstm("module.encoder.lstm."),
        **gatewise.GRU(3, 4).to_state_dict("module.decoder."),
        **renamed(gatewise.RNN(3, 4).to_state_dict("module.cell."), "_l0", ""),
        **gatewise.LSTM(3, 4, proj_size=2).to_state_dict("module.projected."),
        "module.head.weight": np.ones((2, 8)),
        "module.head.bias": np.ones(2),
        "module.table.weight": np.ones((9, 3)),
        "module.norm.weight": np.ones(3),
    }
    for prefix in ("encoder.lstm.", "module.encoder.", "module.encoder.lstm", "", "x"):
        with pytest.raises(ValueError, match="LSTM's parameters under prefix ") as caught:
            gatewise.LSTM.from_state_dict(arrays, prefix)
        assert f"under prefix {prefix!r}, got " in str(caught.value)
        assert str(caught.value).endswith(
            "; there is an LSTM with prefix='module.encoder.lstm.', a GRU with "
            "prefix='module.decoder.', an RNN with prefix='module.cell.', an LSTM with "
            "prefix='module.projected.'"
        )
    inside = "; there is in state_dict['model'] an LSTM with prefix='module.encoder.lstm.'"
    with pytest.raises(ValueError, match=inside.replace("[", "\\[")):
        gatewise.LSTM.from_state_dict({"epoch": 3, "model": arrays})
    with pytest.raises(ValueError, match=r"got none$"):
        gatewise.LSTM.from_state_dict({})
    with pytest.raises(ValueError, match=r"got a, b, c, \.\.\.$"):
        gatewise.LSTM.from_state_dict(dict.fromkeys("abcd", 1))
    end = (
        r"there is a Linear with prefix='module.head.', a Linear with prefix='module.table'"
    )
    with pytest.raises(ValueError, match=end.replace("table", "table.")):
        gatewise.Linear.from_state_dict(arrays, "module.")
    with pytest.raises(
        ValueError, match=r"there is an Embedding with prefix='module.table.'$"
    ):
        gatewise.Embedding.from_state_dict(arrays)
    many = {f"{i}.weight": np.ones((1, 1)) for i in range(70)}
    with pytest.raises(ValueError, match=r"prefix='49.', and 20 more$"):
        gatewise.Linear.from_state_dict(many)


def test_a_cells_names_have_no_numbers() -> None:
    cell = renamed(gatewise.GRU(3, 4, seed=0).to_state_dict(), "_l0", "")
    for arrays, text in [
        (without(cell, "bias_hh"), "parameters: missing bias_hh$"),
        (cell | {"bias_hh": np.ones(3)}, r"bias_hh should have shape \(12,\), got \(3,\)"),
        (
            cell | {"weight_hh": np.ones((16, 4))},
            "weight_hh should have 3 . 4 rows, got 16; ",
        ),
    ]:
        with pytest.raises(ValueError, match=text):
            gatewise.GRU.from_state_dict(arrays)
    start = {"initial_h": np.ones((1, 4))}
    assert gatewise.GRU.from_state_dict(cell | start).initial_state.sum() == 4


def test_what_is_not_the_layers_is_passed_over() -> None:
    arrays = gatewise.GRU(3, 4, seed=0).to_state_dict("a.")
    more: dict[Any, Any] = {
        "a.inner.weight_ih_l0": np.ones((7, 7)),
        "a.norm.weight": None,
        "a.count": "seven",
        "a.weight": np.ones(3),
        "a2.weight_ih_l1": np.ones(3),
        7: 8,
    }
    layer = gatewise.GRU.from_state_dict(arrays | more, "a.")
    assert layer.to_state_dict("a.").keys() == arrays.keys()


def test_arguments_of_another_type() -> None:
    arrays = gatewise.GRU(3, 4, seed=0).to_state_dict()
    with pytest.raises(TypeError, match="state_dict should map names to arrays, got list"):
        gatewise.GRU.from_state_dict([arrays])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"got str; gatewise\.load_arrays gives"):
        gatewise.GRU.from_state_dict("model.pt")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="prefix should be a string, got int"):
        gatewise.GRU.from_state_dict(arrays, 0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="prefix should be a string, got NoneType"):
        gatewise.GRU(3, 4).to_state_dict(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'hidden'"):
        gatewise.GRU.from_state_dict(arrays, hidden=4)
    with pytest.raises(
        ValueError, match="forget_bias should be None, as state_dict has it"
    ):
        gatewise.LSTM.from_state_dict(lstm(), forget_bias=1.0)
    for value in ("x", None, 1j, np.ones((12, 3), object), [[1], [2, 3]]):
        with pytest.raises(
            (TypeError, ValueError), match=r"state_dict\['weight_ih_l0'\] sh"
        ):
            gatewise.GRU.from_state_dict(arrays | {"weight_ih_l0": value})


def test_no_name_and_no_shape_makes_memory_be_taken() -> None:
    huge = np.broadcast_to(np.float32(1), (4 * 2**26, 2**26))
    for arrays in (
        renamed(lstm(), "l1", "l999999999"),
        lstm() | {"weight_hh_l0": huge},
        lstm() | {"weight_ih_l1": huge},
        lstm() | {"initial_h": huge},
    ):
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match="LSTM's parameters: "):
                gatewise.LSTM.from_state_dict(arrays)
            assert tracemalloc.get_traced_memory()[1] < 1e6
        finally:
            tracemalloc.stop()


def test_the_base_of_the_layers_makes_none() -> None:
    with pytest.raises(TypeError, match="should be one of RNN, GRU, LSTM, got Recurrent"):
        gatewise.layers.Recurrent.from_state_dict(lstm())


WRONG: list[Any] = [
    None,
    "x",
    [],
    [[1], [1, 2]],
    {},
    np.zeros(3, "M8[s]"),
    np.ones((2, 2, 2)),
]
ENDS = ["_scale", "_reverse", "_l1", "_l7", "_l00", "_l" + "9" * 20, "_g", ".x"]


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_whatever_comes_there_is_a_layer_or_a_refusal(kind: str) -> None:
    generator = np.random.default_rng(0)
    made = 0
    for number in range(400):
        layer = getattr(gatewise, kind)(
            3, 4, 1 + number % 2, bidirectional=number % 3 > 1, seed=0
        )
        arrays: dict[str, Any] = layer.to_state_dict()
        for _ in range(generator.integers(1, 4)):
            name = str(generator.choice(list(arrays)))
            other = str(generator.choice(list(arrays)))
            value = arrays.pop(name)
            change = generator.integers(5)
            if change == 1:
                arrays[name.removesuffix("_l0") + ENDS[generator.integers(8)]] = value
            elif change == 2:
                arrays[name] = WRONG[generator.integers(7)]
            elif change == 3:
                arrays[other] = value
            elif change == 4 and isinstance(value, np.ndarray):
                arrays[name] = np.float16(value)[..., : number % 9]
            if not arrays:
                break
        refusal = ""
        try:
            found = getattr(gatewise, kind).from_state_dict(arrays)
        except (TypeError, ValueError) as error:
            refusal = str(error)
        else:
            made += 1
            assert found(np.ones((2, found.input_size)))[0].shape[0] == 2
        assert not refusal or " should " in refusal
    assert 0 < made < 200
