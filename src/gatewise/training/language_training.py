"""Training a language model for a given time, in a way that can stop and go on."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.containers import Header
from gatewise.formats.fields import Fields
from gatewise.kernels import cells
from gatewise.training.checkpoint import (
    Checkpoint,
    join_groups,
    open_checkpoint,
    save_checkpoint,
)
from gatewise.training.clipping import clip_grad_norm
from gatewise.training.language_model import (
    KIND,
    REFUSAL,
    LanguageModel,
    read_language_model,
)
from gatewise.training.optimizers import Adam
from gatewise.training.portable import cosine
from gatewise.training.progress import Progress
from gatewise.training.text import TextError, TokenBatches, order_zero_bits, split_held_out

Array = NDArray[Any]

__all__ = ["LanguageTraining", "Settings"]

_MAX_NORM = 1.0
_WARMUP_STEPS = 20
# A run is a few thousand steps, of which the usual 0.999 would remember too many.
_BETAS = (0.9, 0.99)


@dataclass(frozen=True)
class Settings:
    """What training depends on besides the model and the text."""

    batch_size: int
    length: int
    learning_rate: float
    seed: int


class LanguageTraining:
    """A model in training on a text: all that is needed to go on from where it stands.

    The batches of a text continue one another, and the state is carried over from each to
    the next, while gradients stop between them. The model kept is the best on the part of
    the text that is held out.

    Parameters
    ----------
    model : LanguageModel
    text : str
    settings : Settings

    Raises
    ------
    TextError
        If `text` has a character outside the vocabulary, or is shorter than one batch.

    Notes
    -----
    This is truncated backpropagation through time [1]_, cut where batches meet.

    References
    ----------
    .. [1] Williams, R. J., and Peng, J. (1990). "An Efficient Gradient-Based Algorithm for
       On-Line Training of Recurrent Network Trajectories". Neural Computation 2(4),
       490-501.

    Examples
    --------
    >>> from gatewise.training.language_model import LanguageModel
    >>> from gatewise.training.language_training import LanguageTraining, Settings
    >>> from gatewise.training.text import Vocabulary
    >>> text = "to be or not to be " * 50
    >>> model = LanguageModel(Vocabulary(text), cell="gru", hidden_size=16, num_layers=1)
    >>> settings = Settings(batch_size=4, length=20, learning_rate=0.03, seed=0)
    >>> training = LanguageTraining(model, text, settings)
    >>> training.run(steps=60)
    >>> training.best_bits < 0.5 * training.order_zero_bits
    True
    """

    def __init__(self, model: LanguageModel, text: str, settings: Settings) -> None:
        tokens = model.vocabulary.encode(text)
        training, self._held_out = split_held_out(tokens)
        self.batches = TokenBatches(
            training, settings.batch_size, settings.length, settings.seed
        )
        self.held_out_size = self._held_out.size
        self.order_zero_bits = order_zero_bits(self._held_out)
        self.model = model
        self.settings = settings
        self.step = 0
        self.seconds = 0.0
        self.best_bits = math.inf
        self._digest = _digest(text)
        self._weights = model.network.state_dict()
        # The same arrays, so that a model never measured is saved as it is.
        self._best = self._weights
        self._optimizer = Adam(settings.learning_rate, betas=_BETAS)
        self._state: Any = None

    @classmethod
    def resume(cls, path: str | os.PathLike[str], text: str) -> LanguageTraining:
        """Read a training that was saved to `path`; `text` must be the one it had.

        Raises
        ------
        OSError
            If the file cannot be opened.
        CheckpointError
            If it holds no whole model and its training.
        TextError
            If it was trained on another text.
        """
        with open_checkpoint(path, KIND, REFUSAL) as checkpoint:
            saved = Fields(checkpoint.metadata, "metadata").fields("training")
            same_text = saved.text("digest") == _digest(text)
            if same_text:
                return cls._read(checkpoint, saved, text)
        raise TextError(f"{path}: was trained on another text; give it the same one")

    @classmethod
    def _read(cls, checkpoint: Checkpoint, saved: Fields, text: str) -> LanguageTraining:
        model = read_language_model(checkpoint)
        training = cls(model, text, _settings(saved.fields("settings")))
        training.step = saved.integer("step", lowest=0)
        training.seconds = saved.number("seconds", lowest=0)
        training.best_bits = saved.number("best_bits", lowest=0, finite=False)

        checkpoint.check_groups("model", "weights", "optimizer", "state")
        checkpoint.check_group("weights", checkpoint.group("model"))
        training._optimizer.check_state(checkpoint.group("optimizer"), training._weights)
        shape = (model.num_layers, training.settings.batch_size, model.hidden_size)
        names = cells.look_up(model.cell).states if training.step else ()
        state = Header(np.dtype(np.float32), shape)
        checkpoint.check_group("state", dict.fromkeys(names, state))

        training._best = training._weights
        training._weights = checkpoint.read_group("weights")
        training._optimizer.load_state_dict(checkpoint.read_group("optimizer"))
        parts = checkpoint.read_group("state")
        training._state = _from_parts([parts[name] for name in names])
        model.network.load_state_dict(training._weights)
        return training

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to `path`, whole or not at all.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        names = cells.look_up(self.model.cell).states
        groups = {
            "model": self._best,
            "weights": self._weights,
            "optimizer": self._optimizer.state_dict(),
            "state": dict(zip(names, _parts(self._state), strict=False)),
        }
        training = {
            "digest": self._digest,
            "settings": asdict(self.settings),
            "step": self.step,
            "seconds": self.seconds,
            "best_bits": self.best_bits,
        }
        metadata = {"model": self.model.describe(), "training": training}
        arrays = join_groups(groups)
        save_checkpoint(path, KIND, arrays, metadata, model=self.model.network)

    def share_done(self, seconds: float, steps: float) -> float:
        """Return which share of so many seconds, or steps if it is more, lies behind."""
        return max(self.seconds / seconds, self.step / steps)

    def run(
        self,
        *,
        seconds: float = math.inf,
        steps: float = math.inf,
        path: str | os.PathLike[str] | None = None,
        checkpoint_interval: float = 10.0,
        progress: Progress | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train until `seconds` or `steps` are reached, all runs counted, or until stopped.

        Parameters
        ----------
        seconds, steps : float
            The learning rate falls towards their end. At least one must be finite.
        path : path, optional
            Where everything is saved every `checkpoint_interval` seconds and at the end.
        checkpoint_interval : float, default 10.0
        progress : Progress, optional
        stopped : callable, optional
            Asked before every step whether to stop early.

        Raises
        ------
        ValueError
            If neither `seconds` nor `steps` is finite, or the loss is not.
        OSError
            If the file cannot be written.
        """
        if math.isinf(seconds) and math.isinf(steps):
            raise ValueError("seconds or steps should be finite, got neither")
        self.model.network.load_state_dict(self._weights)
        began = time.monotonic() - self.seconds
        due = time.monotonic() + checkpoint_interval
        recent = math.nan
        while (done := self.share_done(seconds, steps)) < 1 and not stopped():
            bits = self._advance(done) / math.log(2)
            recent = bits if math.isnan(recent) else 0.95 * recent + 0.05 * bits
            if time.monotonic() >= due:
                self._measure()
                if path is not None:
                    self.save(path)
                due = time.monotonic() + checkpoint_interval
            self.seconds = time.monotonic() - began
            if progress is not None:
                progress.update(self.share_done(seconds, steps), self._describe(recent))
        self._measure()
        if path is not None:
            self.save(path)
        self.model.network.load_state_dict(self._best)

    def _advance(self, done: float) -> float:
        inputs, targets, begins = self.batches[self.step]
        state = None if begins else self._state
        loss, gradients, self._state = self.model.loss_and_gradients(inputs, targets, state)
        if not math.isfinite(loss):
            raise ValueError(
                f"the loss is {loss} at step {self.step}; a lower learning rate may help"
            )
        clip_grad_norm(gradients, _MAX_NORM)
        warm = min(1.0, (self.step + 1) / _WARMUP_STEPS)
        falling = 0.02 + 0.98 * 0.5 * (1 + cosine(math.pi * done))
        self._optimizer.learning_rate = self.settings.learning_rate * warm * falling
        self._optimizer.step(self._weights, gradients)
        self.model.network.set_parameters(self._weights)
        self.step += 1
        return loss

    def _measure(self) -> None:
        """Keep the present parameters if they are the best on the held-out part."""
        bits = self.model.bits_per_character(self._held_out)
        if bits < self.best_bits:
            self.best_bits = bits
            self._best = self.model.network.state_dict()

    def _describe(self, recent: float) -> str:
        held_out = "" if math.isinf(self.best_bits) else f", held out {self.best_bits:.2f}"
        return f"{recent:.2f} bits per character{held_out}"


def _settings(saved: Fields) -> Settings:
    return Settings(
        batch_size=saved.integer("batch_size", lowest=1),
        length=saved.integer("length", lowest=1),
        learning_rate=saved.number("learning_rate", lowest=0),
        seed=saved.integer("seed", lowest=0, highest=math.inf),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _parts(state: Any) -> tuple[Array, ...]:
    """The arrays in the state of a network whose first layer alone has one."""
    if state is None:
        return ()
    return state[0] if isinstance(state[0], tuple) else (state[0],)


def _from_parts(parts: list[Array]) -> Any:
    if not parts:
        return None
    return (parts[0] if len(parts) == 1 else tuple(parts), None)
