"""Results have the same bits on every machine that has a fused multiply-add."""

from __future__ import annotations

import math
import platform
import random

import numpy as np
import pytest

import gatewise
from gatewise.kernels import chooser
from gatewise.training import portable
from tests import same_bits

# What was not built for an older CPU of its kind has a fused multiply-add here.
FUSED_EVERYWHERE = ("aarch64", "arm64", "ppc64le", "riscv64", "loongarch64", "s390x")


def is_fused() -> bool:
    from gatewise.kernels.native import compiled

    vectors = ("avx512", "avx2", "neon")
    return compiled.instruction_set().startswith(vectors) or (
        platform.machine() in FUSED_EVERYWHERE and platform.system() != "Windows"
    )


@pytest.mark.usefixtures("own_products")
@pytest.mark.parametrize("backend", ["native"], indirect=True)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("part", same_bits.PARTS)
def test_bits_are_those_of_every_machine(backend: str, part: str, threads: int) -> None:
    if not is_fused():
        pytest.skip("without a fused multiply-add the bits are others")
    before = gatewise.get_num_threads()
    gatewise.set_num_threads(threads)
    try:
        assert same_bits.digest(part) == same_bits.STORED[part]
    finally:
        gatewise.set_num_threads(before)


def test_logarithms() -> None:
    x = np.concatenate([2.0 ** np.arange(-1000, 1000, 3), np.linspace(0.5, 2, 2001)])
    for value in x:
        expected = math.log(value)
        found = portable.sum_of_logarithms(np.array([value]))
        assert math.isclose(found, expected, rel_tol=1e-15, abs_tol=1e-16)
    expected = math.fsum(math.log(value) for value in x)
    assert math.isclose(portable.sum_of_logarithms(x), expected, rel_tol=1e-13)
    assert portable.sum_of_logarithms(np.ones((0,))) == 0
    assert math.isnan(portable.sum_of_logarithms(np.array([0.5, math.nan])))


def test_cosines() -> None:
    for x in np.linspace(0, math.pi, 501).tolist():
        assert abs(portable.cosine(x) - math.cos(x)) < 1e-15


def test_powers() -> None:
    for exponent in (0, 1, 2, 3, 17, 1000, 123456):
        expected = 0.999**exponent
        assert math.isclose(portable.power(0.999, exponent), expected, rel_tol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (20_000,), (300, 80)])
def test_sums_of_squares(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    exact = math.fsum(float(value) ** 2 for value in array.ravel())
    assert math.isclose(portable.sum_of_squares(array), exact, rel_tol=1e-13)
    assert portable.sum_of_squares(array.T) == portable.sum_of_squares(array)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_first_values_are_those_of_numpy(dtype: str) -> None:
    """But for one rounding, where NumPy was built with fused multiply-adds."""
    layer = gatewise.Linear(7, 5, dtype=dtype, seed=3)
    generator = np.random.default_rng(3)
    expected = generator.uniform(-1 / math.sqrt(7), 1 / math.sqrt(7), (5, 7))
    np.testing.assert_allclose(layer.state_dict()["weight"], expected, rtol=1e-6)


def test_every_activation(backend: str) -> None:
    """Checked with what the layers' cells compute by it in other tests; here, by NumPy."""
    from gatewise.kernels import numpy as fallback

    z = np.array([random.Random(0).uniform(-9, 9) for _ in range(101)])
    for name, numbers in same_bits.ACTIVATIONS.items():
        activation = same_bits.Activation(name, *[0.7, 0.4][: len(numbers)])
        found, expected = np.empty_like(z), np.empty_like(z)
        chooser.kernels.activate(activation, z, found)
        fallback.activate(activation, z, expected)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15, err_msg=name)


def test_unknown_activations(backend: str) -> None:
    with pytest.raises(ValueError, match="activation should be one of"):
        chooser.kernels.activate(same_bits.Activation("none"), np.ones(3), np.ones(3))
