"""Progress: a bar on standard error while a long run lasts, for whoever sits before a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

_DELAY = 2.0  # seconds that a run lasts without a bar
_EVERY = 0.2  # seconds between two drawings
_LENGTH = 30  # characters


class Progress:
    """The bar; use it as a context manager, so that nothing is left of it."""

    def __init__(self, shown: bool) -> None:
        """`shown` is whether there is to be a bar at all; it takes a terminal, too."""
        self._shown = shown and sys.stderr is not None and sys.stderr.isatty()
        self._next = time.monotonic() + _DELAY
        self._width = 0
        self._total: int | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._width:
            self._write(f"\r{' ' * self._width}\r")

    def tell(self, done: int, count: Callable[[], int]) -> None:
        """Draw how many files are done; `count` says of how many, and is asked once there is a bar to draw."""
        if not self._shown or time.monotonic() < self._next:
            return
        if self._total is None:
            self._total = count()
        self._next = time.monotonic() + _EVERY
        total = max(self._total, done)  # there may be more of them by now
        full = _LENGTH * done // max(total, 1)
        text = f"[{'#' * full}{' ' * (_LENGTH - full)}] {done}/{total} files"
        self._width = max(self._width, len(text))
        self._write(f"\r{text}")

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:  # the terminal has gone
            self._shown = False
