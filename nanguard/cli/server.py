"""nanguard server."""

from __future__ import annotations

import logging
import os
import sys

import click

from nanguard.errors import NanguardError


@click.command(short_help="Start the language server, for editors.")
@click.option("--stdio", is_flag=True, help="Talk on standard input and output; there is no other way.  [default: on]")
@click.option("-v", "--verbose", is_flag=True, help="Log everything that is said to standard error.  [default: off]")
def server(stdio: bool, verbose: bool) -> None:
    """Start the language server: an editor talks to it on standard input and output.

    It checks files when they are opened and saved, as `nanguard check` does, and offers their fixes.
    """
    try:
        from nanguard.server.session import serve
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("pygls", "lsprotocol"):
            raise
        raise NanguardError("the language server needs pygls; install it: pip install 'nanguard[lsp]'") from None
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG if verbose else logging.WARNING)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed is no answer
    serve(sys.stdin.buffer, answers)
