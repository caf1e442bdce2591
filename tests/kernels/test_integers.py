"""Products of integers: their sums are exact, and so the same bits on every processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gatewise
from gatewise.kernels import chooser
from tests.new_process import run

Array = np.ndarray[Any, Any]

# Of the rows' largest element in each format.
STEPS = {"int8": 32512, "int8_8": 127}
SEGMENT = 65536
SIZES = [1, 2, 3, 4, 5, 15, 16, 17, 63, 200, 512, 513, 2100]
every_format = pytest.mark.parametrize("name", STEPS)


def as_float32(sums: Array) -> Array:
    """Exact sums as the kernels round them: once, or from 2^31 on as two parts."""
    high, low = sums >> 8, sums & 255
    return np.float32(256) * high.astype(np.float32) + low.astype(np.float32)


def sums_of(name: str, weight: Array, steps: Array, threads: int = 1) -> Array:
    """What the present backend makes of integers, scales of which are 1."""
    # The scale is the largest element's, so one element has to be of that size.
    assert (np.abs(steps).max(axis=1) == STEPS[name]).all()
    scale = np.ones(len(weight), np.float32)
    packed = chooser.kernels.pack_linear(weight, None, weight_format=name, scale=scale)
    found = chooser.kernels.linear(packed, steps.astype(np.float32), num_threads=threads)
    assert found is not None
    return found


def draw_integers(
    name: str, inputs: int, outputs: int, rows: int, seed: int
) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    most = STEPS[name]
    weight = random.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    steps = random.integers(-most, most + 1, (rows, inputs))
    steps[:, 0] = most
    return weight, steps


@every_format
@settings(deadline=None, max_examples=40)
@given(
    inputs=st.sampled_from(SIZES),
    outputs=st.integers(1, 140),
    rows=st.integers(1, 14),
    seed=st.integers(0, 99),
)
def test_sums_are_exact(
    name: str, backend: str, inputs: int, outputs: int, rows: int, seed: int
) -> None:
    weight, steps = draw_integers(name, inputs, outputs, rows, seed)
    wanted = as_float32(steps.astype(np.int64) @ weight.T.astype(np.int64))
    np.testing.assert_array_equal(sums_of(name, weight, steps), wanted)
    np.testing.assert_array_equal(sums_of(name, weight, steps, threads=2), wanted)


@every_format
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("inputs", [512, 513, SEGMENT, SEGMENT + 3])
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_largest_sums_do_not_overflow(
    name: str, sign: int, inputs: int, rows: int, backend: str
) -> None:
    weight = np.full((3, inputs), 127 * sign, np.int8)
    weight[1, ::2] *= -1
    # What no layer of ours has, but an array that was given can.
    weight[2] = -128
    steps = np.full((rows, inputs), STEPS[name])
    exact = [
        as_float32(steps[:, part].astype(np.int64) @ weight[:, part].T.astype(np.int64))
        for part in (slice(0, SEGMENT), slice(SEGMENT, None))
    ]
    np.testing.assert_array_equal(sums_of(name, weight, steps), exact[0] + exact[1])


# Prints a line for each thing that is computed: what it is, and its bits.
RUN = """
import hashlib
import numpy as np
import gatewise
from gatewise.kernels import chooser

def show(label, array):
    print(label, hashlib.sha256(np.ascontiguousarray(array)).hexdigest())

random = np.random.default_rng(0)
for bits in (15, 8):
    for inputs, outputs in ((1, 1), (5, 3), (70, 37), (600, 150)):
        layer = gatewise.Linear(inputs, outputs, seed=0).quantize("int8", activations=bits)
        x = random.standard_normal((9, inputs)) * random.lognormal(0, 9, (9, 1))
        for rows in (1, 2, 9):
            show("sums", layer(x[:rows]))
    for kind in (gatewise.RNN, gatewise.LSTM, gatewise.GRU):
        layer = kind(19, 37, 2, bidirectional=True, seed=0)
        x = random.standard_normal((7, 6, 19)) * 3
        y, state = layer.quantize("int8", activations=bits)(x)
        show("layer", y)
        if bits == 15:
            show("float32", layer(x)[0])
"""


def results_of(instruction_set: str) -> dict[str, list[str]]:
    done = run(RUN, GATEWISE_ISA=instruction_set, GATEWISE_BACKEND="native")
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        label, digest = line.split()
        found.setdefault(label, []).append(digest)
    return found


@pytest.mark.parametrize("backend", ["native"], indirect=True)
def test_every_instruction_set_gives_the_same_bits(backend: str) -> None:
    names = chooser.kernels.instruction_sets()
    found = {name: results_of(name) for name in names}
    first = found[names[0]]
    assert len(first["sums"]) == 24
    for name in names[1:]:
        assert found[name]["sums"] == first["sums"], name
        # What stands between the sums has no better promise than it has in float32.
        if found[name]["float32"] == first["float32"]:
            assert found[name]["layer"] == first["layer"], name


@pytest.mark.parametrize("bits", [15, 8])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (70, 37), (600, 150)])
def test_backends_round_rows_alike(
    bits: int, shape: tuple[int, int], both_backends: None
) -> None:
    layer = gatewise.Linear(*shape, seed=0).quantize("int8", activations=bits)
    random = np.random.default_rng(1)
    x = random.standard_normal((9, shape[0])) * random.lognormal(0, 9, (9, 1))
    x[3] = 0
    found = []
    for name in ("native", "numpy"):
        with chooser.use(name):
            found.append(layer(x))
    np.testing.assert_array_equal(*found)
