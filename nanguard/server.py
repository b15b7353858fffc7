"""Server: the process that has torch loaded and forks a child for each file to examine.

It reads requests on its standard input and writes answers on its standard output (see `wire`).  A child has a
time and a memory limit, no standard input and nowhere to print; whatever it does, it costs its own file only.
The server ends, with everything it started, when its input ends or it is told to terminate.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import resource
import selectors
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import NoReturn

from nanguard import wire
from nanguard.wire import Answer, Failure, Request
from nanguard.worker import ended

_PRELOADED = ("nanguard.analyse", "nanguard.confirm", "nanguard.traced")  # once here, instead of in every child
_MEMORY = 4 << 30  # bytes a child may use beyond what the server has
_LARGEST = 64 << 20  # bytes of an answer
_CHUNK = 1 << 16
_TICK = 0.1  # seconds between looks for a child that ended while something it started holds its pipe open
_SWEEPS = 100
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

# The file under examination may replace these; what ends and isolates its process is taken before it runs.
_exit, _getpid, _write = os._exit, os.getpid, os.write


@dataclass(slots=True, eq=False)
class _Child:
    request: Request
    pid: int
    pipe: int
    deadline: float
    data: bytearray = field(default_factory=bytearray)
    status: int | None = None  # once it has ended

    def ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status is not None

    def kill(self) -> int:
        """End it with its group and give its status."""
        status = _kill(self.pid)
        return status if self.status is None else self.status


def main(jobs: int) -> NoReturn:
    """Serve until the input ends."""
    requests, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)  # what torch prints while it loads is no answer
    if failure := _load():
        _send(answers, wire.dumps(Answer(0, failure=failure)))
        _exit(1)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, _terminated)
    server = _Server(requests, answers, jobs)
    try:
        _send(answers, wire.dumps(Answer(0)))
        server.serve()
    except (SystemExit, BrokenPipeError):
        pass
    finally:
        server.end()
    _exit(0)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _load() -> Failure | None:
    """Import what every child needs, so that it is there after the fork."""
    try:
        torch = importlib.import_module("nanguard.lazy").load_torch()
        torch.set_num_threads(1)
        for name in _PRELOADED:
            importlib.import_module(name)
    except BaseException as error:  # a broken installation can raise anything
        return Failure(f"torch could not be loaded ({_words(error)})", "setup", traceback.format_exc())
    gc.freeze()  # keeps the pages of all this shared with the children
    return None


class _Server:
    def __init__(self, requests: int, answers: int, jobs: int) -> None:
        self._requests, self._answers, self._jobs = requests, answers, jobs
        self._input = bytearray()
        self._waiting: list[Request] = []
        self._running: dict[int, _Child] = {}  # by pipe
        self._selector = selectors.PollSelector()  # epoll would be shared with the children
        self._selector.register(requests, selectors.EVENT_READ)

    def serve(self) -> None:
        while True:
            while self._waiting and len(self._running) < self._jobs:
                self._fork(self._waiting.pop(0))
            for key, _ in self._selector.select(self._pause()):
                if key.fd != self._requests:
                    self._listen(self._running[key.fd])
                elif not self._receive():
                    return
            self._look()

    def end(self) -> None:
        """Kill every child and what the children started."""
        for child in self._running.values():
            child.kill()
        self._running.clear()
        self._sweep()

    def _pause(self) -> float | None:
        if not self._running:
            return None
        nearest = min(child.deadline for child in self._running.values())
        return max(0.0, min(_TICK, nearest - time.monotonic()))

    def _receive(self) -> bool:
        data = os.read(self._requests, _CHUNK)
        self._input += data
        if b"\n" in data:
            *lines, rest = self._input.split(b"\n")
            self._input = bytearray(rest)
            self._waiting.extend(wire.loads(Request, bytes(line)) for line in lines)
        return bool(data)

    def _fork(self, request: Request) -> None:
        ours, theirs = os.pipe()
        own = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(ours)
            os.close(theirs)
            self._answer(request, Failure(f"no process could be started for it ({error.strerror})"))
            return
        if pid == 0:
            _child(request, theirs, own, [ours, self._requests, self._answers, *self._running])
        os.close(theirs)
        child = _Child(request, pid, ours, time.monotonic() + request.settings.timeout)
        self._running[ours] = child
        self._selector.register(ours, selectors.EVENT_READ)

    def _listen(self, child: _Child) -> None:
        data = os.read(child.pipe, _CHUNK)
        child.data += data
        if not data or data.endswith(b"\n"):
            self._finish(child)
        elif len(child.data) > _LARGEST:
            self._finish(child, Failure("sent an answer that is too long"))

    def _look(self) -> None:
        """End the children whose time is up, and those that are dead though their pipe is still open."""
        now = time.monotonic()
        for child in list(self._running.values()):
            if now >= child.deadline:
                limit = f"{child.request.settings.timeout:g} s"
                self._finish(child, Failure(f"took longer than {limit} (--timeout)"))
            elif child.ended() and not any(key.fd == child.pipe for key, _ in self._selector.select(0)):
                self._finish(child)

    def _finish(self, child: _Child, failure: Failure | None = None) -> None:
        self._selector.unregister(child.pipe)
        del self._running[child.pipe]
        os.close(child.pipe)
        status = child.kill()
        self._sweep()
        self._answer(child.request, failure or _outcome(bytes(child.data), status))

    def _answer(self, request: Request, outcome: Answer | Failure) -> None:
        answer = Answer(0, failure=outcome) if isinstance(outcome, Failure) else outcome
        _send(self._answers, wire.dumps(replace(answer, ticket=request.ticket)))

    def _sweep(self) -> None:
        """Kill the processes that children left behind, which are this one's now: it is their subreaper."""
        for _ in range(_SWEEPS):
            strays = _children() - {child.pid for child in self._running.values()}
            if not strays:
                return
            for pid in strays:
                _kill(pid)


