"""Train a model written for PyTorch, with torch.nn's GRU and with gatewise's in its place.

The model reads sequences of unequal length and says which of two waves each one is. Nothing
in it knows of gatewise: `gatewise.torch.accelerate` changes it in place. It is trained
three times each way: by a plain loop, by skorch and by Lightning, of which the last two are
left out where they are not installed. All print the loss that they ended with and their
seconds.

Needs PyTorch: pip install "gatewise[torch]"
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset

import gatewise.torch

COUNT, LONGEST, BATCH, EPOCHS = 256, 60, 32, 3


class Classifier(nn.Module):
    """Two layers of GRUs over a packed batch, and a linear head on the final state."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.GRU(1, 32, num_layers=2, batch_first=True)
        self.head = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        # The first number of each row is its length.
        lengths, waves = x[:, 0].long(), x[:, 1:, None]
        packed = pack_padded_sequence(
            waves, lengths, batch_first=True, enforce_sorted=False
        )
        scores: Tensor = self.head(self.layers(packed)[1][-1])
        return scores


def data() -> tuple[np.ndarray, np.ndarray]:
    """Square and sine waves of random length, phase and noise."""
    random = np.random.default_rng(0)
    kinds = random.integers(0, 2, COUNT)
    lengths = random.integers(10, LONGEST + 1, COUNT)
    phases = random.uniform(0, 2 * np.pi, (COUNT, 1))
    waves = np.sin(phases + np.arange(LONGEST) / 2)
    waves = np.where(kinds[:, None] == 1, np.sign(waves), 1.2 * waves)
    waves += 0.2 * random.standard_normal(waves.shape)
    return np.column_stack([lengths, waves]).astype(np.float32), kinds.astype(np.int64)


def plain_loop(model: nn.Module, x: np.ndarray, kinds: np.ndarray) -> float:
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    batches = DataLoader(
        TensorDataset(torch.from_numpy(x), torch.from_numpy(kinds)), BATCH, shuffle=True
    )
    last = 0.0
    for _ in range(EPOCHS):
        for some, answers in batches:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(some), answers)
            loss.backward()
            optimizer.step()
            last = float(loss.detach())
    return last


def with_skorch(model: nn.Module, x: np.ndarray, kinds: np.ndarray) -> float:
    from skorch import NeuralNetClassifier

    net = NeuralNetClassifier(
        model,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-2,
        batch_size=BATCH,
        max_epochs=EPOCHS,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
    )
    net.fit(x, kinds)
    return float(net.history[-1, "train_loss"])


def with_lightning(model: nn.Module, x: np.ndarray, kinds: np.ndarray) -> float:
    import lightning

    class Training(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.loss = model, 0.0

        def training_step(self, batch: list[Tensor]) -> Tensor:
            loss = nn.functional.cross_entropy(self.model(batch[0]), batch[1])
            self.loss = loss.item()
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), 1e-2)

    training = Training()
    batches = DataLoader(
        TensorDataset(torch.from_numpy(x), torch.from_numpy(kinds)), BATCH, shuffle=True
    )
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(training, batches)
    return training.loss


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what the frameworks say of other ways to run them."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main() -> None:
    ways: dict[str, tuple[str, Callable[..., float]]] = {
        "a plain loop": ("torch", plain_loop),
        "skorch": ("skorch", with_skorch),
        "Lightning": ("lightning", with_lightning),
    }
    x, kinds = data()
    # Layers this small are no work for more, whoever computes them.
    torch.set_num_threads(1)
    for name, (package, train) in ways.items():
        if importlib.util.find_spec(package) is None:
            print(f"{name:12}  skipped: {package} is not installed")
            continue
        seconds = []
        for whose in ("torch.nn", "gatewise"):
            torch.manual_seed(0)
            model = Classifier()
            if whose == "gatewise":
                gatewise.torch.accelerate(model)
            # Threads and memory come into being at the first step, which is no training.
            model(torch.from_numpy(x[:BATCH])).sum().backward()
            model.zero_grad()
            with quiet():
                begin = time.perf_counter()
                loss = train(model, x, kinds)
                seconds.append(time.perf_counter() - begin)
            print(f"{name:12}  {whose:8}  loss {loss:.4f}  {seconds[-1]:.2f} s")
        print(f"{name:12}  {seconds[0] / seconds[1]:.1f} times faster")


if __name__ == "__main__":
    main()
