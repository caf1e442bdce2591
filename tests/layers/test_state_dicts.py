"""Layers out of arrays that have PyTorch's names: what they give, and what they lack."""

from __future__ import annotations

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


def test_nothing_is_drawn_where_arrays_are_there() -> None:
    arrays = gatewise.GRU(3, 4, seed=0).to_state_dict()

    def drawn(*_: Any) -> Any:
        raise AssertionError("nothing should be drawn")

    class Generator(np.random.Generator):
        random = uniform = standard_normal = drawn  # type: ignore[assignment]

    seed = Generator(np.random.PCG64(0))
    for _ in range(2):
        with pytest.raises(AssertionError, match="drawn"):
            gatewise.GRU(3, 4, seed=seed)
        layer = gatewise.GRU.from_state_dict(arrays, seed=seed)
        assert not any(array.flags.writeable for array in layer.parameters().values())
        with pytest.raises(TypeError, match="unexpected keyword argument 'none'"):
            gatewise.GRU.from_state_dict(arrays, none=seed)
    gatewise.Linear.from_state_dict({"weight": np.ones((2, 3))}, seed=seed)
    gatewise.Embedding.from_state_dict({"weight": np.ones((2, 3))}, seed=seed)