def _outcome(data: bytes, status: int) -> Answer | Failure:
    if not data.endswith(b"\n"):
        return Failure(f"{ended(status)} before it answered")
    try:
        return wire.loads(Answer, data)
    except wire.WireError:
        return Failure("sent an answer that cannot be read")


def _kill(pid: int) -> int:
    """Kill a process with its group and give its status; one that ended by itself keeps its own."""
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except OSError:
        return 0


def _children() -> set[int]:
    """The children of this process, where the system tells."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return {int(pid) for pid in file.read().split()}
    except OSError:
        return set()


def _prctl(option: int, value: int) -> None:
    """Set an option of this process, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _send(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[_write(pipe, view) :]


# --- in the child ----------------------------------------------------------------------------------------


def _child(request: Request, pipe: int, server: int, inherited: list[int]) -> NoReturn:
    """Examine a file in this process, send the answer and end; never returns into the server."""
    own = _getpid()
    try:
        _isolate(server, inherited)
        sys.argv = [request.path]
        data = wire.dumps(_examine(request))
        if _getpid() == own:  # and not a copy that the file made of its process
            _send(pipe, data)
    finally:
        _exit(0)


def _isolate(server: int, inherited: list[int]) -> None:
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # it died first
        _exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for descriptor in inherited:
        os.close(descriptor)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    sys.dont_write_bytecode = True
    _limit(resource.RLIMIT_CORE, 0)
    with suppress(OSError), open("/proc/self/statm") as file:
        _limit(resource.RLIMIT_AS, int(file.read().split()[0]) * resource.getpagesize() + _MEMORY)


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(which, (value, value))


def _examine(request: Request) -> Answer:
    from nanguard.analyse import examine

    try:
        return Answer(0, examine(request.path, request.source, request.settings, request.names))
    except MemoryError:
        return Answer(0, failure=Failure(f"needed more than {_MEMORY >> 30} GiB of memory"))
    except (SystemExit, KeyboardInterrupt, RecursionError) as error:
        return Answer(0, failure=Failure(_words(error)))
    except BaseException as error:  # examine answers for what the file raises; this is our own
        return Answer(0, failure=Failure(_words(error), blame="nanguard", detail=traceback.format_exc()))


def _words(error: BaseException) -> str:
    """An exception as one line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
