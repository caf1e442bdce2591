"""Training: losses, optimizers, the fit loop, checkpoints, and a character model."""

from gatewise.training.batches import Minibatches, minibatches
from gatewise.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from gatewise.training.clipping import clip_grad_norm
from gatewise.training.data_parallel import DataParallel
from gatewise.training.fit import Epoch, Loss, fit
from gatewise.training.losses import mse, softmax_cross_entropy
from gatewise.training.optimizers import SGD, Adam, AdamW, Optimizer

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CheckpointError",
    "DataParallel",
    "Epoch",
    "Loss",
    "Minibatches",
    "Optimizer",
    "clip_grad_norm",
    "fit",
    "load_checkpoint",
    "minibatches",
    "mse",
    "save_checkpoint",
    "softmax_cross_entropy",
]
