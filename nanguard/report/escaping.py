"""Escaping: text of a program, or the name of its file, as each kind of output can take it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def printable(text: str) -> str:
    """A line of a program for a terminal: what could steer it is one replacement character, so that columns hold."""
    return "".join(char if char == "\t" or char.isprintable() else "\ufffd" for char in text)


def visible(text: str) -> str:
    """A name or a message for a terminal, in one line: what does not print is escaped as in Python."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def valid(text: str) -> str:
    """A text that UTF-8 can hold: a byte of a path that is not UTF-8 (a lone surrogate) is escaped as in Python."""
    return text.encode("utf-8", "backslashreplace").decode()


def xml(text: str) -> str:
    """A text without the characters that XML cannot hold, not even escaped."""
    return _NOT_XML.sub("\ufffd", text)


def json_text(document: object, indent: int | None = 2) -> str:
    """A document as JSON that every reader takes: no nan, and no lone surrogates."""
    return json.dumps(_valid(document), indent=indent, allow_nan=False)


def _valid(part: Any) -> Any:
    if isinstance(part, str):
        return valid(part)
    if isinstance(part, Mapping):
        return {valid(key): _valid(value) for key, value in part.items()}
    if isinstance(part, (list, tuple)):
        return [_valid(value) for value in part]
    return part
