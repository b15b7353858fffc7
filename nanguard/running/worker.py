"""Worker: asks another process to examine files, so that torch and other people's code stay out of this one.

That process (`nanguard.running.server`) loads torch once and forks for each file.  This side never blocks while there
is something else to do: `ask` hands over what the pipe takes, `answer` waits.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO

from nanguard.finding import FileResult
from nanguard.running import wire
from nanguard.running.processes import ended, processors
from nanguard.running.wire import Answer, Failure, Request
from nanguard.settings import Settings

_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); from nanguard.running.server import main; main(*map(int, sys.argv[2:]))"
)
_CHUNK = 1 << 16
_IDLE = 0.25  # seconds between calls of `idle`
_PATIENCE = 5.0  # seconds between asking the process to stop and stopping it

# One thread a file, no graphics card, no windows, sets in the same order each time.
_ENVIRONMENT = {
    "NANGUARD": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "MPLBACKEND": "agg",
    "PYTHONHASHSEED": "0",
}


class Worker:
    """Examines files in another process; use it as a context manager, so that no process is left behind."""

    def __init__(self, jobs: int = 0, verbose: bool = False, fresh: bool = False) -> None:
        """`jobs` files at a time (0: one for each processor); `fresh` for files that change while it lives."""
        self._jobs = self._at_a_time = jobs or processors()
        self._verbose, self._fresh = verbose, fresh
        self._process: subprocess.Popen[bytes] | None = None
        self._selector = selectors.DefaultSelector()
        self._outgoing = bytearray()
        self._incoming = bytearray()
        self._pending: dict[int, Request] = {}
        self._partial: dict[int, FileResult] = {}
        self._seen: dict[int, Mapping[str, str]] = {}  # files that partial answers depend on
        self._answers: dict[int, Answer] = {}
        self._tickets = 0
        self._ready = False
        self._broken: Failure | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def warm(self) -> None:
        """Start the process, so that it loads torch while this one goes on."""
        if self._process is None and self._broken is None:
            self._start()

    def ask(self, path: str, source: str, settings: Settings, names: tuple[str, ...] | None) -> int:
        """Hand a file over; the number returned fetches what became of it."""
        self.warm()
        self._tickets += 1
        request = Request(self._tickets, path, source, settings, names, self._fresh)
        self._pending[request.ticket] = request
        self._outgoing += wire.dumps(request)
        self._pump(0)
        return request.ticket

    def answer(self, ticket: int, idle: Callable[[], None] = lambda: None) -> Answer:
        """Wait for what became of a file: a result, a failure, or both where not all of it was run.

        `idle` is called now and then meanwhile.
        """
        while ticket not in self._answers:
            if self._broken is not None:
                self._conclude(Answer(ticket, failure=self._broken))
            else:
                self._pump(_IDLE)
                idle()
        return self._answers.pop(ticket)

    def drop(self, ticket: int) -> None:
        """Take back a file: nobody waits for its answer, and what it runs is ended."""
        request = self._pending.pop(ticket, None)
        self._answers.pop(ticket, None)
        self._partial.pop(ticket, None)
        self._seen.pop(ticket, None)
        if request is not None and self._process is not None:
            self._outgoing += wire.dumps(replace(request, source="", dropped=True))
            self._pump(0)

    def _conclude(self, answer: Answer) -> None:
        """Take the last answer about a file, beside what was known before it."""
        known, seen = self._partial.pop(answer.ticket, None), self._seen.pop(answer.ticket, None)
        if self._pending.pop(answer.ticket, None) is None:
            return  # it has been dropped
        if answer.result is None and known is not None:
            answer = replace(answer, result=known, seen=seen)
        self._answers[answer.ticket] = answer

    @property
    def broken(self) -> str | None:
        """Why no file at all can be run, once that is known."""
        return self._broken.reason if self._broken else None

    def close(self) -> None:
        """End the process and everything it started."""
        self._selector.close()
        if self._process is not None:
            _stop(self._process)
            self._process = None

    def _start(self) -> None:
        if not hasattr(os, "fork") or not sys.executable:
            self._broken = Failure("this system cannot fork a process", "setup")
            return
        root = str(Path(__file__).resolve().parent.parent.parent)
        self._ready = False
        self._incoming.clear()
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *_flags(),
                    "-P",
                    "-W",
                    "ignore",
                    "-c",
                    _BOOT,
                    root,
                    str(self._at_a_time),
                    str(os.getpid()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if self._verbose else subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT},
                start_new_session=True,  # Ctrl-C is for this process, which then ends that one
            )
        except OSError as error:
            self._broken = Failure(f"the process that runs files could not be started ({error.strerror})", "setup")
            return
        _, replies = _pipes(self._process)
        for pipe in _pipes(self._process):
            os.set_blocking(pipe.fileno(), False)
        self._selector.register(replies, selectors.EVENT_READ)

    def _pump(self, wait: float | None) -> None:
        """Write what the pipe takes and read what has come; `wait` for something to happen."""
        if self._process is None:
            return
        requests, replies = _pipes(self._process)
        if self._outgoing and requests not in self._selector.get_map():
            self._selector.register(requests, selectors.EVENT_WRITE)
        for key, _ in self._selector.select(wait):
            if key.fileobj is requests:
                self._write(requests)
            elif not self._read(replies):
                self._lost()
                return

    def _write(self, requests: IO[bytes]) -> None:
        try:
            sent = os.write(requests.fileno(), self._outgoing[:_CHUNK])
        except BlockingIOError:
            return
        except OSError:  # the process has gone; reading will say so
            sent = len(self._outgoing)
        del self._outgoing[:sent]
        if not self._outgoing:
            self._selector.unregister(requests)

    def _read(self, replies: IO[bytes]) -> bool:
        """Take in what has come, False at the end of the stream."""
        data = os.read(replies.fileno(), _CHUNK)
        self._incoming += data
        *lines, rest = self._incoming.split(b"\n") if b"\n" in data else (self._incoming,)
        self._incoming = bytearray(rest)
        for line in lines:
            answer = wire.loads(Answer, bytes(line))
            if answer.partial:
                self._note(answer)
            elif answer.ticket:
                self._conclude(answer)
            elif answer.failure is not None:
                self._broken = answer.failure
            else:
                self._ready = True
        return bool(data)

    def _note(self, answer: Answer) -> None:
        """Take what is known of a file before the last answer about it."""
        if answer.ticket not in self._pending:
            return  # it has been dropped
        if answer.result is not None:
            known = self._partial.get(answer.ticket)
            self._partial[answer.ticket] = answer.result if known is None else _joined(known, answer.result)
        if answer.seen is not None:
            self._seen[answer.ticket] = {**self._seen.get(answer.ticket, {}), **answer.seen}

    def _lost(self) -> None:
        """The server has gone: the file that ended it has failed, the others are handed over again."""
        assert self._process is not None
        for pipe in _pipes(self._process):
            if pipe in self._selector.get_map():
                self._selector.unregister(pipe)
        status = _stop(self._process)
        self._process = None
        self._outgoing.clear()
        if not self._ready:
            self._broken = self._broken or Failure(f"torch could not be loaded (the process {ended(status)})", "setup")
            return
        if self._at_a_time > 1:  # one of the running files did it: one at a time, to see which
            self._at_a_time = 1
        elif self._pending:
            self._at_a_time = self._jobs
            reason = f"the process that runs files {ended(status)}"
            self._conclude(Answer(next(iter(self._pending)), failure=Failure(reason)))
        if self._pending:
            self._start()
            for request in self._pending.values():
                self._outgoing += wire.dumps(request)


def _joined(known: FileResult, more: FileResult) -> FileResult:
    """What is known of a file, with what one of its targets adds."""
    targets = {(target.name, target.span): target for target in (*known.targets, *more.targets)}
    notes = (*known.notes, *more.notes)
    return FileResult(known.path, tuple(targets.values()), (*known.findings, *more.findings), notes)


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _stop(process: subprocess.Popen[bytes]) -> int:
    """End the server, which ends what it started, and give its status."""
    process.terminate()
    try:
        status = process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    for pipe in _pipes(process):
        pipe.close()
    return status


def _flags() -> list[str]:
    """The options of this interpreter that the other one should have too."""
    flags = [f"-X{key}" if value is True else f"-X{key}={value}" for key, value in sys._xoptions.items()]
    given = {"-I": sys.flags.isolated, "-E": sys.flags.ignore_environment, "-s": sys.flags.no_user_site}
    return flags + [flag for flag, value in given.items() if value]
