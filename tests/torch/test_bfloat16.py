"""Modules of bfloat16, and autocast to it, run on the kernels as exactly as in PyTorch."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

import gatewise.torch  # noqa: E402
from gatewise.torch import conditions, weights  # noqa: E402
from tests.torch.narrow_pairs import (  # noqa: E402
    STEP,
    assert_as_good,
    error,
    exact,
    pair,
    results,
)
from tests.torch.pairs import CELLS, KINDS, Case, random_case  # noqa: E402
from tests.torch.test_weights import CHANGES  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning"),
    # To switch oneDNN off sets what Intel's other processors have.
    pytest.mark.filterwarnings("ignore:TF32 acceleration:UserWarning"),
]

BF16 = torch.bfloat16


def narrow_case(source: random.Random) -> Case:
    """A random case without dropout, whose parameters are made in float32."""
    case = random_case(source)
    options = case.options | {"dropout": 0.0}
    return case._replace(options=options, dtype=torch.float32)


@pytest.mark.parametrize("mixed", [False, True], ids=["module", "autocast"])
@pytest.mark.parametrize("seed", range(6))
def test_random_configurations(seed: int, mixed: bool) -> None:
    source = random.Random(100 + seed)
    for _ in range(5):
        case = narrow_case(source)
        theirs, ours = pair(case, torch.float32 if mixed else BF16)
        tensors = [
            each.to(source.choice([torch.float32, BF16]) if mixed else BF16)
            for each in case.tensors()
        ]
        if case.lengths is not None:
            # All parts of a packed sequence have one dtype.
            count = len(case.lengths)
            tensors[:count] = [each.to(tensors[0].dtype) for each in tensors[:count]]
        true = exact(case, theirs, tensors)
        try:
            expected = results(case, theirs, tensors, mixed)
        except RuntimeError:
            # Not every processor has all of them in PyTorch.
            expected = {}
        found = results(case, ours, tensors, mixed)
        # The slope of relu jumps where a sum is hardly more than 0.
        is_relu = case.options.get("nonlinearity") == "relu"
        assert_as_good(found, expected, true, 8 * STEP if is_relu else STEP / 4)
        with torch.no_grad(), torch.autocast("cpu", BF16, enabled=mixed):
            made = case.call(ours, tensors)
        assert [each.dtype for each in made] == [each.dtype for each in found["made"]]
        assert error(made, [each.double() for each in found["made"]]) < STEP / 2


@pytest.mark.parametrize("mixed", [False, True], ids=["module", "autocast"])
@pytest.mark.parametrize("kind", CELLS)
def test_cells(kind: str, mixed: bool) -> None:
    for bias, unbatched, has_state in [(True, False, True), (False, True, False)]:
        case = Case(
            kind,
            (7, 9),
            {"bias": bias},
            batch=1 if unbatched else 5,
            unbatched=unbatched,
            has_state=has_state,
        )
        theirs, ours = pair(case, torch.float32 if mixed else BF16)
        tensors = [each.to(BF16) for each in case.tensors()]
        with torch.autocast("cpu", BF16, enabled=mixed):
            assert gatewise.torch.why_not(ours, tensors[0]) is None
        assert_as_good(
            results(case, ours, tensors, mixed),
            results(case, theirs, tensors, mixed),
            exact(case, theirs, tensors),
        )


@pytest.mark.parametrize("lengths", [None, (3, 1), (3, 3)])
@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("kind", [*KINDS, "projection", *CELLS])
def test_dtypes_under_autocast(kind: str, onednn: bool, lengths: Any) -> None:
    """PyTorch casts some arguments of some calls, and so do we."""
    options = {"proj_size": 2} if kind == "projection" else {}
    lengths = None if kind in CELLS else lengths
    case = Case("LSTM" if options else kind, (3, 4), options, 4, 2, False, True, lengths)
    seen = set()
    for weight in (torch.float32, BF16):
        theirs, ours = pair(case, weight)
        for dtypes in [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]:
            tensors = case.tensors()
            states = len(tensors) - len(lengths or "1")
            each = [dtypes[0]] * (len(tensors) - states) + list(dtypes[1:][:states])
            own = [
                tensor.to((torch.float32, BF16)[which])
                for tensor, which in zip(tensors, each, strict=True)
            ]
            with torch.backends.mkldnn.flags(enabled=onednn):
                try:
                    expected = results(case, theirs, own, True)
                except RuntimeError:
                    continue
                found = results(case, ours, own, True)
            for name in expected:
                made = [tensor.dtype for tensor in found[name]]
                assert made == [tensor.dtype for tensor in expected[name]]
            seen.add(found["made"][-1].dtype)
    assert seen


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_begins_and_ends(kind: str) -> None:
    case = Case(kind, (5, 6), {"num_layers": 2})
    theirs, ours = pair(case, torch.float32)
    x = torch.randn(7, 3, 5)
    plain = ours(x)[0]
    with torch.autocast("cpu", BF16):
        narrow = ours(x)[0]
        with torch.autocast("cpu", enabled=False):
            assert torch.equal(ours(x)[0], plain)
        wide = copy.deepcopy(ours).double()
        assert torch.equal(wide(x.double())[0], wide(x.double())[0])
        assert wide(x.double())[0].dtype is torch.float64
        # The way back within, where PyTorch's own is to stand without.
        inside = torch.autograd.grad(narrow.sum(), ours.weight_hh_l0, retain_graph=True)
    outside = torch.autograd.grad(narrow.sum(), ours.weight_hh_l0)
    assert inside[0].dtype is torch.float32
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)
    assert torch.equal(ours(x)[0], plain)
    with torch.inference_mode(), torch.autocast("cpu", BF16):
        torch.testing.assert_close(ours(x)[0], narrow, rtol=STEP, atol=STEP)
        assert ours(x)[0].dtype is theirs(x)[0].dtype


def test_autocast_to_float16_is_pytorchs() -> None:
    theirs, ours = pair(Case("GRU", (3, 4), {}), torch.float32)
    x = torch.randn(5, 2, 3)
    with torch.autocast("cpu", torch.float16):
        reason = gatewise.torch.why_not(ours, x)
        assert reason == "autocast is enabled with torch.float16"
        assert torch.equal(ours(x)[0], theirs(x)[0])
        wide = ours.double()
        assert gatewise.torch.why_not(wide, x.double()) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mixed", [False, True], ids=["module", "autocast"])
def test_dropout_draws_the_numbers_of_pytorch(kind: str, mixed: bool) -> None:
    options = {"num_layers": 3, "dropout": 0.4, "bidirectional": True}
    case = Case(kind, (6, 8), options, 9, 4, dtype=torch.float32)
    theirs, ours = pair(case, torch.float32 if mixed else BF16)
    tensors = [each.to(BF16) for each in case.tensors()]
    try:
        expected = results(case, theirs, tensors, mixed)
    except RuntimeError:
        pytest.skip("this PyTorch has none on this processor")
    found = results(case, ours, tensors, mixed)
    for name, bound in (("made", 4 * STEP), ("gradients", 8 * STEP)):
        assert error(found[name], [each.double() for each in expected[name]]) < bound


def test_what_does_not_fit_is_pytorchs_affair() -> None:
    _, ours = pair(Case("GRU", (3, 4), {}), BF16)
    x, state = torch.randn(5, 2, 3), torch.zeros(1, 2, 4)
    assert "a weight is torch.bfloat16" in str(gatewise.torch.why_not(ours, x))
    assert "hx is torch.float32" in str(gatewise.torch.why_not(ours, x.to(BF16), state))
    ours.weight_hh_l0.data = ours.weight_hh_l0.data.float()
    with torch.autocast("cpu", BF16):
        assert "a weight is torch.float32, another" in str(gatewise.torch.why_not(ours, x))


@pytest.mark.parametrize("mixed", [False, True], ids=["module", "autocast"])
def test_they_are_packed_once(mixed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ours = pair(Case("LSTM", (3, 4), {}), torch.float32 if mixed else BF16)
    x, count = torch.randn(5, 2, 3).to(BF16), 0
    made = weights.Prepared

    def counted(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        return made(*arguments)

    monkeypatch.setattr(weights, "Prepared", counted)
    for _ in range(3):
        with torch.autocast("cpu", BF16, enabled=mixed):
            y = ours(x)[0]
        y.float().sum().backward()
        with torch.no_grad(), torch.autocast("cpu", BF16, enabled=mixed):
            ours(x)
        if mixed:
            # Its float32 form is another one, beside it.
            ours(x.float())
    assert count == 1 + mixed
    with torch.no_grad():
        ours.weight_ih_l0[0, 0] = float("nan")
    with torch.autocast("cpu", BF16, enabled=mixed):
        ours(x)
        assert ours(x)[0].isnan().any()
    assert count == 2 + mixed


@pytest.mark.parametrize(
    "name", ["no_grad", "data", "one number of data", "a new parameter"]
)
def test_a_change_is_seen(name: str) -> None:
    torch.manual_seed(2)
    ours = gatewise.torch.GRU(3, 4).to(BF16)
    x = torch.randn(5, 2, 3).to(BF16)
    before = ours(x)[0]
    CHANGES[name](ours)
    assert not torch.equal(ours(x)[0], before)
    fresh = gatewise.torch.GRU(3, 4).to(BF16)
    fresh.load_state_dict(ours.state_dict())
    assert torch.equal(ours(x)[0], fresh(x)[0])
    assert torch.equal(copy.deepcopy(ours)(x)[0], fresh(x)[0])


def test_a_module_changes_its_dtype() -> None:
    layer = gatewise.torch.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    wide = layer(x)[0]
    layer.to(BF16)
    assert gatewise.torch.why_not(layer, x.to(BF16)) is None
    narrow = layer(x.to(BF16))[0]
    assert narrow.dtype is BF16
    assert error([narrow], [wide.double()]) < 4 * STEP
    layer.float()
    assert layer(x)[0].dtype is torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_stand_in_memory_as_pytorchs(kind: str) -> None:
    for options in ({}, {"batch_first": True}):
        theirs, ours = pair(Case(kind, (3, 4), options), BF16)
        x = torch.randn(5, 2, 3).to(BF16)
        for turned in (x, x.transpose(0, 1).contiguous().transpose(0, 1), x.flip(0)):
            (y, h), (z, g) = theirs(turned), ours(turned)
            assert z.stride() == y.stride()
            assert [p.stride() for p in g] == [p.stride() for p in h]


def test_outputs_may_be_changed_in_place() -> None:
    _, ours = pair(Case("GRU", (3, 4), {}), BF16)
    x = torch.randn(5, 2, 3).to(BF16)
    made = []
    for change in (lambda y: y * 2, lambda y: y.mul_(2)):
        ours.zero_grad()
        change(ours(x)[0]).sum().backward()
        made.append(ours.weight_hh_l0.grad)
    assert torch.equal(*made)
    y = ours(x.requires_grad_())[0]
    with torch.no_grad():
        x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("mixed", [False, True], ids=["module", "autocast"])
def test_gradients_of_gradients(mixed: bool) -> None:
    """They are PyTorch's, in the precision of the call, wherever they are asked for."""
    found = []
    for layer in pair(Case("GRU", (3, 4), {}), torch.float32 if mixed else BF16):
        x = torch.linspace(-1, 1, 30).view(5, 2, 3).to(BF16).requires_grad_()
        with torch.autocast("cpu", BF16, enabled=mixed):
            y = layer(x)[0]
        (dx,) = torch.autograd.grad(y.float().sum(), x, create_graph=True)
        dx.float().square().sum().backward()
        found.append(layer.weight_hh_l0.grad)
    assert found[0].dtype is found[1].dtype
    assert error([found[1]], [found[0].double()]) < 16 * STEP


