"""Keeper: the process around the server, which leaves nothing behind however the server ends.

A file can end the server, too; what other files have started just then becomes the keeper's, which ends it.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from nanguard.running.child import limit
from nanguard.running.processes import adopt, children, die_with, kill

_PATIENCE = 3.0  # seconds for ending what the server has left behind


def keep(parent: int, serve: Callable[[int], NoReturn]) -> NoReturn:
    """Run `serve`, which is given the id of this process, in one of its own, and end as it ends.

    Ends everything when it is told to terminate, and when the process `parent` ends.
    """
    own = os.getpid()
    signal.signal(signal.SIGTERM, _terminated)
    die_with(parent, signal.SIGTERM)
    adopt()
    server, status = 0, 0
    try:
        server = os.fork()
        if server == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            serve(own)
        status = os.waitstatus_to_exitcode(os.waitpid(server, 0)[1])
    except SystemExit:
        pass  # told to terminate: what follows ends everything
    finally:
        if os.getpid() == own:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            _clear(server)
            _end(status)
        os._exit(1)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _clear(server: int) -> None:
    """End the server and all that becomes this process's child with that."""
    if server:
        kill(server)
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        for pid in children():
            kill(pid)
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return


def _end(status: int) -> NoReturn:
    """End with the status of the server, by the same signal where it was one."""
    if status < 0:
        limit(resource.RLIMIT_CORE, 0)
        with suppress(ValueError, OSError):  # not every signal can be set
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(max(status, 0))
