"""Server: the process that has torch loaded and forks a child for each file to examine.

It reads requests on its standard input and writes answers on its standard output (see `wire`).  A child has a
time and a memory limit, no standard input and nowhere to print; whatever it does, it costs its own file only.
The server ends, with everything it started, when its input ends or it is told to terminate.
"""

from __future__ import annotations

import gc
import importlib
import os
import selectors
import signal
import time
import traceback
from dataclasses import dataclass, field, replace
from functools import partial
from types import FrameType
from typing import NoReturn

from nanguard.running import wire
from nanguard.running.child import leave, run, send, words
from nanguard.running.keeper import keep
from nanguard.running.processes import adopt, children, die_with, ended, kill
from nanguard.running.warm import Warm, package
from nanguard.running.wire import Answer, Failure, Request

# Imported once here, instead of in every child.
_PRELOADED = ("nanguard.analyse", "nanguard.proof.confirm", "nanguard.repair.diagnose", "nanguard.tracing.traced")
_LARGEST = 64 << 20  # bytes of an answer
_CHUNK = 1 << 16
_TICK = 0.1  # seconds between looks for a child that ended while something it started holds its pipe open
_SWEEPS = 100


@dataclass(slots=True, eq=False)
class _Child:
    request: Request
    pid: int
    pipe: int
    deadline: float
    warm: bool  # forked from a process that has its package imported
    data: bytearray = field(default_factory=bytearray)  # of a line that has not arrived to its end
    received: int = 0  # bytes
    status: int | None = None  # once it has ended

    def ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status is not None

    def kill(self) -> int:
        """End it with its group and give its status."""
        status = kill(self.pid)
        return status if self.status is None else self.status


def main(jobs: int, parent: int) -> NoReturn:
    """Serve until the input ends, or the process `parent` that asks."""
    keep(parent, partial(_serve, jobs))


def _serve(jobs: int, keeper: int) -> NoReturn:
    die_with(keeper, signal.SIGTERM)
    requests, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)  # what torch prints while it loads is no answer
    if failure := _load():
        send(answers, wire.dumps(Answer(0, failure=failure)))
        leave(1)
    adopt()
    signal.signal(signal.SIGTERM, _terminated)
    server = _Server(requests, answers, jobs)
    try:
        send(answers, wire.dumps(Answer(0)))
        server.serve()
    except (SystemExit, BrokenPipeError):
        pass  # told to terminate, or whoever asked has gone
    finally:
        server.end()
    leave(0)


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
        return Failure(f"torch could not be loaded ({words(error)})", "setup", traceback.format_exc())
    gc.freeze()  # keeps the pages of all this shared with the children
    return None


