"""Checks for layers of one's own, to be called from tests."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.layers import Feedforward, Module, Stateful

Array = NDArray[Any]

__all__ = ["check_layer"]

# Of each array so many places are compared, drawn at random where it has more.
_MOST_PLACES = 40
# By dtype: how far values are moved to see the slope, and how far slopes may be apart.
_STEPS = {"float64": (1e-6, 1e-5), "float32": (1e-2, 2e-2)}


def check_layer(
    layer: Any,
    x: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    tolerance: float | None = None,
    seed: int = 0,
) -> None:
    """Raise AssertionError unless a layer is what all layers here are.

    - A call and `forward` give the same outputs, of the layer's dtype and as many features
      as it says, and change neither `x` nor parameters. What dropout and the like draw is
      the same every time here.
    - The gradients of `x` and of all parameters are there, of their shapes and dtypes, and
      are what finite differences give.
    - What stands past a length is never read, and has a gradient of zero.
    - A sequence has the same output alone and in its batch.
    - A copy is a layer of its own, with the same outputs.
    - An input with one feature too many is refused, where their number is fixed.

    Parameters
    ----------
    layer : layer
        Made with ``dtype="float64"`` as a rule, since finite differences tell little in
        float32.
    x : array_like
        An input ``(batch, ..., features)``, of tokens where the layer takes such. Values at
        a kink, such as 0 before a ReLU, have no slope to be compared.
    lengths : array_like of int, optional
        For a layer over time; some should be shorter than `x`, and a 0 among them is a good
        test.
    tolerance : float, optional
        How far a gradient may be from what finite differences give, relative to the largest
        of its array or 1; 1e-5 in float64 and 0.02 in float32 if None.
    seed : int, default 0
        Decides the gradient of the output, and which places of large arrays are compared.

    Raises
    ------
    AssertionError
        If something is not so; the message says what.
    TypeError
        If `layer` is none.

    Examples
    --------
    >>> import numpy as np
    >>> import gatewise
    >>> from gatewise.testing import check_layer
    >>> x = np.random.default_rng(0).standard_normal((3, 4, 2))
    >>> check_layer(gatewise.GRU(2, 3, dtype="float64", seed=0), x, lengths=[4, 0, 2])
    """
    if not isinstance(layer, Feedforward | Stateful):
        raise TypeError(f"layer should be a layer, got {type(layer).__name__}")
    check = _Check(layer, np.asarray(x), lengths, tolerance, np.random.default_rng(seed))
    check.outputs()
    check.copies()
    check.ends()
    check.gradients()
    check.batches()
    check.refusals()


class _Check:
    def __init__(
        self,
        layer: Any,
        x: Array,
        lengths: ArrayLike | None,
        tolerance: float | None,
        generator: np.random.Generator,
    ) -> None:
        self.layer = layer
        converts = x.dtype.kind == "f" and not layer._keeps_dtype
        # In native byte order, which outputs have.
        x = x.astype(x.dtype.newbyteorder("="), copy=False)
        self.x = x.astype(layer.dtype) if converts else x
        self.lengths = None if lengths is None else np.asarray(lengths)
        self.generator = generator
        self.before = [copy.deepcopy(each.bit_generator.state) for each in _sources(layer)]
        y = self.forward(layer, self.x)[0]
        self.y: Array = y
        # The loss whose gradient is asked for is the sum of the outputs times these.
        self.dy: Array = generator.standard_normal(y.shape).astype(y.dtype)
        self.step, usual = _STEPS[y.dtype.name]
        self.tolerance = usual if tolerance is None else tolerance

    def forward(self, layer: Any, x: Array) -> tuple[Array, Any]:
        """The output and the tape, with the same numbers drawn as ever."""
        for source, state in zip(_sources(layer), self.before, strict=True):
            source.bit_generator.state = copy.deepcopy(state)
        if isinstance(layer, Stateful):
            y, _, tape = layer.forward(x, lengths=self.lengths)
            return y, tape
        found: tuple[Array, Any] = layer._forward_ragged(
            layer._snapshot(), x, self.lengths, None
        )
        return found

    def call(self, layer: Any, x: Array, lengths: Any) -> Array:
        if isinstance(layer, Stateful):
            y: Array = layer(x, lengths=lengths)[0]
            return y
        found: Array = layer._call_ragged(layer._snapshot(), x, lengths, None)
        return found

    def backward(self, layer: Any, tape: Any) -> tuple[Any, dict[str, Array]]:
        found = layer.backward(tape, self.dy)
        return found[0], found[-1]

    def loss(self, x: Array) -> float:
        y = self.forward(self.layer, x)[0]
        return float(np.sum(y.astype(np.float64) * self.dy))

    def outputs(self) -> None:
        parameters = self.layer.state_dict()
        given = self.x.copy()
        y = self.call(self.layer, given, self.lengths)
        expected = self.layer.dtype
        if self.layer._keeps_dtype and self.x.dtype.kind == "f":
            expected = self.x.dtype
        for name, array in {"a call": y, "forward": self.y}.items():
            assert isinstance(array, np.ndarray), f"{name} should return an array"
            assert array.dtype == expected, (
                f"the output of {name} should be of {expected}, got {array.dtype}"
            )
        assert y.shape == self.y.shape, (
            f"the output of a call should have shape {self.y.shape}, as that of forward, "
            f"got {y.shape}"
        )
        if not self.before:
            _compare("the output of a call", y, self.y, self.tolerance)
        _, tape = self.forward(self.layer, given)
        self.backward(self.layer, tape)
        assert np.array_equal(given, self.x, equal_nan=True), "x should stay as it is"
        for name, value in self.layer.state_dict().items():
            assert np.array_equal(value, parameters[name], equal_nan=True), (
                f"the parameter {name} should stay as it is"
            )
        features = self.layer._features()[1]
        if features is not None:
            assert y.shape[-1] == features, (
                f"the output should have {features} features, got {y.shape[-1]}"
            )

    def copies(self) -> None:
        other = copy.deepcopy(self.layer)
        y = self.forward(other, self.x)[0]
        _compare("the output of a copy", y, self.y, 0.0)
        moved = {name: value + 1 for name, value in other.state_dict().items()}
        other.set_parameters(moved)
        y = self.forward(self.layer, self.x)[0]
        _compare("the output after a copy has changed", y, self.y, 0.0)

    def gradients(self) -> None:
        _, tape = self.forward(self.layer, self.x)
        dx, found = self.backward(self.layer, tape)
        again, _ = self.backward(self.layer, tape)
        if dx is not None:
            _compare("the gradient of x from a tape used again", again, dx, 0.0)
        parameters = self.layer.state_dict()
        assert found.keys() == parameters.keys(), (
            f"backward should return gradients of {', '.join(parameters) or 'nothing'}, "
            f"got {', '.join(found) or 'none'}"
        )
        for name, value in parameters.items():
            self._check_gradient(f"the gradient of {name}", found[name], value, name)
        if dx is not None:
            self._check_gradient("the gradient of x", dx, self.x, None)

    def _check_gradient(
        self, what: str, found: Array, value: Array, name: str | None
    ) -> None:
        assert isinstance(found, np.ndarray), f"{what} should be an array"
        assert found.shape == value.shape, (
            f"{what} should have shape {value.shape}, got {found.shape}"
        )
        assert found.dtype == self.y.dtype, (
            f"{what} should be of {self.y.dtype}, got {found.dtype}"
        )
        largest = max(1.0, float(np.abs(found).max(initial=0)))
        for place in self._places(value.shape):
            slope = self._slope(value, place, name)
            assert abs(found[place] - slope) <= self.tolerance * largest, (
                f"{what} at {place} should be {slope:.8g} by finite differences, "
                f"got {found[place]:.8g}"
            )

    def _slope(self, value: Array, place: tuple[int, ...], name: str | None) -> float:
        losses, ends = [], []
        for sign in (1, -1):
            moved = value.copy()
            moved[place] += sign * self.step
            ends.append(float(moved[place]))
            if name is None:
                losses.append(self.loss(moved))
            else:
                self.layer.set_parameters({name: moved})
                losses.append(self.loss(self.x))
        if name is not None:
            self.layer.set_parameters({name: value})
        # By the distance that rounding has left.
        return (losses[0] - losses[1]) / (ends[0] - ends[1])

    def _places(self, shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        count = int(np.prod(shape))
        chosen = np.arange(count)
        if count > _MOST_PLACES:
            chosen = self.generator.choice(count, _MOST_PLACES, replace=False)
        for index in chosen:
            yield tuple(int(i) for i in np.unravel_index(index, shape))

    def ends(self) -> None:
        """What stands past a length does not matter."""
        if self.lengths is None or self.x.ndim < 2:
            return
        past = np.arange(self.x.shape[1]) >= self.lengths[:, None]
        other = self.x.copy()
        if other.dtype.kind == "f":
            other[past] = np.nan
        y, tape = self.forward(self.layer, other)
        _compare("the output with NaN past the lengths", y, self.y, 0.0)
        dx, found = self.backward(self.layer, tape)
        for name, gradient in found.items():
            assert np.isfinite(gradient).all(), (
                f"the gradient of {name} should be finite with NaN past the lengths"
            )
        if dx is not None:
            assert (dx[past] == 0).all(), "the gradient of x should be 0 past the lengths"

    def batches(self) -> None:
        """Each example gives alone what it gives in a batch."""
        if self.x.ndim < 2:
            return
        y = self.call(self.layer, self.x, self.lengths)
        for row in range(len(self.x)):
            own = None if self.lengths is None else self.lengths[row : row + 1]
            alone = self.call(self.layer, self.x[row : row + 1], own)
            what = f"the output of example {row} alone"
            _compare(what, alone, y[row : row + 1], self.tolerance)

    def refusals(self) -> None:
        features = self.layer._features()[0]
        if not features or self.x.dtype.kind != "f":
            return
        wider = np.concatenate([self.x, self.x[..., :1]], axis=-1)
        try:
            self.call(self.layer, wider, self.lengths)
        except ValueError:
            return
        raise AssertionError(
            f"x with {features + 1} features should be a ValueError, got an output"
        )


def _sources(layer: Module) -> list[np.random.Generator]:
    """The random generators of a layer and of those inside."""
    found = [getattr(leaf, "generator", None) for _, leaf in layer._leaves()]
    return [each for each in found if isinstance(each, np.random.Generator)]


def _compare(what: str, found: Array, expected: Array, tolerance: float) -> None:
    assert found.shape == expected.shape, (
        f"{what} should have shape {expected.shape}, got {found.shape}"
    )
    close = np.isclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    if not close.all():
        place = tuple(int(i) for i in np.argwhere(~close)[0])
        raise AssertionError(
            f"{what} at {place} should be {expected[place]:.8g}, got {found[place]:.8g}"
        )
