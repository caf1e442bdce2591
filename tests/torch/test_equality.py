"""Outputs, states and all gradients are torch.nn's, whatever the options."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import gatewise.torch  # noqa: E402
from tests.torch.pairs import (  # noqa: E402
    CELLS,
    KINDS,
    Case,
    assert_equal,
    random_case,
    results,
)

# PyTorch says that oneDNN has no projections.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")


@pytest.mark.parametrize("seed", range(20))
def test_random_configurations(seed: int) -> None:
    source = random.Random(seed)
    for _ in range(12):
        case = random_case(source)
        theirs, ours = case.pair()
        tensors = case.tensors()
        expected = results(case, theirs, tensors)
        assert_equal(case, expected, results(case, ours, tensors))
        with torch.no_grad():
            theirs.eval()
            ours.eval()
            assert_equal(case, case.call(theirs, tensors), case.call(ours, tensors))


@pytest.mark.parametrize("unbatched", [False, True])
@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize("kind", CELLS)
def test_cells(kind: str, has_state: bool, unbatched: bool) -> None:
    batch = 1 if unbatched else 3
    for bias in (True, False):
        case = Case(
            kind,
            (3, 5),
            {"bias": bias},
            batch=batch,
            unbatched=unbatched,
            has_state=has_state,
        )
        theirs, ours = case.pair()
        tensors = case.tensors()
        assert gatewise.torch.why_not(ours, tensors[0]) is None
        expected = results(case, theirs, tensors)
        assert_equal(case, expected, results(case, ours, tensors))
        with torch.no_grad():
            assert_equal(case, case.call(theirs, tensors), case.call(ours, tensors))


def test_a_relu_cell() -> None:
    case = Case("RNNCell", (3, 4), {"nonlinearity": "relu"}, has_state=True)
    theirs, ours = case.pair()
    tensors = case.tensors()
    assert_equal(case, results(case, theirs, tensors), results(case, ours, tensors))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
def test_what_is_not_finite(kind: str, bad: str) -> None:
    case = Case(kind, (3, 4), {"num_layers": 2, "bidirectional": True})
    theirs, ours = case.pair()
    tensors = case.tensors()
    tensors[0][2, 1, 1] = float(bad)
    expected = results(case, theirs, tensors)
    assert any(each.isnan().any() for each in expected)
    assert_equal(case, expected, results(case, ours, tensors))
    with torch.no_grad():
        theirs.weight_hh_l0[1, 1] = ours.weight_hh_l0[1, 1] = float(bad)
    assert_equal(case, results(case, theirs, tensors), results(case, ours, tensors))


@pytest.mark.parametrize("kind", KINDS)
def test_relu_and_strides_of_any_kind(kind: str) -> None:
    options = {"nonlinearity": "relu"} if kind == "RNN" else {}
    case = Case(kind, (4, 6), options)
    theirs, ours = case.pair()
    whole = torch.randn(10, 6, 8, dtype=case.dtype)
    for x in (
        whole[::2, ::2, ::2],
        whole[:, :, 4:],
        whole[..., :4].transpose(0, 1),
        whole[:4].permute(1, 2, 0),
        whole[:1, :1, :4].expand(5, 3, 4),
        whole[..., :4].flip(0),
    ):
        assert gatewise.torch.why_not(ours, x) is None
        assert_equal(case, results(case, theirs, [x]), results(case, ours, [x]))


@pytest.mark.parametrize("threads", [1, 2])
def test_large_enough_for_threads(threads: int) -> None:
    torch.set_num_threads(threads)
    for kind in KINDS:
        case = Case(kind, (40, 70), {"batch_first": True}, time=40, batch=9)
        theirs, ours = case.pair()
        tensors = case.tensors()
        expected = results(case, theirs, tensors)
        assert_equal(case, expected, results(case, ours, tensors))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_losses_of_a_training_run(kind: str) -> None:
    """Dropout draws the same numbers, so that 200 steps stay together."""
    losses = []
    case = Case(
        kind,
        (8, 16),
        {"num_layers": 2, "dropout": 0.2, "batch_first": True},
        dtype=torch.float32,
    )
    for layer in case.pair():
        torch.manual_seed(1)
        head = torch.nn.Linear(16, 1)
        optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], 3e-3)
        found = []
        for _ in range(200):
            x = torch.randn(4, 8, 8)
            optimizer.zero_grad()
            loss = (head(layer(x)[0])[..., 0] - x.mean(2).cumsum(1)).square().mean()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
    assert sum(losses[0][-20:]) < 0.8 * sum(losses[0][:20])
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_outputs_stand_in_memory_as_pytorchs(kind: str, batch_first: bool) -> None:
    """So that a view of them is one of ours too, whatever the input's own order."""
    case = Case(kind, (3, 4), {"batch_first": batch_first, "bidirectional": True})
    theirs, ours = case.pair()
    x = torch.randn(5, 2, 3, dtype=case.dtype)
    for turned in (x, x.transpose(0, 1).contiguous().transpose(0, 1)):
        for has_gradient in (False, True):
            turned.requires_grad_(has_gradient)
            (y, h), (z, g) = theirs(turned), ours(turned)
            assert z.stride() == y.stride()
            assert [p.stride() for p in g] == [p.stride() for p in h]
