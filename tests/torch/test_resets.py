"""Steps that start anew inside a sequence give what each episode gives alone."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor, nn  # noqa: E402
from torch.nn.utils.rnn import pack_sequence  # noqa: E402

import gatewise.torch  # noqa: E402
from gatewise.kernels import chooser  # noqa: E402
from tests.torch.pairs import KINDS, Case, assert_equal, random_case  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")


def flags_for(case: Case, source: random.Random) -> Any:
    """Some resets of a case's input, in its layout."""
    lengths = case.lengths or (case.time,) * case.batch
    each = [torch.tensor([source.random() < 0.3 for _ in range(n)]) for n in lengths]
    if case.lengths is not None:
        return pack_sequence(each, enforce_sorted=False)
    if case.unbatched:
        return each[0]
    return torch.stack(each, 0 if case.options.get("batch_first") else 1)


def call(module: nn.Module, case: Case, tensors: Sequence[Tensor], resets: Any) -> Any:
    class WithResets(nn.Module):
        def forward(self, x: Any, hx: Any = None) -> Any:
            return module(x, hx, resets=resets)

    return case.call(WithResets(), tensors)


def by_episodes(
    module: nn.Module, case: Case, tensors: Sequence[Tensor], resets: Any
) -> list[Tensor]:
    """The same of every episode alone, put together: what resets mean."""
    batch_first = bool(case.options.get("batch_first"))
    count = len(case.lengths or "1")
    x, state = tensors[:count], list(tensors[count:])
    if case.lengths is not None:
        # Packed with the lengths of the input, so these come back in the same order.
        sequences = list(x)
        flags = nn.utils.rnn.unpack_sequence(resets)
        flags = [row[: len(s)] for row, s in zip(flags, sequences, strict=True)]
    elif case.unbatched:
        sequences, flags = [x[0]], [resets]
        state = [part[:, None] for part in state]
    else:
        axis = 0 if batch_first else 1
        sequences, flags = list(x[0].unbind(axis)), list(resets.unbind(axis))
    directions = 2 if case.options.get("bidirectional") else 1
    outputs, finals = [], []
    for b, (sequence, starts) in enumerate(zip(sequences, flags, strict=True)):
        own = [part[:, b] for part in state]
        y, final = _one(module, case, directions, sequence, starts, own)
        outputs.append(y)
        finals.append(final)
    last = [torch.stack(parts, 1) for parts in zip(*finals, strict=True)]
    if case.lengths is not None:
        return [pack_sequence(outputs, enforce_sorted=False).data, *last]
    if case.unbatched:
        return [outputs[0], *[part[:, 0] for part in last]]
    return [torch.stack(outputs, 0 if batch_first else 1), *last]


