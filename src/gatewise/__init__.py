"""Recurrent networks on the CPU: compiled, and in plain NumPy where nothing compiles.

- Layers: ``RNN``, ``LSTM``, ``GRU``, ``Conv1d``, ``Linear``, ``Embedding``, activations,
  ``AttentionPool`` and other pools, and ``Sequential``. They take
  ``(batch, time, features)``; a recurrent layer and a Sequential return their outputs and
  their state, all others just outputs. ``stream()`` runs them step by step,
  ``quantize("int8")`` makes them smaller, ``summary()`` says what is in them. ``Layer`` is
  the base of your own.
- Networks out of files: ``load_arrays(path)`` with ``LSTM.from_state_dict(arrays, prefix)``
  for PyTorch's and all others that have its names, ``from_keras``, ``from_onnx``,
  ``from_nam``, ``from_rtneural``, and back with ``to_keras`` and its like. The command
  ``gatewise inspect FILE`` says which of them a file needs. ``save`` and ``load`` keep
  networks of this package.
- Training: ``fit``, ``evaluate`` and ``predict``, ``Adam`` and its like, ``cross_entropy``,
  ``mse`` and other losses, ``accuracy``; ``gatewise.training`` has batches of ragged
  sequences, schedules, callbacks and more metrics.
- Functions with parameter dictionaries, as in a course's notebook: ``rnn_forward`` to
  ``lstm_cell_backward``.

All take and return NumPy arrays of float32 or float64. ``show_config()`` says which backend
runs and why; the environment variable ``GATEWISE_BACKEND`` chooses it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    from gatewise.kernels import thread_limits
    from gatewise.kernels.thread_limits import get_num_threads, set_num_threads
    from gatewise.notebook import (
        gru_backward,
        gru_cell_backward,
        gru_cell_forward,
        gru_forward,
        lstm_backward,
        lstm_cell_backward,
        lstm_cell_forward,
        lstm_forward,
        prediction_backward,
        rnn_backward,
        rnn_cell_backward,
        rnn_cell_forward,
        rnn_forward,
        sigmoid,
        softmax,
    )
except (ImportError, ValueError) as error:
    from gatewise import _program

    _program.exit_if_running(error)
    if isinstance(error, ImportError):
        _program.refuse_sub_interpreter()
    raise

if TYPE_CHECKING:
    from gatewise import formats as formats
    from gatewise import gates as gates
    from gatewise import layers as layers
    from gatewise import testing as testing
    from gatewise import training as training
    from gatewise._config import show_config
    from gatewise.formats import (
        FormatError,
        from_keras,
        from_nam,
        from_onnx,
        from_rtneural,
        load,
        load_arrays,
        load_metadata,
        save,
        to_keras,
        to_nam,
        to_onnx,
        to_rtneural,
    )
    from gatewise.kernels.memory import release_memory
    from gatewise.layers import (
        GRU,
        LSTM,
        RNN,
        AttentionPool,
        Bidirectional,
        Conv1d,
        Dropout,
        Embedding,
        Last,
        Layer,
        Linear,
        MaxPool,
        MeanPool,
        ReLU,
        Sequential,
        Sigmoid,
        Softmax,
        Tanh,
    )
    from gatewise.training import (
        SGD,
        Adam,
        AdamW,
        accuracy,
        binary_cross_entropy,
        clip_grad_norm,
        cross_entropy,
        evaluate,
        huber,
        mse,
        predict,
        quantile_loss,
        softmax_cross_entropy,
    )
    from gatewise.training.fit import fit

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "AdamW",
    "AttentionPool",
    "Bidirectional",
    "Conv1d",
    "Dropout",
    "Embedding",
    "FormatError",
    "Last",
    "Layer",
    "Linear",
    "MaxPool",
    "MeanPool",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "__version__",
    "accuracy",
    "binary_cross_entropy",
    "clip_grad_norm",
    "cross_entropy",
    "evaluate",
    "fit",
    "from_keras",
    "from_nam",
    "from_onnx",
    "from_rtneural",
    "get_num_threads",
    "gru_backward",
    "gru_cell_backward",
    "gru_cell_forward",
    "gru_forward",
    "huber",
    "load",
    "load_arrays",
    "load_metadata",
    "lstm_backward",
    "lstm_cell_backward",
    "lstm_cell_forward",
    "lstm_forward",
    "mse",
    "predict",
    "prediction_backward",
    "quantile_loss",
    "release_memory",
    "rnn_backward",
    "rnn_cell_backward",
    "rnn_cell_forward",
    "rnn_forward",
    "save",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "to_keras",
    "to_nam",
    "to_onnx",
    "to_rtneural",
]

thread_limits.register()

# Imported when the first of their names is asked for, so that the import stays light.
_LATER = ("_config", "kernels.memory", "layers", "formats", "training")
# Modules that users import by themselves, beside those of _LATER.
_MODULES = ("gates", "notebook", "testing")

if not TYPE_CHECKING:
    # Type checkers know the names from above, and so that there are no others.

    def __getattr__(name: str) -> Any:
        if name in _LATER or name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name in __all__:
            for home in _LATER:
                module = import_module(f"{__name__}.{home}")
                if name in module.__all__:
                    value = globals()[name] = getattr(module, name)
                    return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    later = {name for name in _LATER if name.isidentifier() and name[0] != "_"}
    special = {name for name in globals() if name.startswith("__")}
    return sorted({*special, *later, *_MODULES, *__all__})
