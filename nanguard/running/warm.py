"""Warm: a process that imports a package once and forks for each of its files.

Importing a package may take seconds, which each of its files would take again.  The package's process is a fork of
the server, with the limits of any child; the processes it forks are handed to the server, whose children they are
from then on.  Where it does not answer, the server forks by itself.  Needs Linux.
"""

from __future__ import annotations

import gc
import importlib
import importlib.abc
import os
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import NoReturn

from nanguard.running import wire
from nanguard.running.child import isolate, leave, run
from nanguard.running.processes import children, kill
from nanguard.running.wire import Request
from nanguard.tracing.imported import watch_imports
from nanguard.tracing.load import named_like, place

_PATIENCE = 5.0  # seconds that a fork may take
_PID = 8  # bytes
_READY, _FORK = b"r", b"f"

_fork, _getppid = os.fork, os.getppid


def package(path: str) -> str | None:
    """The folder of the outermost package of a file; None for one that is not kept: no package, or a part of torch."""
    folder, name = place(path)
    top = name.split(".")[0]
    inside = "." in name or os.path.basename(path) == "__init__.py"
    if sys.platform != "linux" or not inside or top in sys.modules or named_like(path, path) != path:
        return None
    return os.path.join(folder, top)


class Warm:
    """The process of one package, as the server has it."""

    def __init__(self, package: str, request: Request, inherited: Iterable[int]) -> None:
        """Start it; raises `OSError`."""
        self.package = package
        self.deadline = time.monotonic() + request.settings.timeout
        self.ready = False
        self._channel, theirs = socket.socketpair()
        server = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _serve(request.path, theirs, server, [*inherited, self.channel])
        theirs.close()

    @property
    def channel(self) -> int:
        """What is to be listened to until it is ready."""
        return self._channel.fileno()

    def listen(self) -> bool:
        """Take notice that the package is imported; False where it cannot be."""
        with suppress(OSError):
            self.ready = self._channel.recv(1) == _READY
        return self.ready

    def fork(self, request: Request) -> tuple[int, int] | None:
        """The process of a file, which is a child of this one now, and the pipe of its answers; None for a failure."""
        said = b""
        given = os.memfd_create("request")
        ours, theirs = os.pipe()
        with suppress(OSError):
            os.write(given, wire.dumps(request))
            self._channel.settimeout(_PATIENCE)
            socket.send_fds(self._channel, [_FORK], [given, theirs])
            said = self._channel.recv(_PID)
        os.close(given)
        os.close(theirs)
        pid = int.from_bytes(said, "big")
        if pid in children():
            return pid, ours
        os.close(ours)
        return None

    def close(self) -> None:
        """End it."""
        self._channel.close()
        kill(self.pid)


def _serve(path: str, channel: socket.socket, server: int, inherited: Iterable[int]) -> NoReturn:
    try:
        isolate(server, inherited)
        _import(path)
        if len(os.listdir("/proc/self/task")) == 1:  # what other threads hold, a fork would hold for ever
            gc.freeze()  # keeps the pages of all this shared with the children
            channel.send(_READY)
            while _answered(channel, server):
                pass
    finally:
        leave(0)


def _import(path: str) -> None:
    """Import the packages that a file lies in, to stay."""
    folder, name = place(path)
    sys.path.insert(0, folder)
    sys.meta_path.insert(0, _Finder(name.split(".")[0], path))
    watch_imports(name.split(".")[0])
    importlib.import_module(name if os.path.basename(path) == "__init__.py" else name.rpartition(".")[0])


@dataclass(frozen=True, slots=True)
class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of a package, whose code then names its file as the files to check are given."""

    package: str
    given: str

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:  # fmt: skip
        """The spec of a module of the package, None for any other."""
        if fullname.split(".")[0] != self.package:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, named_like(spec.loader.path, self.given))
        return spec


class _Loader(SourceFileLoader):
    """Loads a module by the name of its file as it is; what Python caches of it has the absolute one."""

    def get_code(self, fullname: str) -> CodeType | None:
        """The code of a module."""
        code = super().get_code(fullname)
        return code and _renamed(code, self.path)


def _renamed(code: CodeType, path: str) -> CodeType:
    constants = (_renamed(part, path) if isinstance(part, CodeType) else part for part in code.co_consts)
    return code.replace(co_filename=path, co_consts=tuple(constants))


def _answered(channel: socket.socket, server: int) -> bool:
    """Fork for the next file; False at the end."""
    message, descriptors, _, _ = socket.recv_fds(channel, 1, 2)
    if message != _FORK:
        return False
    given, answers = descriptors
    reader, writer = os.pipe()
    between = _fork()
    if between == 0:  # it ends at once, so that its child becomes the server's
        pid = _fork()
        if pid == 0:
            _handed_over(given, answers, server, [given, reader, writer, channel.fileno()])
        os.write(writer, pid.to_bytes(_PID, "big"))
        leave(0)
    os.waitpid(between, 0)
    channel.send(os.read(reader, _PID))
    for descriptor in (given, answers, reader, writer):
        os.close(descriptor)
    return True


def _handed_over(given: int, answers: int, server: int, inherited: Iterable[int]) -> NoReturn:
    try:
        data = os.pread(given, os.fstat(given).st_size, 0)
        request = wire.loads(Request, data)
        end = time.monotonic() + _PATIENCE
        while _getppid() != server and time.monotonic() < end:
            time.sleep(0.001)
        run(request, answers, server, inherited)  # ends at once where the server has ended
    finally:
        leave(0)
