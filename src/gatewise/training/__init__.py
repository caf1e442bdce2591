"""Training: losses, metrics, optimizers, the fit loop, and a character model."""

from gatewise.training.batches import Minibatches, minibatches
from gatewise.training.callbacks import Callback, EarlyStopping, TimeLimit, Training
from gatewise.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from gatewise.training.clipping import clip_grad_norm
from gatewise.training.data_parallel import DataParallel
from gatewise.training.datasets import (
    JoinedSequences,
    SequenceBatches,
    sequence_batches,
)
from gatewise.training.elementwise_losses import huber, mse, quantile_loss
from gatewise.training.fit import fit
from gatewise.training.history import Epoch, History
from gatewise.training.language_model import load_language_model
from gatewise.training.losses import (
    binary_cross_entropy,
    cross_entropy,
    softmax_cross_entropy,
)
from gatewise.training.measuring import Loss
from gatewise.training.metrics import (
    Metric,
    accuracy,
    f1_score,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)
from gatewise.training.optimizers import SGD, Adam, AdamW, Optimizer
from gatewise.training.padding import pad_sequences
from gatewise.training.predicting import evaluate, predict
from gatewise.training.schedules import (
    Constant,
    Cosine,
    ReduceOnPlateau,
    Schedule,
    Step,
    WarmUp,
)

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Callback",
    "CheckpointError",
    "Constant",
    "Cosine",
    "DataParallel",
    "EarlyStopping",
    "Epoch",
    "History",
    "JoinedSequences",
    "Loss",
    "Metric",
    "Minibatches",
    "Optimizer",
    "ReduceOnPlateau",
    "Schedule",
    "SequenceBatches",
    "Step",
    "TimeLimit",
    "Training",
    "WarmUp",
    "accuracy",
    "binary_cross_entropy",
    "clip_grad_norm",
    "cross_entropy",
    "evaluate",
    "f1_score",
    "fit",
    "huber",
    "load_checkpoint",
    "load_language_model",
    "mean_absolute_error",
    "minibatches",
    "mse",
    "pad_sequences",
    "predict",
    "quantile_loss",
    "r2_score",
    "root_mean_squared_error",
    "save_checkpoint",
    "sequence_batches",
    "softmax_cross_entropy",
]
