"""Deadline: how long something has worked, and breaking off what a program does once it takes too long."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

_WAITED = 0.25  # part of the time in which a thread waits that counts: for a processor, or asleep
_AGAIN = 0.25  # seconds after which it is looked again


class OutOfTime(BaseException):
    """A run that takes too long; no exception that the program may catch."""


def worked() -> float:
    """Seconds that this thread has worked, from some point of its own: the clock of all limits on one target.

    That is processor time, so that a busy machine costs no result, and a quarter of the time in which it waited, so
    that a program that sleeps comes to an end.
    """
    processor = time.thread_time()
    return processor + _WAITED * (time.monotonic() - processor)


def importing(frame: FrameType | None, below: CodeType | None = None) -> bool:
    """Whether a frame is part of an import that began above the frame of `below`.

    What is broken off there stays in `sys.modules` by halves, and is of no use to anything in this process any more.
    """
    while frame is not None and frame.f_code is not below:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the block after some seconds of work, but not in the middle of an import.

    Does nothing outside of the main thread, and where the process has a use of its own for the alarm.
    """
    free = signal.getsignal(signal.SIGALRM) in (signal.SIG_DFL, signal.SIG_IGN, None)
    if threading.current_thread() is not threading.main_thread() or not free or seconds <= 0:
        yield
        return
    end = worked() + seconds
    outside = sys._getframe(2).f_code

    def ring(number: int, frame: FrameType | None) -> None:
        if worked() >= end and not importing(frame, outside):
            raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
