"""Parse, call, exit."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

from nanguard import __version__
from nanguard.cli.check import check
from nanguard.cli.clean import clean
from nanguard.cli.config import config
from nanguard.cli.explain import explain_rule, rule
from nanguard.cli.rewrite import rewrite
from nanguard.cli.rules import list_rules
from nanguard.cli.server import server
from nanguard.cli.status import CLEAN, FAILED, FOUND, INTERRUPTED
from nanguard.errors import NanguardError

_ENDING = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; every error is one line on standard error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # what the terminal cannot show is no reason to fail
    with _orderly():
        status = _run(given)
    sys.exit(status)


class _Ended(BaseException):
    """This process was told to end."""


@contextmanager
def _orderly() -> Iterator[None]:
    """Leave nothing half-done where this process is told to end; it then ends by the same signal."""
    if threading.current_thread() is not threading.main_thread():  # only that one may say what signals do
        yield
        return
    told: list[int] = []

    def end(number: int, frame: FrameType | None) -> NoReturn:
        told.append(number)
        raise _Ended

    ours = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    except _Ended:
        signal.signal(told[0], signal.SIG_DFL)
        os.kill(os.getpid(), told[0])
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _run(given: list[str]) -> int:
    try:
        return int(cli.main(given, prog_name="nanguard", standalone_mode=False) or CLEAN)
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # which click has from 8.2
            click.echo(error.format_message(), err=True)
            return FAILED
        command = error.ctx.command_path if error.ctx else "nanguard"
        return _fail(f"{_lower(error.format_message()).rstrip('.')}; see {command} --help")
    except click.ClickException as error:
        return _fail(_lower(error.format_message()))
    except NanguardError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FOUND
    except Exception as error:
        if any(re.fullmatch(r"--verbose|-[a-z]*v[a-z]*", argument) for argument in given):
            raise
        what = f"internal error {type(error).__name__}: {error}"
        return _fail(f"{what}; this is a bug in nanguard; run with -v for the traceback")


def _fail(message: str, status: int = FAILED) -> int:
    click.echo(f"nanguard: error: {' '.join(message.split())}", err=True)
    return status


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="nanguard", message="%(prog)s %(version)s")
def cli() -> None:
    """Find, prove and repair numerical instability in PyTorch losses.

    Exit status: 0 nothing found, 1 findings, 2 nanguard could not do its job.
    """


for command in (check, list_rules, explain_rule, rule, rewrite, config, clean, server):
    cli.add_command(command)
