"""Products of bfloat16 against what rounds by the book, and the same on all processors."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.kernels import bfloat16, chooser
from tests.new_process import run

Array = np.ndarray[Any, Any]

STEP = 2.0**-8  # of a bfloat16, the largest error of rounding relative to the number


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def by_the_book(values: Array) -> Array:
    """The nearest multiple of the last of 8 bits, of two the even one; in float64."""
    wide = values.astype(np.float64)
    _, exponents = np.frexp(wide)
    units = np.ldexp(1.0, exponents - 8)
    # NumPy rounds what is halfway to the even one.
    return np.rint(wide / units) * units


def test_it_rounds_to_the_nearest() -> None:
    random = np.random.default_rng(0)
    bits = random.integers(0, 2**32, 200_000, dtype=np.uint32)
    # Many of them halfway between two.
    bits[::2] = bits[::2] & np.uint32(0xFFFF0000) | np.uint32(0x8000)
    values = bits.view(np.float32)
    size = np.abs(values)
    values = values[(size >= 2.0**-126) & (size <= bfloat16.LARGEST)]
    np.testing.assert_array_equal(bfloat16.rounded(values), by_the_book(values))


def test_what_is_no_normal_number() -> None:
    tiny = np.float32(2.0**-126)
    given = np.float32([0, -0.0, 1e-40, -1e-40, tiny, np.inf, -np.inf, 3.4e38, np.nan])
    wanted = np.float32([0, -0.0, 0, -0.0, tiny, np.inf, -np.inf, np.inf, np.nan])
    found = bfloat16.rounded(given)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))
    # A NaN whose upper half alone would be an infinity.
    assert np.isnan(bfloat16.rounded(np.uint32([0x7F800001]).view(np.float32))).all()


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def reference(kind: str, weights: dict[str, Array], x: Array) -> Array:
    """A layer's outputs in float64, but for what its products multiply."""
    w_ih, w_hh = (by_the_book(weights[f"weight_{name}_l0"]) for name in ("ih", "hh"))
    b_ih, b_hh = (weights[f"bias_{name}_l0"].astype(float) for name in ("ih", "hh"))
    h = c = np.zeros((len(x), w_hh.shape[1]))
    p_i, p_f, p_o = weights.get("weight_peephole_l0", np.zeros((3, 1)))
    outputs = []
    for row in x.swapaxes(0, 1):
        of_x = by_the_book(row) @ w_ih.T + b_ih
        of_h = by_the_book(h.astype(np.float32)) @ w_hh.T + b_hh
        if kind == "RNN":
            h = np.tanh(of_x + of_h)
        elif kind == "LSTM":
            i, f, g, o = np.split(of_x + of_h, 4, axis=1)
            c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
            h = sigmoid(o + p_o * c) * np.tanh(c)
        else:
            (r_x, z_x, n_x), (r_h, z_h, n_h) = (
                np.split(a, 3, axis=1) for a in (of_x, of_h)
            )
            z = sigmoid(z_x + z_h)
            h = (1 - z) * np.tanh(n_x + sigmoid(r_x + r_h) * n_h) + z * h
        outputs.append(h)
    return np.stack(outputs, axis=1)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("RNN", {}), ("LSTM", {}), ("LSTM", {"peepholes": True}), ("GRU", {})],
)
@pytest.mark.parametrize(("inputs", "hidden"), [(1, 5), (7, 37), (64, 64), (33, 130)])
@pytest.mark.parametrize("batch", [1, 2, 9])
def test_it_is_what_rounds_by_the_book(
    kind: str, options: dict[str, bool], inputs: int, hidden: int, batch: int, backend: str
) -> None:
    layer = getattr(gatewise, kind)(inputs, hidden, seed=1, **options)
    x = draw(batch, 6, inputs)
    wanted = reference(kind, layer.state_dict(), x)
    error = np.abs(layer.quantize("bfloat16")(x)[0] - wanted)
    # Where h lies next to the middle of two, a last bit of float32 moves it to the other;
    # the first step has no h, and thus only the sums' own errors.
    assert error[:, 0].max() < 2e-6
    assert error.max() < STEP / 2
    assert np.median(error) < 1e-5


