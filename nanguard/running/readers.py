"""Readers: processes that read files side by side; they run nothing of the files.

They are handed the files in turn, a few ahead of what is taken of them, so that the outcome is the same for any
number of them, and memory does not depend on how many files there are.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from select import select
from typing import Generic, NoReturn, TypeVar, cast

from nanguard import collector
from nanguard.running import wire
from nanguard.running.processes import die_with, ended, kill
from nanguard.running.wire import Failure

T = TypeVar("T")
S = TypeVar("S")

_CHUNK = 1 << 16
_IDLE = 0.25  # seconds between calls of `idle`
_AHEAD = 32  # files that a reader has at most, of which nothing has been taken


def read_all(
    files: Iterable[S | T], takes: type[S], gives: type[T], read: Callable[[S], T], jobs: int, idle: Callable[[], None]
) -> Generator[tuple[S | T, T | Failure], None, None]:
    """Each file with what `read` says about it, in order, by `jobs` processes; both are dataclasses or plain values.

    What is one of `gives` already is its own answer.  A file that ends its reader is a `Failure`, and the others go
    on.  `idle` is called now and then while this waits.
    """
    readers: deque[_Reader[S, T]] = deque()
    handed: deque[tuple[S | T, _Reader[S, T] | None]] = deque()
    coming = iter(files)
    more = True
    try:
        readers.extend(_Reader(takes, gives, read) for _ in range(jobs))
        while more or handed:
            while more and len(handed) < jobs * _AHEAD and readers[0].waiting < _AHEAD:
                try:
                    file = next(coming)
                except StopIteration:
                    more = False
                    break
                if isinstance(file, gives):
                    handed.append((file, None))
                else:
                    readers[0].ask(cast(S, file))
                    handed.append((file, readers[0]))
                    readers.rotate(-1)
            if handed:
                file, reader = handed.popleft()
                yield file, cast(T, file) if reader is None else reader.next(idle)
    finally:
        for reader in readers:
            reader.close()


class _Reader(Generic[S, T]):
    """A process that reads files, and is started again behind a file that has ended it."""

    def __init__(self, takes: type[S], gives: type[T], read: Callable[[S], T]) -> None:
        self._takes, self._gives, self._read = takes, gives, read
        self._asked: deque[bytes] = deque()  # the files of which nothing has been taken
        self._unsent = bytearray()
        self._data = bytearray()
        self._start()

    @property
    def waiting(self) -> int:
        """How many files it has of which nothing has been taken."""
        return len(self._asked)

    def ask(self, file: S) -> None:
        """Hand over a file."""
        line = wire.dumps(file)
        self._asked.append(line)
        self._unsent += line
        self._send()

    def next(self, idle: Callable[[], None]) -> T | Failure:
        """What was read of the file that was handed over first."""
        while b"\n" not in self._data:
            readable, writable, _ = select([self._answers], [self._files] if self._unsent else [], (), _IDLE)
            if writable:
                self._send()
            if not readable:
                idle()
            elif data := os.read(self._answers, _CHUNK):
                self._data += data
            else:
                return self._lost()
        line, _, rest = self._data.partition(b"\n")
        self._data = rest
        self._asked.popleft()
        return wire.loads(self._gives, bytes(line))

    def close(self) -> int:
        """End the process and give its status."""
        os.close(self._answers)
        os.close(self._files)
        return kill(self._pid)

    def _send(self) -> None:
        """Write what the pipe takes; the process may wait for its answers to be taken."""
        with suppress(BlockingIOError, BrokenPipeError):  # a process that has gone is noticed when it is listened to
            del self._unsent[: os.write(self._files, self._unsent)]

    def _lost(self) -> Failure:
        """Go on behind the file that has ended the process."""
        status = self.close()
        self._asked.popleft()
        self._data.clear()
        self._unsent = bytearray().join(self._asked)
        self._start()
        self._send()
        return Failure(f"the process that read it {ended(status)}", "nanguard")

    def _start(self) -> None:
        parent = os.getpid()
        files, self._files = os.pipe()
        self._answers, answers = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            self._serve(parent, files, answers)
        os.close(files)
        os.close(answers)
        os.set_blocking(self._files, False)

    def _serve(self, parent: int, files: int, answers: int) -> NoReturn:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
            die_with(parent)
            os.close(self._files)
            os.close(self._answers)
            collector.seldom()
            with open(files, "rb") as asked, open(answers, "wb") as stream:
                for line in asked:
                    stream.write(wire.dumps(self._read(wire.loads(self._takes, line))))
                    stream.flush()
        finally:
            os._exit(0)
