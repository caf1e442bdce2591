"""Layers out of arrays that have PyTorch's names: what they give, and what they lack."""

from __future__ import annotations

import tracemalloc
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise

FIGURES = Path(__file__).parents[1] / "data" / "state_dict_figures.npz"


@cache
def figures() -> dict[str, dict[str, np.ndarray]]:
    """PyTorch's modules and their answers, by case."""
    found: dict[str, dict[str, np.ndarray]] = {}
    with np.load(FIGURES) as stored:
        for name, array in stored.items():
            case, _, rest = name.partition(":")
            found.setdefault(case, {})[rest] = array
    return found


def pair_or_one(parts: list[Any]) -> Any:
    return tuple(parts) if len(parts) > 1 else parts[0]


@pytest.mark.parametrize("case", figures())
def test_layers_give_what_pytorch_gave(case: str, backend: str) -> None:
    stored = figures()[case]
    kind = getattr(gatewise, case.split()[1].removesuffix("Cell"))
    layer = kind.from_state_dict(stored, "state_dict.")
    starts = [stored[f"start_{part}"] for part in "hc" if f"start_{part}" in stored]
    layer.initial_state = pair_or_one(starts)
    y, final = layer(stored["x"])
    np.testing.assert_allclose(y, stored["y"], rtol=0, atol=1e-6)
    for part, found in zip("hc", final if kind is gatewise.LSTM else [final], strict=False):
        np.testing.assert_allclose(found, stored[f"final_{part}"], rtol=0, atol=1e-6)
    # And all over again from what the layer itself gives.
    again = kind.from_state_dict(layer.to_state_dict("a.b."), prefix="a.b.")
    assert repr(again) == repr(layer)
    np.testing.assert_array_equal(again(stored["x"])[0], y)


def drawn_options(kind: str, generator: np.random.Generator) -> dict[str, Any]:
    options: dict[str, Any] = {
        "num_layers": int(generator.integers(1, 4)),
        "bias": bool(generator.integers(2)),
        "bidirectional": bool(generator.integers(2)),
    }
    if kind == "LSTM":
        options["proj_size"] = int(generator.integers(3))
    if kind == "RNN":
        options["nonlinearity"] = ["tanh", "relu"][generator.integers(2)]
    return options


@pytest.mark.parametrize("number", range(24))
def test_random_modules_of_pytorch(number: int, backend: str) -> None:
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(number)
    torch.manual_seed(number)
    kind = ["RNN", "LSTM", "GRU"][number % 3]
    options = drawn_options(kind, generator)
    features, hidden = int(generator.integers(1, 6)), int(generator.integers(3, 20))
    dtype = [torch.float32, torch.float64, torch.float16, torch.bfloat16][number // 3 % 4]
    module = getattr(torch.nn, kind)(features, hidden, batch_first=True, **options)
    stored = {
        f"m.rnn.{n}": p.to(dtype) for n, p in module.state_dict(keep_vars=True).items()
    }
    stored["m.head.weight"] = torch.ones(2, 2)
    passed = {n: options[n] for n in ("nonlinearity",) if n in options}
    layer = getattr(gatewise, kind).from_state_dict(stored, "m.rnn.", **passed)
    assert layer.dtype == ("float64" if dtype is torch.float64 else "float32")
    arguments = layer._arguments()
    assert {name: arguments[name] for name in options} == options
    # PyTorch's own, with the weights that are left after rounding.
    module = module.to(dtype).to(torch.float64 if dtype is torch.float64 else torch.float32)
    x = torch.randn(2, 6, features, dtype=next(module.parameters()).dtype)
    count = layer.num_layers * (1 + layer.bidirectional)
    sizes = [layer.output_size, hidden][: 1 + (kind == "LSTM")]
    starts = [torch.randn(count, size, dtype=x.dtype) for size in sizes]
    batched = [part[:, None].expand(-1, 2, -1).contiguous() for part in starts]
    with torch.no_grad(), warnings.catch_warnings():
        # It says how it computes projections.
        warnings.simplefilter("ignore")
        expected, final = module(x, pair_or_one(batched))
    for given in ("set", "passed"):
        layer.initial_state = pair_or_one(starts) if given == "set" else None
        state = None if given == "set" else pair_or_one([part.numpy() for part in batched])
        y, found = layer(x.numpy(), state)
        np.testing.assert_allclose(y, expected.numpy(), rtol=0, atol=1e-5)
        for own, peer in zip(
            found if kind == "LSTM" else [found],
            final if kind == "LSTM" else [final],
            strict=True,
        ):
            np.testing.assert_allclose(own, peer.numpy(), rtol=0, atol=1e-5)
    # What goes back is what PyTorch takes.
    layer.initial_state = None
    again = {name: torch.from_numpy(a) for name, a in layer.to_state_dict().items()}
    module.load_state_dict(again, strict=True)


OWN: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {"nonlinearity": ("leaky_relu", 0.5)}),
    ("RNN", {"tokens": True, "num_layers": 2}),
    ("LSTM", {"peepholes": True, "bidirectional": True, "num_layers": 2, "proj_size": 3}),
    ("LSTM", {"peepholes": True, "bias": False, "recurrent_activation": "hard_sigmoid"}),
    ("GRU", {"reset_after": False, "zoneout": 0.25, "learn_initial_state": True}),
    ("GRU", {"dtype": "float64", "bidirectional": True, "activation": "relu"}),
]
INFERRED = {
    "input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size",
    "peepholes", "dtype",
}  # fmt: skip


