"""The notebook's functions: one step or a whole sequence, forward and back, feature first.

Arrays are ``(features, examples)`` for a step and ``(features, examples, time)`` for a
sequence, parameters are a dictionary, biases are columns. ``rnn``, ``lstm`` and ``gru``
hold the public functions and what each cell has of its own; ``_run`` has what they share.
"""

from gatewise.notebook.activations import sigmoid, softmax
from gatewise.notebook.gru import (
    gru_backward,
    gru_cell_backward,
    gru_cell_forward,
    gru_forward,
)
from gatewise.notebook.head import prediction_backward
from gatewise.notebook.lstm import (
    lstm_backward,
    lstm_cell_backward,
    lstm_cell_forward,
    lstm_forward,
)
from gatewise.notebook.rnn import (
    rnn_backward,
    rnn_cell_backward,
    rnn_cell_forward,
    rnn_forward,
)

__all__ = [
    "gru_backward",
    "gru_cell_backward",
    "gru_cell_forward",
    "gru_forward",
    "lstm_backward",
    "lstm_cell_backward",
    "lstm_cell_forward",
    "lstm_forward",
    "prediction_backward",
    "rnn_backward",
    "rnn_cell_backward",
    "rnn_cell_forward",
    "rnn_forward",
    "sigmoid",
    "softmax",
]