@pytest.mark.parametrize("rows", [1, 3, 200])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (33, 4), (300, 130), (640, 20)])
def test_a_linear_layer(inputs: int, outputs: int, rows: int, backend: str) -> None:
    layer = gatewise.Linear(inputs, outputs, seed=0)
    x = draw(rows, inputs)
    values = layer.state_dict()
    wanted = by_the_book(x) @ by_the_book(values["weight"]).T + values["bias"]
    found = layer.quantize("bfloat16")(x)
    # Each of the sum's terms is exact, and each addition is off by half a last bit.
    sizes = np.abs(by_the_book(x)) @ np.abs(by_the_book(values["weight"])).T
    assert (np.abs(found - wanted) <= 2.0**-24 * (inputs + 2) * (sizes + 1)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e-40, 3.4e38])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_what_stands_in_one_row_stays_there(kind: str, value: float, backend: str) -> None:
    narrow = getattr(gatewise, kind)(20, 40, seed=0).quantize("bfloat16")
    x = draw(9, 5, 20)
    wanted = narrow(x)[0]
    x[4, 2, 7] = value
    found = narrow(x)[0]
    others = np.arange(9) != 4
    # BLAS itself promises no bits.
    np.testing.assert_allclose(found[others], wanted[others], rtol=0, atol=STEP / 4)
    np.testing.assert_allclose(found[4, :2], wanted[4, :2], rtol=0, atol=STEP / 4)
    assert np.isnan(found[4, 2:]).all() == np.isnan(value)


def test_weights_too_large_are_refused_and_others_are_not() -> None:
    layer = gatewise.RNN(2, 3, seed=0)
    weight = np.full((3, 3), bfloat16.LARGEST, np.float32)
    layer.set_parameters({"weight_hh_l0": weight})
    held = layer.quantize("bfloat16").state_dict()["weight_hh_l0"]
    assert np.isfinite(bfloat16.widened(held)).all()
    layer.set_parameters({"weight_hh_l0": np.nextafter(weight, np.float32(np.inf))})
    with pytest.raises(ValueError, match="weight_hh_l0 should hold numbers of at most 3"):
        layer.quantize("bfloat16")


RUN = """
import hashlib, numpy as np, gatewise
found = hashlib.sha256()
random = np.random.default_rng(0)
gatewise.set_num_threads(1)
for kind in (gatewise.RNN, gatewise.LSTM, gatewise.GRU):
    for inputs, hidden in ((5, 37), (64, 64)):
        for batch in (1, 7):
            x = random.standard_normal((batch, 6, inputs)).astype(np.float32)
            x[0, 0, :3] = 1e-40, 2.0**-126, -1e-20
            layer = kind(inputs, hidden, 2, bidirectional=True, seed=0).quantize("bfloat16")
            found.update(layer(x)[0].tobytes())
            linear = gatewise.Linear(inputs, 70, seed=0).quantize("bfloat16")
            found.update(linear(x).tobytes())
print(found.hexdigest())
"""


def test_processors_with_fused_multiply_adds_have_the_same_bits(native: Any) -> None:
    sets = [name for name in native.instruction_sets() if name.startswith("avx")]
    if len(sets) < 2:
        pytest.skip("there is only one such instruction set")
    digests = {}
    for name in sets:
        done = run(RUN, GATEWISE_ISA=name)
        assert done.returncode == 0, done.stderr
        digests[name] = done.stdout
    assert len(digests[sets[0]]) > hashlib.sha256().digest_size
    assert len(set(digests.values())) == 1, digests


def test_backends_agree(both_backends: None) -> None:
    layer = gatewise.GRU(30, 50, 2, bidirectional=True, seed=0).quantize("bfloat16")
    x = draw(5, 20, 30)
    results = []
    for name in ("numpy", "native"):
        with chooser.use(name):
            results.append(layer(x)[0])
    error = np.abs(results[0] - results[1])
    assert error.max() < STEP
    assert np.median(error) < 1e-4
