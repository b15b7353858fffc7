"""The garbage collector, paused while much is made that is kept, and called seldom where little is left to it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_MANY = 2_000_000  # objects


@contextmanager
def paused() -> Iterator[None]:
    """Without the garbage collector: nearly all that is made here stays in use, and looking through it takes long."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def seldom() -> None:
    """From here on, look for cycles after two million new objects only, and never among what there is now.

    This is for a process that reads file after file: what one of them takes goes without the collector, but for a few
    hundred objects, and to look through all that the next one takes would be a fifth of its time.
    """
    gc.freeze()
    gc.set_threshold(_MANY)
