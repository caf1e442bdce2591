"""The fit loop: epochs over batches, validation, early stopping, checkpoints."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gatewise.formats.files import check_writable
from gatewise.kernels import computing
from gatewise.training.arguments import as_count, as_number, describe
from gatewise.training.batches import Batches, check_batches
from gatewise.training.callbacks import CallbackLike, as_callbacks
from gatewise.training.fit_run import Run, Settings
from gatewise.training.history import Epoch, History
from gatewise.training.measuring import (
    ClassWeight,
    Loss,
    Model,
    as_class_weight,
    check_loss,
    check_model,
)
from gatewise.training.metrics import MetricLike, as_metrics
from gatewise.training.optimizers import Optimizer
from gatewise.training.progress import Progress
from gatewise.training.schedules import Schedule, as_schedule

__all__ = ["Loss", "fit"]


def fit(
    model: Model,
    batches: Batches,
    loss: Loss,
    optimizer: Optimizer,
    *,
    epochs: int,
    metrics: Sequence[MetricLike] = (),
    validation: Batches | None = None,
    patience: int | None = None,
    max_norm: float | None = None,
    class_weight: ClassWeight | None = None,
    schedule: Schedule | None = None,
    callbacks: Sequence[CallbackLike] = (),
    compute: str | None = None,
    seed: int | None = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_interval: float = 30.0,
    resume: bool = False,
    progress: bool = True,
    after_epoch: Callable[[Epoch], object] | None = None,
) -> History:
    """Train `model` in place and return what every epoch came to.

    Whatever interrupts it, Ctrl-C too, the model has the parameters that the last finished
    step gave it.

    Parameters
    ----------
    model : layer
        Any layer of this package; a `Sequential` as a rule.
    batches : Minibatches or sequence
        From `minibatches`, which mixes the examples anew in every epoch; or any sequence of
        ``(x, targets)``, or ``(x, targets, lengths)`` for sequences of unequal length, or
        ``(x, targets, lengths, sample_weight)``, where lengths may be None. It is asked for
        ``len(batches)`` and ``batches[i]``, so what is too large for memory can be made
        when asked for. Where it has a method ``for_epoch(number)``, that gives the batches
        of an epoch, always as many. Batches without examples are left out.
    loss : callable
        ``loss(outputs, targets)`` returns the loss and its gradient, as `cross_entropy` and
        `mse` do. With lengths it is also given ``mask=``, which is False past the end of a
        sequence, unless the model makes one vector of each; with weights
        ``sample_weight=``.
    optimizer : Optimizer
    epochs : int
        In total, those before `resume` included.
    metrics : sequence, optional
        What to measure beside the loss, such as `accuracy`: metrics, or functions that are
        called like a loss and return a number, which is averaged over batches. In training
        they are of the outputs from before each step, as the loss is.
    validation : sequence, optional
        Batches to measure on after every epoch, always the same ones.
    patience : int, optional
        Stop after so many epochs without a better loss on `validation`.
    max_norm : float, optional
        Clip the joint norm of the gradients to this.
    class_weight : dict of int to float, optional
        How much targets of each class count in the loss of training, 1 where nothing is
        said; times the sample weights. Metrics know of sample weights alone.
    schedule : Schedule, optional
        By what the optimizer's learning rate is multiplied in each step, such as
        ``gatewise.training.Cosine()``. The optimizer has its own again in the end.
    callbacks : sequence, optional
        What is called while this trains, and may end it: a `Callback`, or a function that
        is called after every epoch with the `Training`.
    compute : {"float32", "bfloat16"}, optional
        In which precision recurrent layers multiply in training, as their `forward` takes
        it; validation stays float32. A checkpoint goes on in the one that it began with.
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
    History
        The list of every `Epoch`, which can draw itself. With `validation`, the model has
        the parameters of the one with the least loss on it.

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
    >>> history = gatewise.fit(
    ...     model,
    ...     minibatches(x, np.cumsum(x, axis=1), batch_size=16),
    ...     gatewise.mse,
    ...     gatewise.Adam(0.01),
    ...     epochs=20,
    ...     progress=False,
    ... )
    >>> history[-1].loss < 0.5 * history[0].loss
    True
    """
    check_model(model)
    check_loss(loss)
    _check_parts(optimizer, after_epoch)
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
    settings = Settings(
        epochs,
        seed,
        max_norm,
        as_metrics(metrics),
        as_class_weight(class_weight),
        None if schedule is None else as_schedule("schedule", schedule),
        as_callbacks(callbacks),
        compute,
    )
    run = Run(model, optimizer, loss, batches, settings)
    if checkpoint is not None:
        check_writable(checkpoint)
    run.begin()
    if checkpoint is not None and resume and Path(checkpoint).exists():
        run.load(checkpoint)
    due = time.monotonic() + checkpoint_interval
    try:
        with Progress(run.share_done(), shown=progress) as shown:
            while not run.is_over and not run.out_of_patience(patience):
                for batch in run.remaining():
                    run.train_on(batch)
                    if checkpoint is not None and time.monotonic() >= due:
                        run.save(checkpoint)
                        due = time.monotonic() + checkpoint_interval
                    shown.update(run.share_done(), run.describe())
                    if run.is_over and run.position < run.size:
                        break
                else:
                    run.end_epoch(validation)
                    if after_epoch is not None:
                        after_epoch(run.history[-1])
            if not run.is_over:
                # No stop for good: another patience may go on from here.
                run.pause(f"no better validation loss for {patience} epochs")
            if run.history.stopped is not None:
                count = len(run.history)
                shown.finish(f"stopped after epoch {count}: {run.history.stopped}")
    finally:
        run.end()
    if checkpoint is not None:
        run.save(checkpoint)
    run.keep_best()
    for callback in settings.callbacks:
        callback.on_train_end(run)
    return run.history


def _check_parts(optimizer: object, after: object) -> None:
    """Raise TypeError for what cannot be trained with."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer should be one such as gatewise.Adam(), got {describe(optimizer)}"
        )
    if after is not None and not callable(after):
        raise TypeError(f"after_epoch should be a function, got {describe(after)}")
