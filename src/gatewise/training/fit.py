"""The fit loop: epochs over batches, validation, early stopping, checkpoints."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from gatewise.formats.files import check_writable
from gatewise.kernels import computing
from gatewise.layers import Feedforward, Stateful
from gatewise.training.arguments import as_count, as_number, describe
from gatewise.training.batches import Batches, check_batches
from gatewise.training.fit_run import Epoch, Loss, Model, Run
from gatewise.training.optimizers import Optimizer
from gatewise.training.progress import Progress

__all__ = ["Epoch", "Loss", "fit"]


def fit(
    model: Model,
    batches: Batches,
    loss: Loss,
    optimizer: Optimizer,
    *,
    epochs: int,
    validation: Batches | None = None,
    patience: int | None = None,
    max_norm: float | None = None,
    compute: str | None = None,
    seed: int | None = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_interval: float = 30.0,
    resume: bool = False,
    progress: bool = True,
    after_epoch: Callable[[Epoch], object] | None = None,
) -> list[Epoch]:
    """Train `model` in place and return what every epoch came to.

    Whatever interrupts it, Ctrl-C too, the model has the parameters that the last finished
    step gave it.

    Parameters
    ----------
    model : layer
        Any layer of this package; a `Sequential` as a rule.
    batches : Minibatches or sequence
        From `minibatches`, which mixes the examples anew in every epoch; or any sequence of
        ``(x, targets)``, or ``(x, targets, lengths)`` for sequences of unequal length. It
        is asked for ``len(batches)`` and ``batches[i]``, so what is too large for memory
        can be made when asked for. Where it has a method ``for_epoch(number)``, that gives
        the batches of an epoch, always as many. Batches without examples are left out.
    loss : callable
        ``loss(outputs, targets)`` returns the loss and its gradient, as
        `softmax_cross_entropy` and `mse` do. With lengths it is also given ``mask=``, which
        is False past the end of a sequence.
    optimizer : Optimizer
    epochs : int
        In total, those before `resume` included.
    validation : sequence, optional
        Batches to measure on after every epoch, always the same ones.
    patience : int, optional
        Stop after so many epochs without a better loss on `validation`.
    max_norm : float, optional
        Clip the joint norm of the gradients to this.
    compute : {"float32", "bfloat16"}, optional
        In which precision recurrent layers multiply in training, as their `forward` takes
        it; validation stays float32.
    seed : int or None, default 0
        Decides the order of the batches, another one in every epoch; None keeps it.
    checkpoint : path, optional
        A file for all that is needed to go on, written every `checkpoint_interval` seconds
        and after the last epoch. A kill at any moment loses what came after the last write.
    checkpoint_interval : float, default 30.0
    resume : bool, default False
        Go on from `checkpoint` where that file exists, to the same end that an
        uninterrupted run would have come to. The file may be from elsewhere: what does not
        fit this training is refused before anything is changed.
    progress : bool, default True
        Show progress on stderr.
    after_epoch : callable, optional
        Called with every `Epoch`.

    Returns
    -------
    list of Epoch
        With `validation`, the model has the parameters of the best of them.

    Raises
    ------
    TypeError
        If an argument is not what it should be; before anything starts, where that can be
        seen then.
    ValueError
        If a number is out of range, nothing can be trained or measured on, or the loss is
        not finite; the message says whether that comes from `x`, from the targets or from
        the parameters.
    OSError
        If the checkpoint cannot be written.
    CheckpointError
        If the checkpoint to resume from is damaged, or of another training.

    Examples
    --------
    >>> import numpy as np
    >>> import gatewise
    >>> from gatewise.training import minibatches
    >>> x = np.random.default_rng(0).standard_normal((64, 10, 1)).astype("float32")
    >>> model = gatewise.Sequential(gatewise.GRU(1, 8, seed=0), gatewise.Linear(8, 1))
    >>> epochs = gatewise.fit(
    ...     model,
    ...     minibatches(x, np.cumsum(x, axis=1), batch_size=16),
    ...     gatewise.mse,
    ...     gatewise.Adam(0.01),
    ...     epochs=20,
    ...     progress=False,
    ... )
    >>> epochs[-1].loss < 0.5 * epochs[0].loss
    True
    """
    _check_parts(model, loss, optimizer, after_epoch)
    computing.check(compute)
    check_batches("batches", batches)
    if validation is not None:
        check_batches("validation", validation)
    epochs = as_count("epochs", epochs, 0)
    seed = None if seed is None else as_count("seed", seed, 0)
    max_norm = None if max_norm is None else as_number("max_norm", max_norm)
    if checkpoint_interval != math.inf:
        checkpoint_interval = as_number("checkpoint_interval", checkpoint_interval)
    if patience is not None:
        patience = as_count("patience", patience, 1)
        if validation is None:
            raise ValueError(f"patience should be None without validation, got {patience}")
    if resume and checkpoint is None:
        raise ValueError("checkpoint should be a file to resume from, got None")
    run = Run(model, optimizer, loss, batches, seed, max_norm, compute)
    if checkpoint is not None:
        check_writable(checkpoint)
        if resume and Path(checkpoint).exists():
            run.load(checkpoint)
    due = time.monotonic() + checkpoint_interval
    with Progress(run.share_done(epochs), shown=progress) as shown:
        while len(run.epochs) < epochs and not run.out_of_patience(patience):
            for batch in run.remaining():
                run.train_on(batch)
                if checkpoint is not None and time.monotonic() >= due:
                    run.save(checkpoint)
                    due = time.monotonic() + checkpoint_interval
                shown.update(run.share_done(epochs), run.describe())
            run.end_epoch(validation)
            if after_epoch is not None:
                after_epoch(run.epochs[-1])
        if len(run.epochs) < epochs:
            shown.finish(
                f"stopped after epoch {len(run.epochs)}: "
                f"no better validation loss for {patience} epochs"
            )
    if checkpoint is not None:
        run.save(checkpoint)
    run.keep_best()
    return run.epochs


def _check_parts(model: object, loss: object, optimizer: object, after: object) -> None:
    """Raise TypeError for what cannot be trained, or not be trained with."""
    if not isinstance(model, Feedforward | Stateful):
        raise TypeError(f"model should be a layer, got {describe(model)}")
    if not callable(loss) or isinstance(loss, type):
        raise TypeError(
            "loss should be a function of outputs and targets, such as gatewise.mse, "
            f"got {describe(loss)}"
        )
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer should be one such as gatewise.Adam(), got {describe(optimizer)}"
        )
    if after is not None and not callable(after):
        raise TypeError(f"after_epoch should be a function, got {describe(after)}")
