"""Where the kernels cannot run PyTorch's own code does, and `why_not` says why."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.autograd import forward_ad  # noqa: E402

import gatewise.torch  # noqa: E402
from gatewise.kernels import chooser  # noqa: E402
from gatewise.torch import conditions  # noqa: E402
from tests.torch.pairs import CELLS, KINDS  # noqa: E402


def pair(kind: str, **options: Any) -> tuple[nn.Module, nn.Module]:
    theirs = getattr(nn, kind)(3, 4, **options)
    ours = copy.deepcopy(theirs)
    gatewise.torch.accelerate(ours)
    return theirs, ours


def first(found: Any) -> Any:
    return found if isinstance(found, torch.Tensor) else first(found[0])


X = torch.linspace(-1, 1, 30).view(5, 2, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_it_runs_where_nothing_is_said(kind: str) -> None:
    assert gatewise.torch.why_not(pair(kind)[1], X) is None


def test_what_is_said_of_other_modules() -> None:
    why_not = gatewise.torch.why_not
    assert "accelerate" in str(why_not(nn.GRU(3, 4), X))
    assert "none of" in str(why_not(nn.Linear(3, 4), X))


@pytest.mark.parametrize("kind", KINDS + CELLS)
def test_float16(kind: str) -> None:
    theirs, ours = pair(kind, dtype=torch.float16)
    x = X.to(torch.float16)
    x = x[0] if kind in CELLS else x
    assert "float16" in str(gatewise.torch.why_not(ours, x))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("kind", KINDS + CELLS)
def test_meta(kind: str) -> None:
    ours = pair(kind)[1].to("meta")
    x = (X[0] if kind in CELLS else X).to("meta")
    assert "meta" in str(gatewise.torch.why_not(ours, x))
    assert first(ours(x)).is_meta


def test_other_layouts_and_classes() -> None:
    ours = pair("GRU")[1]

    class Own(torch.Tensor):
        pass

    y = ours(X.as_subclass(Own))[0]
    assert type(y) is Own
    assert "Own" in str(gatewise.torch.why_not(ours, X.as_subclass(Own)))
    assert "sparse" in str(gatewise.torch.why_not(ours, X.to_sparse()))


@pytest.mark.parametrize("kind", KINDS + CELLS)
def test_gradients_as_a_transform(kind: str) -> None:
    theirs, ours = pair(kind)
    x = X[0] if kind in CELLS else X
    made = [
        torch.func.grad(lambda x, layer=layer: first(layer(x)).sum())(x)
        for layer in (theirs, ours)
    ]
    torch.testing.assert_close(*made)


@pytest.mark.parametrize("kind", ["GRUCell", "RNNCell"])
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_vmap_over_cells(kind: str) -> None:
    """Over sequences PyTorch has no vmap, and says so for ours too."""
    theirs, ours = pair(kind)
    made = [
        torch.func.vmap(lambda x, layer=layer: first(layer(x)))(X)
        for layer in (theirs, ours)
    ]
    torch.testing.assert_close(*made)


@pytest.mark.parametrize("kind", ["GRU", "RNN", "LSTMCell"])
def test_vmap_over_sequences_is_refused_alike(kind: str) -> None:
    said, x = [], X if kind in CELLS else X[:, None]
    for layer in pair(kind):
        with pytest.raises(RuntimeError) as caught:
            torch.func.vmap(lambda x, layer=layer: first(layer(x)))(x)
        said.append(str(caught.value))
    assert said[0] == said[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_forward_mode() -> None:
    theirs, ours = pair("GRU")
    made = []
    for layer in (theirs, ours):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(X, torch.ones_like(X))
            made.append(forward_ad.unpack_dual(layer(dual)[0]))
    torch.testing.assert_close(*made)
    assert made[0].tangent is not None


@pytest.mark.parametrize("kind", KINDS + CELLS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_scripting(kind: str) -> None:
    theirs, ours = pair(kind)
    x = X[0] if kind in CELLS else X
    scripted = torch.jit.script(nn.Sequential(nn.Identity(), ours))
    torch.testing.assert_close(scripted(x), theirs(x))
    assert scripted(x)[0].grad_fn is not None


@pytest.mark.parametrize("kind", KINDS + CELLS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_tracing(kind: str) -> None:
    theirs, ours = pair(kind)
    x = X[0] if kind in CELLS else X
    traced = torch.jit.trace(ours, (x,))
    other = torch.cat([x, x])
    torch.testing.assert_close(traced(other), theirs(other))


@pytest.mark.parametrize("kind", KINDS + CELLS)
def test_symbolic_tracing(kind: str) -> None:
    theirs, ours = pair(kind)
    traced = torch.fx.symbolic_trace(nn.Sequential(nn.Identity(), ours))
    x = X[0] if kind in CELLS else X
    torch.testing.assert_close(traced(x), theirs(x))
    assert [n.op for n in traced.graph.nodes if n.target == "1"] == ["call_module"]


@pytest.mark.parametrize("kind", ["LSTM", "GRUCell"])
def test_compiling(kind: str) -> None:
    theirs, ours = pair(kind)
    x = X[0] if kind in CELLS else X
    compiled = torch.compile(nn.Sequential(nn.Identity(), ours), backend="eager")
    torch.testing.assert_close(compiled(x), theirs(x))


def test_modes() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    ours = pair("GRU")[1]
    seen = []

    class Seeing(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # fmt: skip # noqa: E501
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with Seeing():
        assert "dispatch mode" in str(gatewise.torch.why_not(ours, X))
        seen.clear()
        ours(X)
    assert len(seen) > 5
    with torch.device("cpu"):
        assert gatewise.torch.why_not(ours, X) is None
    with torch.overrides.BaseTorchFunctionMode():
        assert "function mode" in str(gatewise.torch.why_not(ours, X))


def test_the_fallback_of_gatewise_is_slower_than_pytorch() -> None:
    theirs, ours = pair("GRU")
    with chooser.use("numpy"):
        assert "NumPy" in str(gatewise.torch.why_not(ours, X))
        torch.testing.assert_close(ours(X), theirs(X))


def test_small_single_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "_WORTHWHILE", 1 << 21)
    monkeypatch.setattr(conditions, "_LEAST_ROWS", 16)
    for kind in ("GRU", "RNN", *CELLS):
        x = X[0] if kind in CELLS else X[:1]
        assert "single step" in str(gatewise.torch.why_not(pair(kind)[1], x))
    assert gatewise.torch.why_not(pair("LSTM")[1], X[:1]) is None
    assert gatewise.torch.why_not(pair("GRU")[1], X[:2]) is None
    large = gatewise.torch.GRUCell(256, 256)
    assert gatewise.torch.why_not(large, torch.ones(32, 256)) is None
    assert "single step" in str(gatewise.torch.why_not(large, torch.ones(15, 256)))


Refused = Callable[[Any], Any]
BAD: dict[str, Refused] = {
    "four dimensions": lambda layer: layer(X[None]),
    "one dimension": lambda layer: layer(X[0, 0]),
    "features": lambda layer: layer(torch.ones(5, 2, 7)),
    "dtype": lambda layer: layer(X.double()),
    "integers": lambda layer: layer(torch.ones(5, 2, 3, dtype=torch.int64)),
    "no tensor": lambda layer: layer([[[1.0]]]),
    "None": lambda layer: layer(None),
    "an array": lambda layer: layer(X.numpy()),
    "no steps": lambda layer: layer(X[:0]),
    "state of another batch": lambda layer: layer(X, state(layer, 1, 3, 4)),
    "state of other units": lambda layer: layer(X, state(layer, 1, 2, 5)),
    "state of more layers": lambda layer: layer(X, state(layer, 2, 2, 4)),
    "state without a batch": lambda layer: layer(X, state(layer, 1, 4)),
    "state with one": lambda layer: layer(X[:, 0], state(layer, 1, 1, 4)),
    "state of another dtype": lambda layer: layer(X, state(layer, 1, 2, 4, double=True)),
    "state is a number": lambda layer: layer(X, 1.0),
    "state is wrong": lambda layer: layer(X, (torch.ones(1, 2, 4),) * 3),
    "unknown keyword": lambda layer: layer(X, hidden=None),
    "nothing": lambda layer: layer(),
    "dropout": lambda layer: (setattr(layer, "dropout", 2.0), layer(X)),
    "packed wrongly": lambda layer: layer(
        nn.utils.rnn.PackedSequence(torch.ones(5, 3), torch.tensor([2, 1]))
    ),
    "packed state": lambda layer: layer(
        nn.utils.rnn.pack_sequence([torch.ones(5, 3)]), state(layer, 1, 2, 4)
    ),
}


def state(layer: nn.Module, *shape: int, double: bool = False) -> Any:
    made = torch.zeros(shape, dtype=torch.float64 if double else None)
    return (made, made) if isinstance(layer, nn.LSTM) else made


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_is_refused_alike(kind: str, name: str) -> None:
    caught: list[Any] = []
    for layer in pair(kind, num_layers=1):
        try:
            caught.append(first(BAD[name](layer)[0]).shape)
        except Exception as error:
            caught.append((type(error), str(error)))
    if name == "no tensor":
        # A list has no dim, and the words say so of it.
        assert caught[0][0] is caught[1][0]
    assert caught[0] == caught[1]


@pytest.mark.parametrize("kind", CELLS)
def test_what_is_wrong_is_refused_alike_by_cells(kind: str) -> None:
    bad: list[Callable[[Any], Any]] = [
        lambda cell: cell(X),
        lambda cell: cell(torch.ones(2, 4)),
        lambda cell: cell(X[0].double()),
        lambda cell: cell(X[0], 1.0),
        lambda cell: cell(X[0], torch.ones(3, 4)),
        lambda cell: cell(X[0], torch.ones(2, 5)),
        lambda cell: cell(X[0], (torch.ones(3, 4), torch.ones(3, 4))),
        lambda cell: cell(X[0, 0], torch.ones(1, 4)),
        lambda cell: cell(X[0, 0], (torch.ones(4), torch.ones(1, 4))),
        lambda cell: cell(None),
    ]
    for call in bad:
        caught: list[Any] = []
        for cell in pair(kind):
            try:
                caught.append(first(call(cell)).shape)
            except Exception as error:
                caught.append((type(error), str(error)))
        assert caught[0] == caught[1]


def test_constructors_refuse_alike() -> None:
    for arguments, options in [
        ((3,), {}),
        ((0, 4), {}),
        ((3, 4.0), {}),
        ((3, 4), {"proj_size": 4}),
        ((3, 4), {"dropout": 2}),
        ((3, 4), {"nonlinearity": "sine"}),
    ]:
        for kind in KINDS:
            caught: list[Any] = []
            for place in (nn, gatewise.torch):
                try:
                    getattr(place, kind)(*arguments, **options)
                    caught.append("made")
                except Exception as error:
                    caught.append((type(error), str(error)))
            assert caught[0] == caught[1]