class _Server:
    def __init__(self, requests: int, answers: int, jobs: int) -> None:
        self._requests, self._answers, self._jobs = requests, answers, jobs
        self._input = bytearray()
        self._waiting: list[Request] = []
        self._dropped: list[Request] = []
        self._running: dict[int, _Child] = {}  # by pipe
        self._warm: Warm | None = None
        self._package: str | None = None  # of the latest file
        self._cold: set[str] = set()  # packages that cannot be kept warm
        self._selector = selectors.PollSelector()  # epoll would be shared with the children
        self._selector.register(requests, selectors.EVENT_READ)

    def serve(self) -> None:
        while True:
            while self._waiting and len(self._running) < self._jobs and self._prepared(self._waiting[0]):
                self._fork(self._waiting.pop(0))
            for key, _ in self._selector.select(self._pause()):
                if key.fd in self._running:
                    self._listen(self._running[key.fd])
                elif key.fd != self._requests:
                    self._warmed()
                elif not self._receive():
                    return
            if self._dropped:
                self._drop()
            self._look()

    def end(self) -> None:
        """Kill every child and what the children started."""
        for child in self._running.values():
            child.kill()
        self._running.clear()
        self._cool()
        self._sweep()

    def _pause(self) -> float | None:
        if not self._running and (self._warm is None or self._warm.ready):
            return None
        return _TICK

    def _receive(self) -> bool:
        data = os.read(self._requests, _CHUNK)
        self._input += data
        if b"\n" in data:
            *lines, rest = self._input.split(b"\n")
            self._input = bytearray(rest)
            for request in (wire.loads(Request, bytes(line)) for line in lines):
                (self._dropped if request.dropped else self._waiting).append(request)
        return bool(data)

    def _drop(self) -> None:
        """Take back the requests that are not wanted any more, whether they wait or run."""
        tickets = {request.ticket for request in self._dropped}
        self._dropped.clear()
        self._waiting = [request for request in self._waiting if request.ticket not in tickets]
        for child in list(self._running.values()):
            if child.request.ticket in tickets:
                self._finish(child, Failure("was not wanted any more"))

    def _prepared(self, request: Request) -> bool:
        """Whether a file can be run: the second one of a package waits until the package is imported for all."""
        folder = package(request.path)
        if self._warm is not None and self._warm.package != folder:
            self._cool()
        if folder is None or folder in self._cold or request.settings.static or request.fresh:
            return True
        if folder != self._package:
            self._package = folder
            return True
        if self._warm is None:
            try:
                self._warm = Warm(folder, request, [self._requests, self._answers, *self._running])
            except OSError:
                self._cold.add(folder)
                return True
            self._selector.register(self._warm.channel, selectors.EVENT_READ)
        return self._warm.ready

    def _warmed(self) -> None:
        """The package of the next files is imported, or it cannot be."""
        assert self._warm is not None
        self._selector.unregister(self._warm.channel)
        if not self._warm.listen():
            self._cool(for_ever=True)

    def _cool(self, for_ever: bool = False) -> None:
        """End the process that has a package imported."""
        if self._warm is None:
            return
        if self._warm.channel in self._selector.get_map():
            self._selector.unregister(self._warm.channel)
        if for_ever:
            self._cold.add(self._warm.package)
        self._warm.close()
        self._warm = None
        self._sweep()

    def _fork(self, request: Request) -> None:
        warm = self._warm.fork(request) if self._warm is not None else None
        if warm is None:
            self._cool(for_ever=True)
        forked = warm or self._forked(request)
        if isinstance(forked, Failure):
            self._answer(request, forked)
            return
        pid, pipe = forked
        deadline = time.monotonic() + request.settings.timeout
        self._running[pipe] = _Child(request, pid, pipe, deadline, warm is not None)
        self._selector.register(pipe, selectors.EVENT_READ)

    def _forked(self, request: Request) -> tuple[int, int] | Failure:
        ours, theirs = os.pipe()
        own = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(ours)
            os.close(theirs)
            return Failure(f"no process could be started for it ({error.strerror})")
        if pid == 0:
            run(request, theirs, own, [ours, self._requests, self._answers, *self._running])
        os.close(theirs)
        return pid, ours

    def _listen(self, child: _Child) -> None:
        """Hand on what a child says; the first answer that is not partial is its last."""
        data = os.read(child.pipe, _CHUNK)
        *lines, rest = (bytes(child.data) + data).split(b"\n")
        child.data, child.received = bytearray(rest), child.received + len(data)
        for line in lines:
            answer = _said(line)
            if isinstance(answer, Failure) or not answer.partial:
                self._finish(child, answer)
                return
            self._answer(child.request, answer)
        if not data:
            self._finish(child)
        elif child.received > _LARGEST:
            self._finish(child, Failure("sent an answer that is too long"))

    def _look(self) -> None:
        """End the children whose time is up, and those that are dead though their pipe is still open."""
        now = time.monotonic()
        if self._warm is not None and not self._warm.ready and now >= self._warm.deadline:
            self._cool(for_ever=True)
        for child in list(self._running.values()):
            if now >= child.deadline:
                limit = f"{child.request.settings.timeout:g} s"
                self._finish(child, Failure(f"took longer than {limit} (--timeout)", "time"))
            elif child.ended() and not any(key.fd == child.pipe for key, _ in self._selector.select(0)):
                self._finish(child)

    def _finish(self, child: _Child, outcome: Answer | Failure | None = None) -> None:
        self._selector.unregister(child.pipe)
        del self._running[child.pipe]
        os.close(child.pipe)
        status = child.kill()
        self._sweep()
        if outcome is None and child.warm and status == -signal.SIGKILL:  # it may have gone with the warm process
            self._cold.add(package(child.request.path) or "")
            self._waiting.insert(0, child.request)
            return
        self._answer(child.request, outcome or Failure(f"{ended(status)} before it answered"))

    def _answer(self, request: Request, outcome: Answer | Failure) -> None:
        answer = Answer(0, failure=outcome) if isinstance(outcome, Failure) else outcome
        send(self._answers, wire.dumps(replace(answer, ticket=request.ticket)))

    def _sweep(self) -> None:
        """Kill the processes that children left behind, which are this one's now: it is their subreaper."""
        for _ in range(_SWEEPS):
            kept = {child.pid for child in self._running.values()} | {self._warm.pid if self._warm is not None else 0}
            strays = children() - kept
            if not strays:
                return
            for pid in strays:
                kill(pid)


def _said(line: bytes) -> Answer | Failure:
    try:
        return wire.loads(Answer, line)
    except wire.WireError:
        return Failure("sent an answer that cannot be read")
