"""Whole models: changed in place, changed back, saved, copied, loaded on either side."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor, nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

import gatewise.torch  # noqa: E402
from tests.torch.pairs import CELLS, KINDS  # noqa: E402


class Tagger(nn.Module):
    """A stack as speech toolkits build it: lengths, a list of two-way LSTMs, a head."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [4, 12, 12]
        self.layers = nn.ModuleList(
            nn.LSTM(size, 6, bidirectional=True, batch_first=True) for size in sizes
        )
        self.drop = nn.Dropout(0.3)
        self.head = nn.Sequential(nn.Linear(12, 8), nn.LeakyReLU(), nn.Linear(8, 2))

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        y = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        for layer in self.layers:
            y, _ = layer(y)
        padded, _ = pad_packed_sequence(y, batch_first=True)
        return self.head(self.drop(padded))


class Attender(nn.Module):
    """A sequence to sequence model: an encoder's state, a decoder of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(4, 6, num_layers=2, dropout=0.1)
        self.decoder = nn.GRUCell(6, 6)
        self.mixer = nn.LSTMCell(6, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        y, h = self.encoder(x.transpose(0, 1))
        state, pair, made = h[-1], None, []
        for _ in range(3):
            weights = (y * state).sum(-1, keepdim=True).softmax(0)
            state = self.decoder((weights * y).sum(0), state)
            pair = self.mixer(state, pair)
            made.append(self.head(pair[0]))
        return torch.stack(made) + lengths.sum() * 0


class Policy(nn.Module):
    """As reinforcement learning has it: one step at a time from a given state."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.memory = nn.LSTM(6, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        state = (torch.zeros(1, len(x), 6), torch.zeros(1, len(x), 6))
        made = []
        for step in range(x.shape[1]):
            y, state = self.memory(self.body(x[:, step])[None], state)
            state = tuple(part * (lengths > step).view(1, -1, 1) for part in state)
            made.append(self.head(y[0]))
        return torch.stack(made)


MODELS = {Tagger: 3, Attender: 3, Policy: 1}
X, LENGTHS = torch.linspace(-1, 1, 60).view(3, 5, 4), torch.tensor([2, 5, 3])


def losses(model: nn.Module, optimizer: Any, count: int = 4) -> list[float]:
    torch.manual_seed(3)
    found = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = (model(X, LENGTHS) - 1).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("kind", MODELS)
def test_models_train_alike(kind: type[nn.Module]) -> None:
    theirs = kind()
    ours = copy.deepcopy(theirs)
    optimizers = [torch.optim.AdamW(each.parameters(), 1e-2) for each in (theirs, ours)]
    before = [id(each) for each in ours.parameters()]
    # The optimizer has the parameters already.
    assert gatewise.torch.accelerate(ours) == MODELS[kind]
    assert [id(each) for each in ours.parameters()] == before
    assert gatewise.torch.accelerate(ours) == 0
    expected = losses(theirs, optimizers[0])
    assert expected[-1] < expected[0]
    assert losses(ours, optimizers[1]) == pytest.approx(expected, abs=1e-5)
    assert gatewise.torch.restore(ours) == MODELS[kind]
    assert gatewise.torch.restore(ours) == 0
    assert str(ours) == str(theirs)
    assert losses(ours, optimizers[1]) == pytest.approx(
        losses(theirs, optimizers[0]), abs=1e-4
    )


@pytest.mark.parametrize("kind", MODELS)
def test_state_dicts_go_both_ways(kind: type[nn.Module]) -> None:
    theirs, ours = kind().eval(), kind().eval()
    gatewise.torch.accelerate(ours)
    for source, target in ((theirs, ours), (ours, theirs)):
        with torch.no_grad():
            for each in source.parameters():
                each.uniform_(-0.5, 0.5)
        file = io.BytesIO()
        torch.save(source.state_dict(), file)
        file.seek(0)
        target.load_state_dict(torch.load(file, weights_only=True))
        assert list(source.state_dict()) == list(target.state_dict())
        torch.testing.assert_close(target(X, LENGTHS), source(X, LENGTHS))


@pytest.mark.parametrize("kind", KINDS + CELLS)
def test_copies_and_pickles(kind: str) -> None:
    layer = getattr(gatewise.torch, kind)(3, 4)
    x = torch.ones(2, 3) if kind in CELLS else torch.ones(5, 2, 3)
    expected = layer(x)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (
        copy.copy(layer),
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(file, weights_only=False),
    ):
        assert type(other) is type(layer)
        torch.testing.assert_close(other(x), expected)
        with torch.no_grad():
            for each in other.parameters():
                each.mul_(1)
    theirs = copy.deepcopy(layer)
    gatewise.torch.restore(theirs)
    assert theirs.__dict__.keys() == layer.__dict__.keys()
    assert type(pickle.loads(pickle.dumps(theirs))) is getattr(nn, kind)


@pytest.mark.parametrize("kind", KINDS + CELLS)
def test_everything_else_is_pytorchs(kind: str) -> None:
    ours, theirs = getattr(gatewise.torch, kind), getattr(nn, kind)
    assert issubclass(ours, theirs)
    assert set(vars(ours)) - {"__module__", "__doc__", "__annotations__"} <= {
        "forward",
        "__prepare_scriptable__",
        "__firstlineno__",
        "__static_attributes__",
    }
    made = []
    for each in (ours, theirs):
        torch.manual_seed(1)
        made.append(each(3, 4, bias=False))
    assert repr(made[0]) == repr(made[1])
    for our, their in zip(*[each.named_parameters() for each in made], strict=True):
        assert our[0] == their[0]
        assert torch.equal(our[1], their[1])


def test_classes_of_others_stay() -> None:
    class Own(nn.LSTM):
        pass

    model = nn.Sequential(Own(3, 4), nn.LSTM(4, 4))
    assert gatewise.torch.accelerate(model) == 1
    assert type(model[0]) is Own
    assert "none of" in str(gatewise.torch.why_not(model[0], X))


def test_a_shared_module_counts_once() -> None:
    layer = nn.GRU(3, 4)
    assert gatewise.torch.accelerate(nn.ModuleList([layer, layer])) == 1
    assert gatewise.torch.accelerate(gatewise.torch.GRU(3, 4)) == 0
    assert gatewise.torch.accelerate(nn.LSTM(3, 4)) == 1


@pytest.mark.parametrize("change", ["accelerate", "restore"])
def test_what_is_no_model_is_refused(change: str) -> None:
    with pytest.raises(TypeError, match=r"model should be a torch\.nn\.Module, got dict"):
        getattr(gatewise.torch, change)({})


def test_pytorchs_names_may_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some change torch.nn's own names, and ours must still find what they stand on."""
    for kind in KINDS + CELLS:
        monkeypatch.setattr(nn, kind, getattr(gatewise.torch, kind))
    assert nn.GRU(3, 4)(torch.ones(5, 0, 3))[0].shape == (5, 0, 4)
    assert nn.GRUCell(3, 4).bfloat16()(torch.ones(2, 3).bfloat16()).shape == (2, 4)
    assert gatewise.torch.restore(nn.GRU(3, 4)) == 1
