"""A character-level language model: what it computes, how it is measured, how it writes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.containers import Header
from gatewise.formats.fields import Fields
from gatewise.kernels import cells
from gatewise.layers import GRU, LSTM, RNN, Linear, Sequential
from gatewise.training.checkpoint import Checkpoint, open_checkpoint
from gatewise.training.losses import softmax_cross_entropy
from gatewise.training.text import TokenBatches, Tokens, Vocabulary

Array = NDArray[Any]

__all__ = [
    "CELLS",
    "KIND",
    "REFUSAL",
    "LanguageModel",
    "load_language_model",
    "read_language_model",
]

KIND = "language model"
REFUSAL = f"not a whole {KIND}"

CELLS: dict[str, Any] = {"gru": GRU, "lstm": LSTM, "rnn": RNN}


class LanguageModel:
    """Recurrent layers over characters, and a linear head that scores the next one.

    Parameters
    ----------
    vocabulary : Vocabulary
    cell : {"gru", "lstm", "rnn"}
    hidden_size, num_layers : int
    seed : int, default 0
        Decides the initial parameters.

    Raises
    ------
    TypeError
        If a size is no integer.
    ValueError
        If there is no such `cell`, or a size is less than 1.

    Examples
    --------
    >>> from gatewise.training.language_model import LanguageModel
    >>> from gatewise.training.text import Vocabulary
    >>> model = LanguageModel(Vocabulary("ab "), cell="gru", hidden_size=8, num_layers=1)
    >>> "".join(model.sample(5, prompt="ab", seed=1)).startswith("ab")
    True
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        cell: str,
        hidden_size: int,
        num_layers: int,
        seed: int = 0,
    ) -> None:
        if cell not in CELLS:
            raise ValueError(f"cell should be one of {', '.join(CELLS)}, got {cell!r}")
        self.vocabulary = vocabulary
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        options: dict[str, Any] = {"forget_bias": 1.0} if cell == "lstm" else {}
        # Tokens stand for one-hot rows: their product with the weights is a row gather.
        self._recurrent = CELLS[cell](
            len(vocabulary), hidden_size, num_layers, tokens=True, seed=seed, **options
        )
        self._head = Linear(hidden_size, len(vocabulary), seed=seed + 1)
        self.network = Sequential(self._recurrent, self._head)

    def describe(self) -> dict[str, Any]:
        """Return what `from_description` makes the same model from, parameters apart."""
        return {
            "characters": self.vocabulary.characters,
            "cell": self.cell,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> LanguageModel:
        """Make a model from what `describe` returned."""
        return cls(
            Vocabulary(description["characters"]),
            cell=description["cell"],
            hidden_size=description["hidden_size"],
            num_layers=description["num_layers"],
        )

    def loss_and_gradients(
        self, inputs: Tokens, targets: Tokens, state: Any = None
    ) -> tuple[float, dict[str, Array], Any]:
        """Return the mean loss in nats, its gradients by parameter, and the final state.

        `inputs` and `targets` are ``(batch, time)``. The gradient stops at `state`, the
        state before the first step.
        """
        logits, final, tape = self.network.forward(inputs, state)
        loss, dlogits = softmax_cross_entropy(logits, targets)
        _, _, gradients = self.network.backward(tape, dlogits)
        return loss, gradients, final

    def bits_per_character(self, tokens: Tokens) -> float:
        """Return how many bits the model needs for one of `tokens`, on average."""
        batches = TokenBatches(tokens, *_evaluation_shape(tokens.size))
        state, total = None, 0.0
        for step in range(batches.batches_a_pass):
            inputs, targets, _ = batches[step]
            logits, state = self.network(inputs, state)
            total += softmax_cross_entropy(logits, targets)[0]
        return total / batches.batches_a_pass / math.log(2)

    def sample(
        self,
        length: int,
        *,
        prompt: str = "",
        temperature: float = 1.0,
        seed: int | None = None,
    ) -> Iterator[str]:
        """Write a text: `prompt`, then `length` more characters, one at a time.

        Parameters
        ----------
        length : int
        prompt : str, default ""
            Where it is empty, the model goes on as after a line's end.
        temperature : float, default 1.0
            Below 1 the likely characters become likelier; at 0 the likeliest is taken.
        seed : int, optional
            The same seed gives the same text.

        Raises
        ------
        ValueError
            If `temperature` is negative or not finite.
        TextError
            If `prompt` has a character outside the vocabulary.
        """
        if not (temperature >= 0 and math.isfinite(temperature)):
            raise ValueError(
                f"temperature should be a finite number of at least 0, got {temperature}"
            )
        known = self.vocabulary.encode(prompt or self._opening())
        return self._write(known, prompt, length, temperature, seed)

    def _write(
        self, known: Tokens, prompt: str, length: int, temperature: float, seed: int | None
    ) -> Iterator[str]:
        yield from prompt
        random = np.random.default_rng(seed)
        stream = self._recurrent.stream()
        hidden = stream(known[None])[:, -1]
        for _ in range(length):
            token = _draw(self._head(hidden)[0], temperature, random)
            yield self.vocabulary.characters[token]
            hidden = stream(np.array([token]))

    def _opening(self) -> str:
        characters = self.vocabulary.characters
        return "\n" if "\n" in characters else characters[0]


def load_language_model(path: str | os.PathLike[str]) -> LanguageModel:
    """Read the model that training saved to `path`.

    Raises
    ------
    OSError
        If the file cannot be opened.
    CheckpointError
        If it holds no whole model.
    """
    with open_checkpoint(path, KIND, REFUSAL) as checkpoint:
        return read_language_model(checkpoint)


def read_language_model(checkpoint: Checkpoint) -> LanguageModel:
    """Read the model in an open file, once it is sure that its arrays make one.

    Raises
    ------
    ValueError
        If they do not.
    """
    said = Fields(checkpoint.metadata, "metadata").fields("model")
    description: dict[str, Any] = {
        "characters": said.text("characters"),
        "cell": said.text("cell"),
        "hidden_size": said.integer("hidden_size", lowest=1),
        # So many layers have so many arrays: what follows takes no longer than these.
        "num_layers": said.integer(
            "num_layers", lowest=1, highest=len(checkpoint.headers) // 4
        ),
    }
    checkpoint.check_group("model", parameter_headers(**description))
    model = LanguageModel.from_description(description)
    model.network.load_state_dict(checkpoint.read_group("model"))
    return model


def parameter_headers(
    characters: str, cell: str, hidden_size: int, num_layers: int
) -> dict[str, Header]:
    """Return the dtype and the shape of every parameter of a model not made yet.

    Raises
    ------
    ValueError
        If there is no such `cell`.
    """
    if cell not in CELLS:
        raise ValueError(f"cell should be one of {', '.join(CELLS)}, got {cell!r}")
    classes, rows = len(Vocabulary(characters)), cells.look_up(cell).gates * hidden_size
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(num_layers):
        features = hidden_size if layer else classes
        shapes |= {
            f"0.weight_ih_l{layer}": (rows, features),
            f"0.weight_hh_l{layer}": (rows, hidden_size),
            f"0.bias_ih_l{layer}": (rows,),
            f"0.bias_hh_l{layer}": (rows,),
        }
    shapes |= {"1.weight": (classes, hidden_size), "1.bias": (classes,)}
    return {name: Header(np.dtype(np.float32), shape) for name, shape in shapes.items()}


def _evaluation_shape(tokens: int) -> tuple[int, int]:
    """How many streams, and how long a batch: hardly a token lost, and few starts cold."""
    streams = max(min((tokens - 1) // 256, 16), 1)
    stream = (tokens - 1) // streams
    return streams, stream // math.ceil(stream / 256)


def _draw(scores: Array, temperature: float, random: np.random.Generator) -> int:
    scores = scores.astype(np.float64)
    if temperature == 0:
        return int(scores.argmax())
    # The likeliest of scores with Gumbel noise is a draw from their softmax; the noise is
    # scaled, not the scores, so that no temperature above 0 can overflow.
    return int((scores + temperature * random.gumbel(size=scores.size)).argmax())
