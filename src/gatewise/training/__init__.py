"""Training: losses, optimizers, the fit loop, checkpoints, and a character model."""

from gatewise.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from gatewise.training.fit import Epoch, fit, minibatches
from gatewise.training.losses import mse, softmax_cross_entropy
from gatewise.training.optimizers import SGD, Adam, AdamW, Optimizer, clip_grad_norm

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CheckpointError",
    "Epoch",
    "Optimizer",
    "clip_grad_norm",
    "fit",
    "load_checkpoint",
    "minibatches",
    "mse",
    "save_checkpoint",
    "softmax_cross_entropy",
]
