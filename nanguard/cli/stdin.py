"""Standard input as a file to check."""

from __future__ import annotations

import linecache
import sys

from nanguard.errors import NanguardError
from nanguard.reading.discover import SourceFile, load_source


def asked_for(paths: tuple[str, ...], stdin_filename: str | None) -> list[str | SourceFile]:
    """What is to be checked; standard input is read here."""
    if "-" not in paths and (stdin_filename is None or paths):
        if stdin_filename is not None:
            raise NanguardError("--stdin-filename names standard input; give - as the path, or leave it out")
        return list(paths or (".",))
    if len(paths) > 1:
        raise NanguardError("standard input (-) is checked alone; leave out the other paths")
    file = SourceFile(stdin_filename or "-", data=sys.stdin.buffer.read())
    remember(file)
    return [file]


def remember(file: SourceFile) -> None:
    """Let messages show the lines of a text that is not in a file, or not yet."""
    try:
        text = load_source(file.path, file.data)
    except NanguardError:  # the check says so
        return
    linecache.cache[file.path] = (len(text), None, text.splitlines(keepends=True), file.path)
