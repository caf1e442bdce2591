"""Weights are packed once until they change, however they change."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, prune, spectral_norm  # noqa: E402

import gatewise.torch  # noqa: E402
from gatewise.torch import conditions, weights  # noqa: E402

X = torch.linspace(-1, 1, 30).view(5, 2, 3)


def pair() -> tuple[nn.GRU, nn.GRU]:
    theirs = nn.GRU(3, 4)
    ours = copy.deepcopy(theirs)
    gatewise.torch.accelerate(ours)
    return theirs, ours


def optimize(layer: Any) -> None:
    layer(X)[0].sum().backward()
    torch.optim.SGD(layer.parameters(), 0.5).step()


def fused(layer: Any) -> None:
    layer(X)[0].sum().backward()
    torch.optim.Adam(layer.parameters(), 0.5, fused=True).step()


def write_array(layer: Any) -> None:
    layer.weight_hh_l0.detach().numpy()[...] *= 2


def assign_data(layer: Any) -> None:
    layer.weight_hh_l0.data = layer.weight_hh_l0.data * 2


def transpose_data(layer: Any) -> None:
    layer.weight_hh_l0.data = layer.weight_hh_l0.data.flip(0)


def set_parameter(layer: Any) -> None:
    layer.weight_hh_l0 = nn.Parameter(layer.weight_hh_l0.detach() * 2)


def make_strided(layer: Any) -> None:
    layer.weight_hh_l0 = nn.Parameter(torch.randn(4, 12, generator=seeded()).t())


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


CHANGES: dict[str, Any] = {
    "an optimizer": optimize,
    "a fused optimizer": fused,
    "no_grad": lambda layer: torch.no_grad()(layer.weight_ih_l0.mul_)(2),
    "data in place": lambda layer: layer.weight_hh_l0.data.clamp_(-0.1, 0.1),
    "one number of data": lambda layer: layer.bias_hh_l0.data[3:4].add_(1),
    "data": assign_data,
    "data in another order": transpose_data,
    "an array": write_array,
    "a new parameter": set_parameter,
    "strides": make_strided,
    "load_state_dict": lambda layer: layer.load_state_dict(
        {k: v * 2 for k, v in layer.state_dict().items()}
    ),
    "a cast there and back": lambda layer: layer.double().float(),
    "shared memory": lambda layer: layer.share_memory(),
    "vector_to_parameters": lambda layer: nn.utils.vector_to_parameters(
        torch.linspace(-1, 1, 108), layer.parameters()
    ),
    "pruning": lambda layer: prune.l1_unstructured(layer, "weight_hh_l0", amount=0.5),
    "reset_parameters": lambda layer: (torch.manual_seed(5), layer.reset_parameters()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen(name: str) -> None:
    theirs, ours = pair()
    for _ in range(2):
        with torch.no_grad():
            before = ours(X)[0]
            torch.testing.assert_close(before, theirs(X)[0])
        for layer in (theirs, ours):
            CHANGES[name](layer)
        assert gatewise.torch.why_not(ours, X) is None
        torch.testing.assert_close(ours(X), theirs(X))
        if name == "pruning":
            break


def test_they_are_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    prepare = weights.prepare

    def counted(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        return prepare(*arguments)

    monkeypatch.setattr(conditions, "prepare", counted)
    _, ours = pair()
    for _ in range(3):
        ours(X)[0].sum().backward()
        with torch.no_grad():
            ours(X)
    assert count == 1
    with torch.no_grad():
        ours.weight_ih_l0[0, 0] = float("nan")
    for _ in range(3):
        ours(X)
    assert count == 2


def test_nothing_of_them_stands_in_the_module() -> None:
    _, ours = pair()
    before = set(ours.__dict__)
    ours(X)
    assert set(ours.__dict__) == before
    assert ours in weights._kept
    count = len(weights._kept)
    del ours
    assert len(weights._kept) == count - 1


def weight_norm(layer: Any) -> Any:
    return parametrizations.weight_norm(layer, "weight_hh_l0")


def spectral(layer: Any) -> Any:
    return parametrizations.spectral_norm(layer, "weight_hh_l0")


def old_spectral(layer: Any) -> Any:
    return spectral_norm(layer, "weight_hh_l0")


def orthogonal(layer: Any) -> Any:
    return parametrizations.orthogonal(layer, "weight_ih_l0")


@pytest.mark.parametrize("change", [weight_norm, spectral, old_spectral, orthogonal])
@pytest.mark.parametrize("before", [True, False])
def test_computed_weights_have_gradients(change: Any, before: bool) -> None:
    theirs = nn.GRU(3, 4, dtype=torch.float64)
    x = X.double()
    ours = copy.deepcopy(theirs)
    if before:
        assert gatewise.torch.accelerate(ours) == 1
    for layer in (theirs, ours):
        torch.manual_seed(2)
        change(layer)
    if not before:
        assert gatewise.torch.accelerate(ours) == 1
        assert gatewise.torch.accelerate(ours) == 0
    for _ in range(3):
        made = []
        for layer in (theirs, ours):
            layer.zero_grad()
            y, _ = layer(x)
            y.square().sum().backward()
            with torch.no_grad():
                for each in layer.parameters():
                    each -= 0.1 * each.grad
            made.append([y, *[each.grad for each in layer.parameters()]])
        torch.testing.assert_close(*made)
    assert gatewise.torch.restore(ours) == 1
    torch.testing.assert_close(ours(x), theirs(x))
    assert gatewise.torch.accelerate(ours) == 1
    # Asked at last: to look at a spectral norm's weight is to change it.
    assert gatewise.torch.why_not(ours, x) is None


def test_parametrizations_can_be_removed() -> None:
    ours = weight_norm(gatewise.torch.GRU(3, 4))
    expected = ours(X)
    nn.utils.parametrize.remove_parametrizations(ours, "weight_hh_l0")
    assert type(ours) is gatewise.torch.GRU
    torch.testing.assert_close(ours(X), expected)


def test_functional_calls_use_what_they_are_given() -> None:
    theirs, ours = pair()
    ours(X)
    given = {k: v.detach() * 2 for k, v in theirs.named_parameters()}
    for _ in range(2):
        expected = torch.func.functional_call(theirs, given, (X,))
        torch.testing.assert_close(torch.func.functional_call(ours, given, (X,)), expected)
        torch.testing.assert_close(ours(X), theirs(X))


def test_weights_of_wrong_shapes_are_pytorchs_affair() -> None:
    for layer in pair():
        layer.weight_hh_l0.data = torch.ones(12, 5)
        with pytest.raises(RuntimeError):
            layer(X)


def test_nan_is_no_change() -> None:
    _, ours = pair()
    with torch.no_grad():
        ours.weight_hh_l0.fill_(np.nan)
        assert ours(X)[0].isnan().all()
        sizes = weights._kept[ours].sizes
        assert weights.known(ours, sizes, ours._flat_weights, "float32")
