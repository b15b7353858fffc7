"""Progress: a bar on standard error while a long run lasts, for whoever sits before a terminal."""

from __future__ import annotations

import sys
import time

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

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._width:
            self._write(f"\r{' ' * self._width}\r")

    def tell(self, done: int, total: int) -> None:
        """Draw how many files are done."""
        if not self._shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY
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