@pytest.mark.parametrize("bad", ["nan", "inf"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite(kind: str, bad: str) -> None:
    _, ours = pair(Case(kind, (3, 4), {}), BF16)
    x = torch.randn(5, 2, 3).to(BF16)
    x[2, 1, 1] = float(bad)
    y = ours(x)[0]
    assert y[:, 0].isfinite().all()
    assert y[:2].isfinite().all()
    assert bad == "inf" or y[2:, 1].isnan().all()


@pytest.mark.parametrize("mixed", [False, True], ids=["module", "autocast"])
def test_losses_of_a_training_run_stand_beside_float32s(mixed: bool) -> None:
    losses = []
    start = nn.LSTM(8, 24, batch_first=True)
    for narrow in (False, True):
        layer, head = copy.deepcopy(start), nn.Linear(24, 1)
        gatewise.torch.accelerate(layer)
        torch.manual_seed(1)
        head.reset_parameters()
        if narrow and not mixed:
            layer.to(BF16)
        optimizer = torch.optim.SGD([*layer.parameters(), *head.parameters()], 0.5)
        found = []
        for _ in range(150):
            x = torch.randn(8, 10, 8)
            optimizer.zero_grad()
            with torch.autocast("cpu", BF16, enabled=narrow and mixed):
                y = layer(x.to(layer.weight_ih_l0.dtype))[0]
            target = x.mean(2).cumsum(1)
            loss = (head(y.float())[..., 0] - target).square().mean()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
    wide, narrow_ones = (sum(found[-30:]) for found in losses)
    assert wide < 0.7 * sum(losses[0][:30])
    assert abs(narrow_ones - wide) < 0.05 * wide


@pytest.mark.parametrize("kind", KINDS)
def test_resets(kind: str) -> None:
    """What starts anew gives what it gives alone."""
    _, ours = pair(Case(kind, (3, 4), {"bidirectional": True}), BF16)
    x = torch.randn(7, 2, 3).to(BF16)
    resets = torch.zeros(7, 2, dtype=torch.bool)
    resets[3] = True
    y = ours(x, resets=resets)[0]
    parts = [ours(x[:3])[0], ours(x[3:])[0]]
    torch.testing.assert_close(y, torch.cat(parts), rtol=STEP, atol=STEP)


def test_small_steps_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    cell = gatewise.torch.GRUCell(3, 4).to(BF16)
    assert conditions._LEAST_ROWS > 2
    reason = str(gatewise.torch.why_not(cell, torch.zeros(2, 3, dtype=BF16)))
    assert "single step" in reason