@pytest.mark.parametrize("weight_format", ["as it is", "int8", "float16"])
@pytest.mark.parametrize(("kind", "options"), OWN, ids=str)
def test_there_and_back(
    kind: str, options: dict[str, Any], weight_format: str, backend: str
) -> None:
    layer = getattr(gatewise, kind)(3, 5, **options, seed=0)
    layer.initial_state = pair_or_one(
        [
            np.random.default_rng(1).standard_normal(
                (layer.num_layers * (1 + layer.bidirectional), size)
            )
            for size in [layer.output_size, layer.hidden_size][: 1 + (kind == "LSTM")]
        ]
    )
    if weight_format != "as it is":
        if layer.dtype == np.float64:
            return
        layer = layer.quantize(weight_format)
    more = {name: value for name, value in options.items() if name not in INFERRED}
    arrays = layer.to_state_dict("x.")
    again = type(layer).from_state_dict(arrays, "x.", **more)
    if weight_format == "float16":
        # Widened, exactly; narrow again they are the same.
        assert again.weight_format == "float32"
        again = again.quantize("float16")
    assert repr(again) == repr(layer)
    assert again._arguments() == layer._arguments()
    for name, array in layer.state_dict().items():
        assert again.state_dict()[name].dtype == array.dtype
        np.testing.assert_array_equal(again.state_dict()[name], array)
    x = np.random.default_rng(2).standard_normal((2, 4, 3))
    np.testing.assert_array_equal(again(x)[0], layer(x)[0])
    arguments = layer._arguments()
    type(layer).from_state_dict(arrays, "x.", **arguments)
    for name in INFERRED & arguments.keys() - {"dtype"}:
        with pytest.raises(
            ValueError, match=f"{name} should be {arguments[name]}, as state"
        ):
            type(layer).from_state_dict(arrays, "x.", **{**more, name: 77})


def test_dtypes() -> None:
    arrays = gatewise.GRU(3, 4, seed=0).to_state_dict()
    gru = gatewise.GRU.from_state_dict
    assert gru(arrays).dtype == np.float32
    assert gru(arrays, dtype="float64").dtype == np.float64
    wide = {name: array.astype(">f8") for name, array in arrays.items()}
    assert gru(wide).dtype == np.float64
    assert gru(wide, dtype=np.float32).dtype == np.float32
    assert gru({name: array.tolist() for name, array in arrays.items()}).dtype == np.float64
    half = {name: array.astype(np.float16) for name, array in arrays.items()}
    found = gru(half)
    assert found.dtype == np.float32
    for name, array in half.items():
        np.testing.assert_array_equal(found.parameters()[name], array)
    arrays["bias_ih_l0"][0] = 7
    assert gru(arrays).parameters()["bias_ih_l0"][0] == 7
    assert not np.shares_memory(found.to_state_dict()["bias_ih_l0"], half["bias_ih_l0"])


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


def test_linear_and_embedding(backend: str) -> None:
    generator = np.random.default_rng(0)
    for options in ({}, {"bias": False, "dtype": "float64"}):
        linear = gatewise.Linear(3, 2, **options, seed=0)  # type: ignore[arg-type]
        found = gatewise.Linear.from_state_dict(
            linear.to_state_dict("fc."), "fc.", **options
        )
        assert repr(found) == repr(linear)
        x = generator.standard_normal((4, 3))
        np.testing.assert_array_equal(found(x), linear(x))
    table = gatewise.Embedding(5, 3, seed=0)
    copy = gatewise.Embedding.from_state_dict(table.to_state_dict())
    np.testing.assert_array_equal(copy([[1, 4]]), table([[1, 4]]))
    for arrays, text in [
        ({"weight": np.ones((2, 3)), "bias": np.ones(3)}, r"bias should have shape \(2,\)"),
        ({"weight": np.ones((2, 3, 1))}, "weight should have two axes"),
        ({"bias": np.ones(3)}, "Linear's parameters under prefix '', got bias$"),
    ]:
        with pytest.raises(ValueError, match=text):
            gatewise.Linear.from_state_dict(arrays)
    with pytest.raises(ValueError, match=r"unexpected bias; a gatewise\.Linear has one"):
        gatewise.Embedding.from_state_dict({"weight": np.ones((2, 3)), "bias": np.ones(2)})


def test_arguments_of_another_type() -> None:
    arrays = gatewise.GRU(3, 4, seed=0).to_state_dict()
    with pytest.raises(TypeError, match="state_dict should map names to arrays, got list"):
        gatewise.GRU.from_state_dict([arrays])  # type: ignore[arg-type]
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
