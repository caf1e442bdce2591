"""Layers over ``(batch, time, features)``: RNN, LSTM and GRU, and what stands around them.

Every layer computes with a call, ``layer(x)``. For training, ``layer.forward(x)`` also
returns a tape, and ``layer.backward(tape, dy)`` the gradients of the input and of the
parameters.
"""

from __future__ import annotations

from gatewise.layers.activations import ReLU, Sigmoid, Softmax, Tanh
from gatewise.layers.attention_pool import AttentionPool
from gatewise.layers.bidirectional import Bidirectional
from gatewise.layers.convolution import Conv1d
from gatewise.layers.gru import GRU
from gatewise.layers.kinds import Feedforward, Stateful, Streaming
from gatewise.layers.lstm import LSTM
from gatewise.layers.module import Module
from gatewise.layers.own_layer import Call, Layer
from gatewise.layers.pooling import Last, MaxPool, MeanPool
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.rnn import RNN
from gatewise.layers.sequential import Sequential
from gatewise.layers.simple import Dropout, Embedding, Linear
from gatewise.layers.stream import Stream
from gatewise.layers.tape import RecurrentTape

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AttentionPool",
    "Bidirectional",
    "Call",
    "Conv1d",
    "Dropout",
    "Embedding",
    "Feedforward",
    "Last",
    "Layer",
    "Linear",
    "MaxPool",
    "MeanPool",
    "Module",
    "ReLU",
    "Recurrent",
    "RecurrentTape",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Stateful",
    "Stream",
    "Streaming",
    "Tanh",
]
