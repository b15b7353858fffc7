"""Readers: processes that read files side by side; they run nothing of the files.

Each takes every n-th file and says what it has read in that order, so that the outcome is the same for any n.  What
it has said and nobody has taken waits in its pipe: a reader that is ahead waits, too, and memory stays flat.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Generator, Sequence
from select import select
from typing import Generic, NoReturn, TypeVar

from nanguard.running import wire
from nanguard.running.processes import die_with, ended, kill
from nanguard.running.wire import Failure

T = TypeVar("T")
S = TypeVar("S")

_CHUNK = 1 << 16
_IDLE = 0.25  # seconds between calls of `idle`


def read_all(
    files: Sequence[S], kind: type[T], read: Callable[[S], T], jobs: int, idle: Callable[[], None]
) -> Generator[T | Failure, None, None]:  # fmt: skip
    """What `read` says about each file, in order, by `jobs` processes; `kind` is the dataclass that it returns.

    A file that ends its reader is a `Failure`, and the others go on.  `idle` is called now and then while this waits.
    """
    readers: list[_Reader[S, T]] = []
    try:
        for first in range(jobs):
            readers.append(_Reader(files[first::jobs], kind, read))
        for number in range(len(files)):
            yield readers[number % jobs].next(idle)
    finally:
        for reader in readers:
            reader.close()


class _Reader(Generic[S, T]):
    """A process that reads files, and is started again behind a file that has ended it."""

    def __init__(self, files: Sequence[S], kind: type[T], read: Callable[[S], T]) -> None:
        self._files, self._kind, self._read = files, kind, read
        self._done = 0
        self._data = bytearray()
        self._start()

    def next(self, idle: Callable[[], None]) -> T | Failure:
        """What was read of the next file."""
        while b"\n" not in self._data:
            if not select([self._pipe], (), (), _IDLE)[0]:
                idle()
            elif data := os.read(self._pipe, _CHUNK):
                self._data += data
            else:
                return self._lost()
        line, _, rest = self._data.partition(b"\n")
        self._data = rest
        self._done += 1
        return wire.loads(self._kind, bytes(line))

    def close(self) -> int:
        """End the process and give its status."""
        os.close(self._pipe)
        return kill(self._pid)

    def _lost(self) -> Failure:
        """Go on behind the file that has ended the process."""
        status = self.close()
        self._done += 1
        self._data.clear()
        self._start()
        return Failure(f"the process that read it {ended(status)}", "nanguard")

    def _start(self) -> None:
        parent = os.getpid()
        self._pipe, theirs = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            self._serve(parent, theirs)
        os.close(theirs)

    def _serve(self, parent: int, pipe: int) -> NoReturn:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
            die_with(parent)
            os.close(self._pipe)
            gc.freeze()
            with open(pipe, "wb") as stream:
                for file in self._files[self._done :]:
                    stream.write(wire.dumps(self._read(file)))
                    stream.flush()
        finally:
            os._exit(0)
