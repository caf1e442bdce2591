"""How far the compiled sigmoid and tanh are from the true values.

``python tests/activation_accuracy.py`` checks float32 over all 2^32 inputs against float64,
and float64 over dense samples against long double, in units in the last place (ulp) of the
result wherever that is a normal number. ``--stride N`` takes every N-th float32.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import chooser

Array = NDArray[Any]

LIMIT = 4.0
CHUNK = 1 << 22


def true_sigmoid(z: Array) -> Array:
    """The sigmoid in the precision of `z`, which is the wider one."""
    t = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, t) / (1 + t)


FUNCTIONS: dict[str, tuple[Callable[[Array], Array], float, float]] = {
    # The true function, and its values at the two infinities.
    "sigmoid": (true_sigmoid, 0.0, 1.0),
    "tanh": (np.tanh, -1.0, 1.0),
}


def computed(name: str, z: Array) -> Array:
    """What the kernels of the present backend give."""
    out = np.empty_like(z)
    getattr(chooser.kernels, name)(z, out)
    return out


def largest_error(name: str, z: Array) -> float:
    """The largest distance from the true value in ulp, over normal results."""
    wide = np.float64 if z.dtype == np.float32 else np.longdouble
    truth = FUNCTIONS[name][0](z.astype(wide))
    narrow = truth.astype(z.dtype)
    normal = np.abs(narrow) >= np.finfo(z.dtype).tiny
    distance = np.abs(computed(name, z).astype(wide) - truth)[normal]
    unit = np.spacing(np.abs(narrow[normal])).astype(wide)
    return float((distance / unit).max(initial=0))


def broken_promises(name: str, z: Array) -> list[str]:
    """What should hold exactly and does not."""
    _, low, high = FUNCTIONS[name]
    found = []
    y = computed(name, z)
    if not np.array_equal(np.isnan(y), np.isnan(z)):
        found.append("NaN does not pass, or comes from nowhere")
    if (y[~np.isnan(z)] < low).any() or (y[~np.isnan(z)] > high).any():
        found.append("a value outside the range")
    infinities = np.array([-np.inf, np.inf, -1000, 1000], z.dtype)
    if computed(name, infinities).tolist() != [low, high] * 2:
        found.append("no exact saturation")
    if name == "tanh" and not np.array_equal(computed(name, -z), -y, equal_nan=True):
        found.append("not odd")
    return found


def every_float32(stride: int) -> Iterator[Array]:
    """All bit patterns, or every `stride`-th, chunk by chunk."""
    for start in range(0, 1 << 32, CHUNK * stride):
        stop = min(start + CHUNK * stride, 1 << 32)
        yield (
            np.arange(start, stop, stride, dtype=np.uint64)
            .astype(np.uint32)
            .view(np.float32)
        )


def dense_float64(count: int, seed: int = 0) -> Iterator[Array]:
    """Random numbers, dense where the functions bend and over all magnitudes."""
    generator = np.random.default_rng(seed)
    yield generator.uniform(-1, 1, count)
    yield generator.uniform(-40, 40, count)
    yield generator.uniform(-745, 745, count)
    magnitudes = 10 ** generator.uniform(-300, 3, count)
    yield np.where(generator.random(count) < 0.5, -magnitudes, magnitudes)
    yield np.array([np.nan, np.inf, -np.inf, 0.0, -0.0])


def main() -> int:
    """Print the largest errors; fail where a limit is passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--stride", type=int, default=1, help="take every N-th float32")
    parser.add_argument(
        "--count", type=int, default=2_000_000, help="float64 samples of a kind"
    )
    arguments = parser.parse_args()
    failed = False
    with np.errstate(all="ignore"):
        for name in FUNCTIONS:
            for dtype, chunks in (
                ("float32", every_float32(arguments.stride)),
                ("float64", dense_float64(arguments.count)),
            ):
                worst, promises, inputs = 0.0, set[str](), 0
                for z in chunks:
                    worst = max(worst, largest_error(name, z))
                    promises.update(broken_promises(name, z))
                    inputs += z.size
                failed |= worst > LIMIT or bool(promises)
                remarks = "; ".join(sorted(promises)) or "exact at both ends, NaN passes"
                print(
                    f"{name:8} {dtype}  {inputs:>13,} inputs  {worst:.3f} ulp  {remarks}",
                    flush=True,
                )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
