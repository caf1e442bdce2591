"""Autograd treats our modules as PyTorch's: what it frees, watches and refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import gatewise.torch  # noqa: E402
from tests.torch.pairs import KINDS  # noqa: E402


def pair(kind: str, *sizes: int, **options: Any) -> list[nn.Module]:
    theirs = getattr(nn, kind)(*sizes, **options)
    ours = copy.deepcopy(theirs)
    assert gatewise.torch.accelerate(ours) == 1
    return [theirs, ours]


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_backward_is_refused(kind: str) -> None:
    for layer in pair(kind, 3, 4):
        loss = layer(torch.ones(5, 2, 3))[0].sum()
        loss.backward()
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            loss.backward()


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_backward_where_the_graph_stays(kind: str) -> None:
    grads = []
    for layer in pair(kind, 3, 4, num_layers=2):
        loss = layer(torch.ones(5, 2, 3))[0].sum()
        loss.backward(retain_graph=True)
        once = layer.weight_hh_l0.grad.clone()
        loss.backward()
        torch.testing.assert_close(layer.weight_hh_l0.grad, 2 * once)
        grads.append(once)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["x", "weight", "hx"])
def test_a_change_in_place_is_noticed(kind: str, what: str) -> None:
    for layer in pair(kind, 3, 4):
        x = torch.ones(5, 2, 3)
        h = torch.ones(1, 2, 4, requires_grad=True)
        hx = h * 2
        state = (hx, hx) if kind == "LSTM" else hx
        loss = layer(x, state)[0].sum()
        with torch.no_grad():
            {"x": x, "weight": layer.weight_hh_l0, "hx": hx}[what].add_(1)
        with pytest.raises(RuntimeError, match=r"modified .*inplace"):
            loss.backward()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["weight_ih_l0", "bias_ih_l0", "bias_hh_l0"])
def test_what_the_way_back_does_not_use_may_change(kind: str, name: str) -> None:
    grads = []
    for layer in pair(kind, 3, 4, dtype=torch.float64):
        y, _ = layer(torch.linspace(-1, 1, 30, dtype=torch.float64).view(5, 2, 3))
        with torch.no_grad():
            getattr(layer, name).add_(1)
        y.sum().backward()
        grads.append([each.grad for each in layer.parameters()])
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_outputs_may_be_changed_in_place(kind: str, options: dict[str, Any]) -> None:
    """PyTorch's GRU and RNN allow it, and so the way back must not read what is there."""
    grads = []
    for layer in pair(kind, 3, 4, **options):
        y, h = layer(torch.linspace(-1, 1, 30).view(5, 2, 3))
        y.mul_(3).sigmoid_()
        h.add_(1)
        (y.sum() + h.square().sum()).backward()
        grads.append([each.grad for each in layer.parameters()])
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_accumulate_and_are_apart(kind: str) -> None:
    theirs, ours = pair(kind, 3, 4)
    for layer in (theirs, ours):
        for _ in range(3):
            layer(torch.ones(5, 2, 3))[0].sum().backward()
        layer.bias_ih_l0.grad.mul_(2)
    for their, our in zip(theirs.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(our.grad, their.grad)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_frozen_has_no_gradient(kind: str) -> None:
    grads = []
    for layer in pair(kind, 3, 4, num_layers=3, bidirectional=True):
        for name, each in layer.named_parameters():
            each.requires_grad_("l1" in name and "weight" in name)
        layer(torch.ones(5, 2, 3))[0].sum().backward()
        grads.append([each.grad for each in layer.parameters()])
        assert sum(each is not None for each in grads[-1]) == 4
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wants", ["x", "h"])
def test_only_the_input_or_the_state_has_one(kind: str, wants: str) -> None:
    grads = []
    for layer in pair(kind, 3, 4, num_layers=2):
        layer.requires_grad_(False)
        x = torch.ones(5, 2, 3, requires_grad=wants == "x")
        h = torch.ones(2, 2, 4, requires_grad=wants == "h")
        y, _ = layer(x, (h, h) if kind == "LSTM" else h)
        y.sum().backward()
        grads.append(x.grad if wants == "x" else h.grad)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_final_state_is_used(kind: str) -> None:
    grads = []
    for layer in pair(kind, 3, 4, bidirectional=True):
        final = layer(torch.ones(5, 2, 3))[1]
        (final[1] if kind == "LSTM" else final)[0].sum().backward()
        grads.append([each.grad for each in layer.parameters()])
    for their, our in zip(*grads, strict=True):
        torch.testing.assert_close(our, torch.zeros_like(our) if their is None else their)


def test_without_gradients_nothing_is_kept() -> None:
    layer = gatewise.torch.GRU(3, 4)
    x = torch.ones(5, 2, 3)
    with torch.no_grad():
        assert layer(x)[0].grad_fn is None
    with torch.inference_mode():
        y, h = layer(x)
        assert y.is_inference()
        assert h.is_inference()
    layer.requires_grad_(False)
    assert not layer(x)[0].requires_grad
    assert layer(x.requires_grad_())[0].requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_modules_made_in_inference_mode(kind: str) -> None:
    """Their parameters count no versions."""
    with torch.inference_mode():
        theirs, ours = pair(kind, 3, 4)
        for _ in range(2):
            x = torch.randn(5, 2, 3)
            torch.testing.assert_close(ours(x), theirs(x))
            for layer in (theirs, ours):
                layer.weight_hh_l0.mul_(2)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_checkpointing(kind: str, reentrant: bool) -> None:
    grads = []
    for layer in pair(kind, 3, 4, num_layers=2, dropout=0.5):
        torch.manual_seed(1)
        x = torch.ones(5, 2, 3, requires_grad=True)
        checkpoint(layer, x, use_reentrant=reentrant)[0].sum().backward()
        grads.append([x.grad, *[each.grad for each in layer.parameters()]])
    torch.testing.assert_close(*grads)


def test_what_is_saved_can_be_moved() -> None:
    grads = []
    for layer in pair("LSTM", 3, 4, num_layers=2, bidirectional=True):
        with torch.autograd.graph.save_on_cpu():
            y = layer(torch.ones(5, 2, 3))[0]
        y.sum().backward()
        grads.append([each.grad for each in layer.parameters()])
    torch.testing.assert_close(*grads)


def test_the_way_back_frees_what_was_kept() -> None:
    layer = gatewise.torch.LSTM(3, 4, num_layers=2)
    y, _ = layer(torch.ones(5, 2, 3))
    function = y.grad_fn
    assert len(function.saved_tensors) > 5
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        function.saved_tensors  # noqa: B018


@pytest.mark.parametrize("kind", KINDS)
def test_hooks(kind: str) -> None:
    seen: list[list[str]] = []
    for layer in pair(kind, 3, 4):
        found: list[str] = []
        layer.register_forward_hook(lambda *_, found=found: found.append("forward"))
        layer.register_forward_pre_hook(lambda *_, found=found: found.append("before"))
        layer.register_full_backward_hook(lambda *_, found=found: found.append("back"))
        layer.weight_hh_l0.register_hook(lambda g, found=found: found.append("weight"))
        layer(torch.ones(5, 2, 3, requires_grad=True))[0].sum().backward()
        seen.append(found)
    assert sorted(seen[0]) == sorted(seen[1])
    assert len(seen[0]) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_one_tensor_in_two_places(kind: str) -> None:
    grads = []
    for layer in pair(kind, 4, 4):
        x = torch.linspace(0, 1, 4).view(1, 1, 4).requires_grad_()
        y, _ = layer(x, (x, x) if kind == "LSTM" else x)
        (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        grads.append([dx, *torch.autograd.grad(dx.square().sum(), layer.weight_hh_l0)])
    torch.testing.assert_close(*grads)
