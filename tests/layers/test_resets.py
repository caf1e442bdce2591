"""Resets inside sequences: every episode has what it has alone, forwards and back."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import gatewise
from gatewise.kernels import thread_limits

Array = np.ndarray[Any, Any]

BATCH, TIME, INPUTS = 5, 9, 4
LENGTHS = np.array([9, 0, 4, 7, 1])

LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {"num_layers": 2}),
    ("RNN", {"nonlinearity": "relu", "learn_initial_state": True}),
    ("LSTM", {"num_layers": 2, "learn_initial_state": True}),
    ("LSTM", {"proj_size": 2, "peepholes": True, "learn_initial_state": True}),
    ("LSTM", {"recurrent_activation": "hard_sigmoid", "tokens": True}),
    ("GRU", {"num_layers": 2, "learn_initial_state": True}),
    ("GRU", {"reset_after": False, "num_layers": 2, "bias": False}),
]
ZONEOUT: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {"zoneout": 0.3, "cell_zoneout": 0.4, "learn_initial_state": True}),
    ("GRU", {"zoneout": 0.3}),
]
every_layer = pytest.mark.parametrize(("kind", "options"), LAYERS + ZONEOUT, ids=str)
either_direction = pytest.mark.parametrize(
    "bidirectional", [False, True], ids=["one way", "two ways"]
)
ragged_or_not = pytest.mark.parametrize("is_ragged", [False, True], ids=["plain", "ragged"])


def parts_of(state: Any) -> tuple[Array, ...]:
    return state if isinstance(state, tuple) else (state,)


def as_state(parts: Any) -> Any:
    parts = tuple(parts)
    return parts if len(parts) > 1 else parts[0]


class Episode(NamedTuple):
    """Steps of a sequence, and whether another episode comes before and after."""

    sequence: int
    steps: slice
    is_first: bool
    is_last: bool
    is_anew: bool


class Case:
    """A layer, sequences for it, where they start, and where episodes begin."""

    def __init__(
        self,
        kind: str,
        options: dict[str, Any],
        hidden: int = 5,
        batch: int = BATCH,
        *,
        is_ragged: bool = False,
        **more: Any,
    ) -> None:
        make = getattr(gatewise, kind)
        self.layer = make(INPUTS, hidden, **options, **{"dtype": "float64", **more}, seed=3)
        self.random = np.random.default_rng(hidden)
        if self.layer.learn_initial_state:
            shapes = [part.shape for part in parts_of(self.layer.initial_state)]
            self.layer.initial_state = as_state(self.draw(*shape) for shape in shapes)
        self.x = self.draw(batch, TIME, INPUTS)
        if self.layer.tokens:
            self.x = self.random.integers(0, INPUTS, (batch, TIME))
        self.lengths = LENGTHS[:batch] if is_ragged else None
        self.resets = self.random.random((batch, TIME)) < 0.3
        # One that starts anew at once, and one that never does.
        self.resets[0, :3], self.resets[-1] = (True, True, False), False
        self.shape = [part.shape for part in parts_of(self.layer(self.x)[1])]
        self.state = as_state(self.draw(*shape) for shape in self.shape)

    def draw(self, *shape: int) -> Array:
        return self.random.standard_normal(shape).astype(self.layer.dtype)

    def episodes(self) -> Iterator[Episode]:
        for b in range(len(self.x)):
            length = TIME if self.lengths is None else int(self.lengths[b])
            starts = [0, *(t for t in range(1, length) if self.resets[b, t])]
            for start, stop in zip(starts, [*starts[1:], length], strict=True):
                is_anew = bool(length and self.resets[b, start])
                is_last = stop == length
                yield Episode(b, slice(start, stop), start == 0, is_last, is_anew)

    def start_of(self, episode: Episode, state: Any) -> tuple[Any, list[bool]]:
        """The state that an episode starts from, and which of it comes from `state`.

        One for each direction of each layer: a second one starts at the last step.
        """
        initial, directions = self.layer.initial_state, 1 + self.layer.bidirectional
        given = [
            episode.is_last if k % directions else episode.is_first and not episode.is_anew
            for k in range(self.shape[0][0])
        ]
        parts = []
        for index, shape in enumerate(self.shape):
            part = np.zeros((shape[0], 1, shape[2]), self.layer.dtype)
            if initial is not None:
                part += parts_of(initial)[index][:, None]
            if state is not None:
                own = parts_of(state)[index][:, episode.sequence]
                part[given] = own[given][:, None]
            parts.append(part)
        return as_state(parts), given

    def finals(self, episode: Episode) -> list[bool]:
        """Which states an episode leaves as those of its sequence."""
        directions = 1 + self.layer.bidirectional
        count = self.shape[0][0]
        return [
            episode.is_first if k % directions else episode.is_last for k in range(count)
        ]

    def apart(self, state: Any) -> list[Array]:
        """The outputs and the final state, of one episode after the other."""
        results: list[Array] = []
        y, parts = None, [np.zeros(shape, self.layer.dtype) for shape in self.shape]
        for episode in self.episodes():
            b, steps = episode.sequence, episode.steps
            start, _ = self.start_of(episode, state)
            found, final = self.layer(self.x[b : b + 1, steps], start)
            if y is None:
                y = np.zeros((*self.x.shape[:2], found.shape[2]), found.dtype)
            y[b, steps] = found[0]
            finals = self.finals(episode)
            for part, own in zip(parts, parts_of(final), strict=True):
                part[finals, b] = own[finals, 0]
        assert y is not None
        results += [y, *parts]
        return results

    def together(self, state: Any, **options: Any) -> list[Array]:
        y, final = self.layer(
            self.x, state, lengths=self.lengths, resets=self.resets, **options
        )
        return [y, *parts_of(final)]


def assert_close(found: Any, wanted: Any, what: str = "") -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12, err_msg=what)


@every_layer
@either_direction
@ragged_or_not
def test_outputs_are_those_of_the_episodes_apart(
    kind: str, options: dict[str, Any], bidirectional: bool, is_ragged: bool, backend: str
) -> None:
    case = Case(kind, options, bidirectional=bidirectional, is_ragged=is_ragged)
    for state in (None, case.state):
        for found, wanted in zip(case.together(state), case.apart(state), strict=True):
            assert_close(found, wanted)
    if any(case.layer._zoneout_rates):
        return
    y, final, _ = case.layer.forward(
        case.x, case.state, lengths=case.lengths, resets=case.resets
    )
    for found, wanted in zip([y, *parts_of(final)], case.apart(case.state), strict=True):
        assert_close(found, wanted)


@pytest.mark.usefixtures("own_products")
@pytest.mark.parametrize("backend", ["native"], indirect=True)
@pytest.mark.parametrize("weights", ["float32", "float64", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize(("kind", "options"), LAYERS, ids=str)
@either_direction
def test_bits_are_those_of_the_episodes_apart(
    kind: str, options: dict[str, Any], bidirectional: bool, weights: str, backend: str
) -> None:
    narrow = weights in ("float16", "bfloat16", "int8")
    dtype = "float32" if narrow else weights
    # The last ones share rows, or units, between threads.
    for hidden, batch, is_ragged in ((17, 5, True), (150, 5, False), (150, 2, False)):
        case = Case(
            kind,
            options,
            hidden,
            batch,
            is_ragged=is_ragged,
            bidirectional=bidirectional,
            dtype=dtype,
        )
        if narrow:
            case.layer = case.layer.quantize(weights)
        apart = case.apart(case.state)
        for count in (1, 2, 3):
            for found, wanted in zip(
                case.together(case.state, num_threads=count), apart, strict=True
            ):
                np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("kind", "options"), LAYERS, ids=str)
@either_direction
@ragged_or_not
def test_gradients_are_those_of_the_episodes_apart(
    kind: str, options: dict[str, Any], bidirectional: bool, is_ragged: bool, backend: str
) -> None:
    case = Case(kind, options, bidirectional=bidirectional, is_ragged=is_ragged)
    for state in (None, case.state):
        y, final, tape = case.layer.forward(
            case.x, state, lengths=case.lengths, resets=case.resets
        )
        dy, dfinal = case.draw(*y.shape), [case.draw(*p.shape) for p in parts_of(final)]
        dx, dstate, gradients = case.layer.backward(tape, dy, as_state(dfinal))
        wanted_dx = None if dx is None else np.zeros_like(dx)
        wanted_dstate = [np.zeros_like(part) for part in dfinal]
        sums = {name: np.zeros_like(array) for name, array in gradients.items()}
        for episode in case.episodes():
            b, steps = episode.sequence, episode.steps
            start, given = case.start_of(episode, state)
            _, _, own = case.layer.forward(case.x[b : b + 1, steps], start)
            finals = case.finals(episode)
            dlast = [np.zeros_like(part[:, b : b + 1]) for part in dfinal]
            for part, whole in zip(dlast, dfinal, strict=True):
                part[finals] = whole[finals, b : b + 1]
            found, dstart, alone = case.layer.backward(
                own, dy[b : b + 1, steps], as_state(dlast)
            )
            if wanted_dx is not None:
                wanted_dx[b, steps] = found[0]
            names = ("initial_h", "initial_c")
            for part, whole, name in zip(
                parts_of(dstart), wanted_dstate, names, strict=False
            ):
                whole[given, b] = part[given, 0]
                if name in sums:
                    learnt = [state is None or not is_given for is_given in given]
                    sums[name][learnt] += part[learnt, 0]
            for name, gradient in alone.items():
                if name not in names:
                    sums[name] += gradient
        if dx is not None:
            assert_close(dx, wanted_dx)
        for part, whole in zip(parts_of(dstate), wanted_dstate, strict=True):
            assert_close(part, whole)
        for name, gradient in gradients.items():
            assert_close(gradient, sums[name], name)


DRAWN: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {"num_layers": 2, "dropout": 0.4, "recurrent_dropout": 0.3}),
    ("LSTM", {"zoneout": 0.3, "cell_zoneout": 0.4, "num_layers": 2}),
    ("LSTM", {"proj_size": 2, "peepholes": True, "recurrent_dropout": 0.3}),
    ("GRU", {"zoneout": 0.3, "dropout": 0.4, "num_layers": 2}),
    ("GRU", {"reset_after": False, "dropout": 0.4, "num_layers": 2, "variational": True}),
]


@pytest.mark.parametrize(("kind", "options"), DRAWN, ids=str)
@either_direction
@ragged_or_not
def test_gradients_are_those_of_finite_differences(
    kind: str, options: dict[str, Any], bidirectional: bool, is_ragged: bool, backend: str
) -> None:
    """With all that training draws, in directions in which everything changes at once."""
    case = Case(
        kind,
        options,
        bidirectional=bidirectional,
        is_ragged=is_ragged,
        learn_initial_state=True,
    )
    y, final = case.layer(case.x)
    dy, dfinal = case.draw(*y.shape), [case.draw(*p.shape) for p in parts_of(final)]
    for state in (None, case.state):
        # A copy draws what the layer would.
        layer = copy.deepcopy(case.layer)
        _, _, tape = layer.forward(case.x, state, lengths=case.lengths, resets=case.resets)
        dx, dstate, gradients = layer.backward(tape, dy, as_state(dfinal))
        way = Way(case)
        assert gradients.keys() == way.parameters.keys()
        found = float((dx * way.x).sum())
        for name, gradient in gradients.items():
            found += float((gradient * way.parameters[name]).sum())
        if state is not None:
            for part, along in zip(parts_of(dstate), way.state, strict=True):
                found += float((part * along).sum())
        losses = [way.loss(case, state, sign * 1e-6, dy, dfinal) for sign in (1, -1)]
        wanted = (losses[0] - losses[1]) / 2e-6
        assert found == pytest.approx(wanted, rel=1e-6, abs=1e-6)


class Way:
    """A direction in which parameters, inputs and initial states change at once."""

    def __init__(self, case: Case) -> None:
        own = case.layer.state_dict().items()
        self.parameters = {name: case.draw(*array.shape) for name, array in own}
        self.x = case.draw(*case.x.shape)
        self.state = [case.draw(*shape) for shape in case.shape]

    def loss(
        self, case: Case, state: Any, distance: float, dy: Array, dfinal: list[Array]
    ) -> float:
        """What the gradients are of, so far along the way."""
        layer = copy.deepcopy(case.layer)
        own = layer.state_dict().items()
        layer.load_state_dict(
            {name: array + distance * self.parameters[name] for name, array in own}
        )
        if state is not None:
            pairs = zip(parts_of(state), self.state, strict=True)
            state = as_state(part + distance * along for part, along in pairs)
        x = case.x + distance * self.x
        y, final, _ = layer.forward(x, state, lengths=case.lengths, resets=case.resets)
        total = float((y * dy).sum())
        for part, weight in zip(parts_of(final), dfinal, strict=True):
            total += float((part * weight).sum())
        return total


def test_a_way_back_in_parts(backend: str) -> None:
    """Where the gradients of the gates are too many for a cache, resets fall between."""
    for reverse in (False, True):
        layer = gatewise.LSTM(
            3, 40, bidirectional=reverse, learn_initial_state=True, dtype="float64", seed=0
        )
        random = np.random.default_rng(1)
        x = random.standard_normal((40, 60, 3))
        resets = random.random((40, 60)) < 0.2
        lengths = random.integers(0, 61, 40)
        dy = random.standard_normal((40, 60, 40 * (1 + reverse)))
        for given in (None, lengths):
            # What 10 sequences have in one part, 40 have in several.
            _, _, tape = layer.forward(x, lengths=given, resets=resets)
            dx, _, gradients = layer.backward(tape, dy)
            assert dx is not None
            sums = {name: np.zeros_like(array) for name, array in gradients.items()}
            for b in range(40):
                at = np.s_[b : b + 1]
                own = None if given is None else given[at]
                _, _, tape = layer.forward(x[at], lengths=own, resets=resets[at])
                found, _, alone = layer.backward(tape, dy[at])
                assert found is not None
                assert_close(dx[at], found)
                for name, gradient in alone.items():
                    sums[name] += gradient
            for name, gradient in gradients.items():
                np.testing.assert_allclose(gradient, sums[name], rtol=0, atol=1e-10)


def test_what_was_before_does_not_matter(backend: str) -> None:
    """Not even where it is infinite or no number, as a product with zero would let it."""
    for make in (gatewise.RNN, gatewise.LSTM, gatewise.GRU):
        for options in ({}, {"zoneout": 0.5}):
            layer = make(3, 5, bidirectional=True, **options, seed=0)
            x = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)
            resets = np.zeros((2, 6), bool)
            resets[0, 3] = True
            wanted, _, tape = layer.forward(x, resets=resets)
            assert np.isfinite(wanted).all()
            x[0, :3] = np.nan
            y, _, tape = layer.forward(x, resets=resets)
            assert np.isnan(y[0, :3]).any()
            assert np.isfinite(y[0, 3:]).all()
            assert np.isfinite(y[1]).all()
            dy = np.zeros_like(y)
            dy[0, 3:] = 1
            dx, _, _ = layer.backward(tape, dy)
            assert dx is not None
            assert np.isfinite(dx[0, 3:]).all()
            y, _ = layer(x, resets=resets)
            assert np.isfinite(y[0, 3:]).all()


@every_layer
def test_all_and_none(kind: str, options: dict[str, Any], backend: str) -> None:
    case = Case(kind, options)
    none, every = np.zeros_like(case.resets), np.ones_like(case.resets)
    y, state = case.layer(case.x, case.state)
    for found, wanted in zip(
        case.layer(case.x, case.state, resets=none), (y, state), strict=True
    ):
        for a, b in zip(parts_of(found), parts_of(wanted), strict=True):
            np.testing.assert_array_equal(a, b)
    y, state = case.layer(case.x, case.state, resets=every)
    alone = case.x.reshape(BATCH * TIME, 1, *case.x.shape[2:])
    assert_close(y, case.layer(alone)[0].reshape(y.shape))
    y, state, tape = case.layer.forward(case.x, case.state, resets=every)
    _, dstate, _ = case.layer.backward(tape, np.ones_like(y), state)
    assert all(not part.any() for part in parts_of(dstate))
    for time in (0, 1):
        x, resets = case.x[:, :time], every[:, :time]
        y, state = case.layer(x, case.state, resets=resets)
        assert y.shape[1] == time
        if not time:
            for a, b in zip(parts_of(state), parts_of(case.state), strict=True):
                np.testing.assert_array_equal(a, b)
        y, state, tape = case.layer.forward(x, case.state, resets=resets.tolist())
        case.layer.backward(tape, np.ones_like(y))


def test_one_sequence_and_views(backend: str) -> None:
    layer = gatewise.GRU(3, 4, dtype="float64", seed=0)
    random = np.random.default_rng(0)
    x, resets = random.standard_normal((2, 7, 3)), random.random((2, 7)) < 0.4
    wanted, _ = layer(x, resets=resets)
    y, state = layer(x[0], resets=resets[0])
    assert_close(y, wanted[0])
    assert state.shape == (1, 4)
    assert_close(layer(x, resets=resets.tolist())[0], wanted)
    wide = np.zeros((14, 4), bool)
    wide[::2, 1:3] = resets.T
    assert_close(layer(x, resets=wide[::2, 1:3].T)[0], wanted)
    # The tape has a copy.
    y, _, tape = layer.forward(x, resets=resets)
    before, _, _ = layer.backward(tape, y)
    resets[...] = ~resets
    after, _, _ = layer.backward(tape, y)
    np.testing.assert_array_equal(before, after)
    assert tape.nbytes > layer.forward(x)[2].nbytes


def test_cells_of_every_step(backend: str) -> None:
    layer = gatewise.LSTM(3, 4, 2, bidirectional=True, dtype="float64", seed=0)
    x = np.random.default_rng(0).standard_normal((1, 7, 3))
    resets = np.zeros((1, 7), bool)
    resets[0, 3] = True
    _, _, cells = layer(x, resets=resets, return_cells=True)
    for steps in (np.s_[:3], np.s_[3:]):
        _, _, own = layer(x[:, steps], return_cells=True)
        assert_close(cells[:, :, steps], own)


def model_of_all(**options: Any) -> gatewise.Sequential:
    """A net with layers without a state, and a net, between those that are reset."""
    return gatewise.Sequential(
        gatewise.Embedding(INPUTS, 3, seed=0, **options),
        gatewise.GRU(3, 4, seed=1, learn_initial_state=True, **options),
        gatewise.Sequential(
            gatewise.Conv1d(4, 5, 1, seed=2, **options),
            gatewise.ReLU(),
            gatewise.LSTM(5, 6, 2, seed=3, **options),
        ),
        gatewise.Linear(6, 2, seed=4, **options),
    )


def test_nets(backend: str) -> None:
    model = model_of_all(dtype="float64")
    random = np.random.default_rng(0)
    tokens = random.integers(0, INPUTS, (2, 7))
    resets = np.zeros((2, 7), bool)
    resets[0, 3] = resets[1, 5] = True
    y, _ = model(tokens, resets=resets)
    assert_close(y[0, 3:], model(tokens[:1, 3:])[0][0])
    assert_close(y[1, :5], model(tokens[1:, :5])[0][0])
    again, _, tape = model.forward(tokens, resets=resets)
    assert_close(again, y)
    dy = random.standard_normal(y.shape)
    _, _, gradients = model.backward(tape, dy)
    sums = {name: np.zeros_like(array) for name, array in gradients.items()}
    for b, steps in ((0, np.s_[:3]), (0, np.s_[3:]), (1, np.s_[:5]), (1, np.s_[5:])):
        _, _, tape = model.forward(tokens[b : b + 1, steps])
        for name, gradient in model.backward(tape, dy[b : b + 1, steps])[2].items():
            sums[name] += gradient
    for name, gradient in gradients.items():
        assert_close(gradient, sums[name], name)
    ragged, _ = model(tokens, resets=resets, lengths=[7, 4])
    assert_close(ragged[1, :4], y[1, :4])
    assert_close(ragged[0], y[0])


STREAMS: list[tuple[str, dict[str, Any]]] = LAYERS + ZONEOUT


@pytest.mark.parametrize(("kind", "options"), STREAMS, ids=str)
def test_streams(kind: str, options: dict[str, Any], backend: str) -> None:
    case = Case(kind, options)
    wanted, final = case.layer(case.x, case.state, resets=case.resets)
    for cuts in ((0, TIME), (0, 2, 3, TIME)):
        stream = case.layer.stream(BATCH)
        stream.reset(case.state)
        for start, stop in itertools.pairwise(cuts):
            y = stream(case.x[:, start:stop], resets=case.resets[:, start:stop])
            assert_close(y, wanted[:, start:stop])
        for part, own in zip(parts_of(stream.state), parts_of(final), strict=True):
            assert_close(part, own)
    for form in (np.asarray, np.ndarray.tolist):
        stream.reset(case.state)
        for t in range(TIME):
            resets: Any = form(case.resets[:, t])
            assert_close(stream(case.x[:, t], resets=resets), wanted[:, t])
    alone = case.layer.stream()
    wanted, _ = case.layer(case.x[:1], resets=case.resets[:1])
    for t in range(TIME):
        flag = case.resets[0, t]
        resets = [bool(flag), flag, np.array(flag)][t % 3]
        assert_close(alone(case.x[0, t], resets=resets), wanted[0, t])


def test_a_stream_goes_back_to_where_it_starts_now(backend: str) -> None:
    """The initial state is a parameter like others: a change counts from the next call."""
    layer = gatewise.GRU(3, 4, seed=0)
    stream, x = layer.stream(), np.ones(3, np.float32)
    first = stream(x, resets=True).copy()
    layer.initial_state = np.full((1, 4), 0.5)
    assert (stream(x, resets=True) != first).any()
    np.testing.assert_array_equal(stream(x, resets=True), layer.stream()(x))


def test_streams_of_nets(backend: str) -> None:
    model = model_of_all()
    random = np.random.default_rng(0)
    tokens, resets = random.integers(0, INPUTS, (2, 7)), random.random((2, 7)) < 0.3
    wanted, _ = model(tokens, resets=resets)
    chunk = model.stream(2)(tokens, resets=resets)
    np.testing.assert_allclose(chunk, wanted, rtol=0, atol=1e-6)
    stream = model.stream(2)
    for t in range(7):
        y = stream(tokens[:, t], resets=resets[:, t])
        np.testing.assert_allclose(y, wanted[:, t], rtol=0, atol=1e-6)
    alone = model.stream()
    for t in range(7):
        y = alone(int(tokens[0, t]), resets=bool(resets[0, t]))
        np.testing.assert_allclose(y, wanted[0, t], rtol=0, atol=1e-6)


# Of an address's width, or on some systems of 32 bits.
INTEGER = np.dtype(int)
BAD: list[tuple[Any, type[Exception], str]] = [
    (np.zeros((2, 4)), TypeError, "resets should hold booleans, got dtype float64"),
    (np.zeros((2, 4), int), TypeError, f"resets should hold booleans, got dtype {INTEGER}"),
    ([[0, 1, 0, 0]] * 2, TypeError, f"resets should hold booleans, got dtype {INTEGER}"),
    (3, TypeError, f"resets should hold booleans, got dtype {INTEGER}"),
    ("no", TypeError, "resets should hold booleans, got dtype <U2"),
    (object(), TypeError, "resets should hold booleans, got dtype object"),
    (True, ValueError, "resets should have shape (2, 4), one a step, got ()"),
    ([True, False], ValueError, "resets should have shape (2, 4), one a step, got (2,)"),
    ([], ValueError, "resets should have shape (2, 4), one a step, got (0,)"),
    (np.zeros((4, 2), bool), ValueError, "resets should have shape (2, 4), one a step"),
    (np.zeros((2, 4, 1), bool), ValueError, "resets should have shape (2, 4), one a step"),
    ([[True], [True, False]], ValueError, "resets should be an array: "),
]


@pytest.mark.parametrize(
    ("resets", "kind", "words"), BAD, ids=lambda value: str(value)[:30]
)
def test_bad_resets_are_refused(
    resets: Any, kind: type[Exception], words: str, backend: str
) -> None:
    layer = gatewise.LSTM(3, 4, seed=0)
    net = gatewise.Sequential(gatewise.ReLU(), layer)
    x = np.zeros((2, 4, 3), np.float32)
    streams = [each.stream(2) for each in (layer, net)]
    calls: list[Any] = [layer, layer.forward, net, net.forward, *streams]
    for call in calls:
        with pytest.raises(kind, match="^" + re.escape(words)):
            call(x, resets=resets)
    for stream in streams:
        assert not stream.state[-1][0].any()


def test_steps_name_their_own_shape(backend: str) -> None:
    layer = gatewise.GRU(3, 4, seed=0)
    with pytest.raises(ValueError, match=r"^resets should have shape \(4,\), one a step"):
        layer(np.zeros((4, 3)), resets=np.zeros((1, 4), bool))
    with pytest.raises(ValueError, match=r"^resets should have shape \(2,\), one a step"):
        layer.stream(2)(np.zeros((2, 3), np.float32), resets=np.zeros((2, 1), bool))
    with pytest.raises(ValueError, match=r"^resets should have shape \(\), one a step"):
        layer.stream()(np.zeros(3, np.float32), resets=[True])


@pytest.mark.parametrize("options", [{"kernel_size": 2}, {"kernel_size": 1, "stride": 2}])
def test_windows_over_steps_are_refused(options: dict[str, Any], backend: str) -> None:
    padding = "causal" if options["kernel_size"] == 2 else 0
    convolution = gatewise.Conv1d(3, 3, padding=padding, seed=0, **options)
    model = gatewise.Sequential(gatewise.Sequential(convolution), gatewise.GRU(3, 4))
    x, resets = np.zeros((1, 4, 3), np.float32), np.zeros((1, 4), bool)
    words = (
        r"^resets should be None with a Conv1d, .*; got layers\[0\].layers\[0\], Conv1d\("
    )
    calls: list[Any] = [model, model.forward, model.stream()]
    for call in calls:
        with pytest.raises(ValueError, match=words):
            call(x, resets=resets)
    with pytest.raises(ValueError, match=r"^resets should be None with a Conv1d"):
        convolution.stream()(x, resets=resets)


def test_threads_give_the_same_gradients(native: Any) -> None:
    """Threads that share units agree on which steps cut gradients off."""
    most = min(4, max(2, thread_limits.host_number))
    for batch in (2, 9):
        layer = gatewise.LSTM(20, 150, learn_initial_state=True, seed=0)
        random = np.random.default_rng(0)
        x = random.standard_normal((batch, 16, 20)).astype(np.float32)
        resets = random.random((batch, 16)) < 0.2
        results = []
        for count in (1, 2, most):
            y, _, tape = layer.forward(x, resets=resets, num_threads=count)
            dx, dstate, gradients = layer.backward(tape, y, num_threads=count)
            results.append([dx, *dstate, gradients["initial_h"], gradients["initial_c"]])
        for result in results[1:]:
            for found, wanted in zip(result, results[0], strict=True):
                np.testing.assert_array_equal(found, wanted)