def _one(
    module: nn.Module,
    case: Case,
    directions: int,
    sequence: Tensor,
    starts: Tensor,
    state: list[Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """One sequence by its episodes; those in its midst have no state from outside."""
    firsts = [t for t in range(1, len(sequence)) if starts[t]]
    hidden, layers = case.sizes[1], case.options.get("num_layers", 1)
    widths = [case.options.get("proj_size") or hidden]
    widths += [hidden] * (case.kind == "LSTM")
    zeros = [sequence.new_zeros(layers * directions, width) for width in widths]
    state = state or zeros
    forwards = torch.arange(layers * directions) % directions == 0
    made, final, parts = [], list(zeros), sequence.tensor_split(firsts)
    for index, part in enumerate(parts):
        is_first, is_last = index == 0, index == len(parts) - 1
        uses = forwards & (is_first and not bool(starts[0])) | ~forwards & is_last
        hx = [torch.where(uses[:, None], s, z) for s, z in zip(state, zeros, strict=True)]
        y, after = module(part, tuple(hx) if len(hx) > 1 else hx[0])
        made.append(y)
        keeps = forwards & is_last | ~forwards & is_first
        after = after if isinstance(after, tuple) else (after,)
        final = [
            torch.where(keeps[:, None], a, f) for a, f in zip(after, final, strict=True)
        ]
    return torch.cat(made), final


def results(
    how: Any, module: nn.Module, case: Case, tensors: Sequence[Tensor], resets: Any
) -> list[Tensor]:
    own = [tensor.clone().requires_grad_() for tensor in tensors]
    module.zero_grad()
    made = how(module, case, own, resets)
    weights = [torch.arange(each.numel()).view(each.shape).cos() for each in made]
    loss = sum((each * by).sum() for each, by in zip(made, weights, strict=True))
    assert isinstance(loss, Tensor)
    loss.backward()
    # A state that no step has used has zeros or nothing.
    like = (*own, *module.parameters())
    grads = [
        torch.zeros_like(each) if each.grad is None else each.grad.clone() for each in like
    ]
    return [*[each.detach() for each in made], *grads]


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("seed", range(8))
def test_random_configurations(seed: int, backend: str) -> None:
    source = random.Random(100 + seed)
    for _ in range(6 if backend == "native" else 2):
        case = random_case(source)
        case.options["dropout"] = 0.0
        theirs, ours = case.pair()
        tensors, resets = case.tensors(), flags_for(case, source)
        expected = results(by_episodes, theirs, case, tensors, resets)
        with chooser.use(backend):
            found = results(call, ours, case, tensors, resets)
        assert_equal(case, expected, found)
        with torch.no_grad(), chooser.use(backend):
            again = call(ours, case, tensors, resets)
            assert_equal(case, found[: len(again)], again)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch_first": True, "bias": False},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 2, "dropout": 0.5, "batch_first": True},
]
CASES = [
    *[Case(kind, (2, 3), o, 4, 2, has_state=True) for kind in KINDS for o in OPTIONS],
    *[Case(kind, (2, 3), {}, 4, 1, unbatched=True) for kind in KINDS],
    *[
        Case(kind, (2, 3), {"bidirectional": True}, has_state=True, lengths=(2, 4, 3))
        for kind in KINDS
    ],
    Case("LSTM", (2, 4), {"proj_size": 2, "num_layers": 2}, 4, 2, has_state=True),
    Case("RNN", (2, 3), {"nonlinearity": "relu"}, 4, 2, has_state=True),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients(case: Case) -> None:
    """First and second ones by finite differences; dropout draws the same each time."""
    theirs, module = case.pair()
    del theirs
    tensors, resets = case.tensors(), flags_for(case, random.Random(3))
    parameters = dict(module.named_parameters())

    class Caller(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, first: Sequence[Tensor]) -> Any:
            return call(self.inner, case, first, resets)

    def function(*given: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(3)
        own = zip(parameters, given[len(tensors) :], strict=True)
        named = {f"inner.{name}": each for name, each in own}
        first = given[: len(tensors)]
        return tuple(torch.func.functional_call(Caller(), named, (first,)))

    given = [*tensors, *[each.detach() for each in parameters.values()]]
    given = [each.clone().requires_grad_() for each in given]
    assert torch.autograd.gradcheck(function, given, fast_mode=True)
    if case in CASES[::3]:
        assert torch.autograd.gradgradcheck(function, given, fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_draws_alike_on_either_way(kind: str) -> None:
    case = Case(kind, (3, 5), {"num_layers": 3, "dropout": 0.4, "batch_first": True})
    _, ours = case.pair()
    tensors, resets = case.tensors(), flags_for(case, random.Random(1))
    found = []
    for backend in ("native", "numpy"):
        torch.manual_seed(5)
        with chooser.use(backend):
            found.append(call(ours, case, tensors, resets))
    torch.testing.assert_close(*found)


def test_none_and_none_true_are_the_same() -> None:
    layer = gatewise.torch.GRU(3, 4, num_layers=2)
    x = torch.randn(5, 2, 3)
    expected = layer(x)
    for resets in (None, torch.zeros(5, 2, dtype=torch.bool)):
        torch.testing.assert_close(layer(x, None, resets), expected, rtol=0, atol=0)


def test_what_comes_before_is_forgotten_whatever_it_is() -> None:
    for backend in ("native", "numpy"):
        with chooser.use(backend):
            layer = gatewise.torch.LSTM(3, 4)
            x = torch.randn(5, 2, 3)
            x[1] = float("nan")
            resets = torch.zeros(5, 2, dtype=torch.bool)
            resets[2] = True
            y, _ = layer(x, resets=resets)
            assert y[1].isnan().all()
            torch.testing.assert_close(y[2:], layer(x[2:])[0])
            y[2:].sum().backward()


@pytest.mark.parametrize("kind", KINDS)
def test_changes_after_the_call(kind: str) -> None:
    """Of the resets, and of outputs, which PyTorch's GRU and RNN allow."""
    layer = getattr(gatewise.torch, kind)(3, 4, bidirectional=True)
    x, grads = torch.randn(6, 2, 3), []
    for changes in (False, True):
        layer.zero_grad()
        resets = torch.arange(12).view(6, 2) % 5 == 0
        y, _ = layer(x, resets=resets)
        if changes:
            resets.logical_not_()
            y.mul_(2)
            y = y / 2
        y.sum().backward()
        grads.append([each.grad.clone() for each in layer.parameters()])
    torch.testing.assert_close(*grads)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_in_what_traces(kind: str) -> None:
    layer = getattr(gatewise.torch, kind)(3, 4, num_layers=2, batch_first=True)
    x, resets = torch.randn(2, 5, 3), torch.arange(10).view(2, 5) % 4 == 0
    expected = layer(x, resets=resets)
    assert gatewise.torch.why_not(layer, x, resets=resets) is None

    class Caller(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = copy.deepcopy(layer)

        def forward(self, x: Tensor, resets: Tensor) -> Any:
            return self.inner(x, resets=resets)

    compiled = torch.compile(Caller(), backend="eager")
    torch.testing.assert_close(compiled(x, resets), expected)
    traced = torch.jit.trace(Caller(), (x, ~resets))
    torch.testing.assert_close(traced(x, resets), expected)
    symbolic = torch.fx.symbolic_trace(Caller())
    torch.testing.assert_close(symbolic(x, resets), expected)
    assert layer.to("meta")(x.to("meta"), resets=resets.to("meta"))[0].shape == (2, 5, 4)


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_is_refused(kind: str, backend: str) -> None:
    layer = getattr(gatewise.torch, kind)(3, 4)
    x, resets = torch.randn(5, 2, 3), torch.zeros(5, 2, dtype=torch.bool)
    packed = pack_sequence([torch.randn(5, 3), torch.randn(3, 3)])
    with chooser.use(backend):
        for wrong, error, text in [
            (resets.T, ValueError, r"resets should have shape \(5, 2\), one a step, got"),
            (resets[:, :1], ValueError, "resets should have shape"),
            (resets.float(), TypeError, r"of booleans, got torch\.float32"),
            (resets.numpy(), TypeError, "of booleans, got a ndarray"),
        ]:
            with pytest.raises(error, match=text):
                layer(x, resets=wrong)
        with pytest.raises(TypeError, match="packed as the input is, got a Tensor"):
            layer(packed, resets=resets)
        other = pack_sequence([torch.ones(4) > 0, torch.ones(4) > 0])
        with pytest.raises(ValueError, match="packed as the input is, got other lengths"):
            layer(packed, resets=other)
        # What torch.nn refuses, it refuses with resets in its own words.
        state = torch.zeros(1, 3, 4)
        for bad_x, hx, flags in [
            (torch.randn(5, 2, 7), None, resets),
            (x.long(), None, resets),
            (x[None], None, resets[None]),
            (x[:0], None, resets[:0]),
            (None, None, resets),
            (x, (state, state) if kind == "LSTM" else state, resets),
            (x, 1.0, resets),
            (x[:, 0], state, resets[:, 0]),
        ]:
            said = []
            for options in ({}, {"resets": flags}):
                with pytest.raises(Exception) as caught:  # noqa: PT011
                    layer(bad_x, hx, **options)
                said.append((caught.type, str(caught.value)))
            assert said[0] == said[1]
        assert layer(x[:, :0], resets=resets[:, :0])[0].shape == (5, 0, 4)


def process_sequence(
    lstm: nn.LSTM, features: Tensor, state: Any, starts: Tensor
) -> tuple[Tensor, Any]:
    """As libraries of reinforcement learning do it: step by step, states times zero."""
    sequences = state[0].shape[1]
    steps = features.reshape(sequences, -1, lstm.input_size).swapaxes(0, 1)
    made = []
    for step, start in zip(steps, starts.reshape(sequences, -1).T, strict=True):
        keeps = (1.0 - start).view(1, sequences, 1)
        y, state = lstm(step[None], (keeps * state[0], keeps * state[1]))
        made.append(y)
    return torch.cat(made).transpose(0, 1).flatten(0, 1), state


def process_at_once(
    lstm: nn.LSTM, features: Tensor, state: Any, starts: Tensor
) -> tuple[Tensor, Any]:
    """The same in one call, as docs/pytorch.md has it."""
    sequences = state[0].shape[1]
    steps = features.reshape(sequences, -1, lstm.input_size).swapaxes(0, 1)
    resets = starts.reshape(sequences, -1).swapaxes(0, 1).bool()
    y, state = lstm(steps, state, resets=resets)
    return y.transpose(0, 1).flatten(0, 1), state


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_a_loop_over_steps_of_episodes(seed: int, layers: int) -> None:
    torch.manual_seed(seed)
    theirs = nn.LSTM(6, 16, num_layers=layers)
    ours = copy.deepcopy(theirs)
    gatewise.torch.accelerate(ours)
    features, head = torch.randn(4 * 20, 6), torch.randn(4 * 20, 16)
    state = tuple(torch.randn(layers, 4, 16) for _ in range(2))
    starts = (torch.rand(4 * 20) < 0.2).float()
    found = []
    for lstm, process in ((theirs, process_sequence), (ours, process_at_once)):
        x = features.clone().requires_grad_()
        hx = tuple(part.clone().requires_grad_() for part in state)
        y, final = process(lstm, x, hx, starts)
        (y * head).sum().backward()
        grads = [each.grad for each in (x, *hx, *lstm.parameters())]
        found.append([y, *final, *grads])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
