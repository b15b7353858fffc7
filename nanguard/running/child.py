"""Child: what the process that runs one file does; a fork of the server, or of one that is warm."""

from __future__ import annotations

import builtins
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NoReturn

from nanguard.running import wire
from nanguard.running.processes import die_with
from nanguard.running.wire import Answer, Failure, Request

_MEMORY = 4 << 30  # bytes a child may use beyond what the server has

# The file under examination may replace these; what ends and isolates its process is taken before it runs.
leave, _getpid, _write = os._exit, os.getpid, os.write
_BUILTINS = dict(vars(builtins))


def send(pipe: int, data: bytes) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[_write(pipe, view) :]


def run(request: Request, pipe: int, server: int, inherited: Iterable[int]) -> NoReturn:
    """Examine a file in this process, send the answer and end; never returns into the server."""
    own = _getpid()
    try:
        isolate(server, inherited)
        sys.argv = [request.path]

        def tell(seen: Mapping[str, str]) -> None:
            if _getpid() == own:
                send(pipe, wire.dumps(Answer(0, partial=True, seen=seen)))

        for answer in _examine(request, tell):
            if _getpid() != own:  # a copy that the file made of its process
                break
            send(pipe, wire.dumps(answer))
    finally:
        leave(0)


def isolate(server: int, inherited: Iterable[int]) -> None:
    """Cut this process off: a session of its own, no input, nowhere to print, limits; it ends with the server."""
    os.setsid()
    die_with(server)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for descriptor in inherited:
        os.close(descriptor)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    sys.dont_write_bytecode = True
    limit(resource.RLIMIT_CORE, 0)
    with suppress(OSError), open("/proc/self/statm") as file:
        limit(resource.RLIMIT_AS, int(file.read().split()[0]) * resource.getpagesize() + _MEMORY)


def limit(which: int, value: int) -> None:
    """Set a limit of this process (one of `resource`), no higher than it may be."""
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(which, (value, value))


def _examine(request: Request, tell: Callable[[Mapping[str, str]], None]) -> Iterator[Answer]:
    """The answers about a file: what is known before it is run, what each target adds, and what is known in the end."""
    from nanguard.analyse import stages

    running = False  # what the file holds
    try:
        for stage in stages(request.path, request.source, request.settings, request.names, tell):
            yield Answer(0, stage.result, partial=not stage.last, seen=stage.seen, hurried=stage.hurried)
            running = True
    except MemoryError:
        yield Answer(0, failure=Failure(f"needed more than {_MEMORY >> 30} GiB of memory"))
    except (SystemExit, KeyboardInterrupt, RecursionError) as error:
        yield Answer(0, failure=Failure(words(error)))
    except BaseException as error:  # stages answers for what the file raises
        if running and _meddled(error):
            yield Answer(0, failure=Failure(words(error)))
        else:
            yield Answer(0, failure=Failure(words(error), blame="nanguard", detail=traceback.format_exc()))


def _meddled(error: BaseException) -> bool:
    """Whether an exception is due to the file: its code lies on the way, or it has replaced what Python is made of."""
    from nanguard.tracing.places import is_user_file

    if any(vars(builtins).get(name) is not value for name, value in _BUILTINS.items()):
        return True
    return any(is_user_file(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__))


def words(error: BaseException) -> str:
    """An exception as one line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
