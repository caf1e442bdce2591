"""Progress on stderr: a tqdm bar, or plain lines where tqdm is not installed."""

from __future__ import annotations

import importlib
import sys
import time
from types import TracebackType
from typing import Any, Self

__all__ = ["Progress"]

_BAR = "{l_bar}{bar}| {elapsed} gone, {remaining} left{postfix}"
_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Show which share of some work is done, and how it goes.

    Parameters
    ----------
    done : float, default 0.0
        The share of the work, 0 to 1, that was done before.
    shown : bool, default True
        Whether to show anything at all.

    Examples
    --------
    >>> from gatewise.training.progress import Progress
    >>> with Progress(shown=False) as progress:
    ...     progress.update(0.5, "2.31 bits per character")
    """

    def __init__(self, done: float = 0.0, *, shown: bool = True) -> None:
        self._bar: Any = None
        self._shown = shown
        self._start = self._last = time.monotonic()
        self._done_before = done
        if not shown:
            return
        try:
            tqdm = importlib.import_module("tqdm")
        except ImportError:
            return
        # Where the bar is not drawn over itself, in a log, it need not be drawn often.
        pause = 0.1 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES
        self._bar = tqdm.tqdm(
            total=1.0, initial=done, bar_format=_BAR, mininterval=pause, dynamic_ncols=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, done: float, text: str) -> None:
        """Show that the share `done` of the work is done, with `text` beside it."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(min(done, 1.0) - self._bar.n)
        elif self._shown:
            now = time.monotonic()
            if now - self._last >= _SECONDS_BETWEEN_LINES or done >= 1.0:
                self._last = now
                speed = (done - self._done_before) / max(now - self._start, 1e-9)
                done = min(done, 1.0)
                left = (1 - done) / speed if speed > 0 else float("inf")
                self._print(f"{done:4.0%}, {left:.0f} s left, {text}")

    def finish(self, text: str) -> None:
        """Show that there is nothing left to do, and why there is not."""
        if self._bar is not None:
            self.update(1.0, text)
        elif self._shown:
            self._print(text)

    def _print(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
