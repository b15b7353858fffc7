"""Wire: what nanguard's own processes say to each other, as lines of JSON.

A process that runs somebody's file may send anything, so what arrives is only ever rebuilt into the
dataclasses that are expected, value by value; anything else is a `WireError`.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from nanguard.finding import FileResult
from nanguard.settings import Settings

T = TypeVar("T")


class WireError(ValueError):
    """A line that does not say what it should."""


@dataclass(frozen=True, slots=True)
class Request:
    """Examine a file; `names` limits the targets, None asks for all.

    A `fresh` one imports the package of the file anew, which may have been changed since the request before.  One that
    is `dropped` takes back the request of the same ticket.
    """

    ticket: int
    path: str
    source: str
    settings: Settings
    names: tuple[str, ...] | None
    fresh: bool = False
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file has no result, and what is to blame: file, time, nanguard, or setup (then no file can be run)."""

    reason: str
    blame: str = "file"
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request: `result` or `failure` (neither in the greeting of a server that is ready).

    `partial` answers come before it: what is known before anything of the file is run, what imports look for, and what
    each target adds then.  A failure that follows has all of these as its result.  `seen` are the files that the last
    answer depends on beside those that reading has seen, with their stamps; None says that another run may come to
    another result.  One that was `hurried` has left out something for want of time.
    """

    ticket: int
    result: FileResult | None = None
    failure: Failure | None = None
    partial: bool = False
    seen: Mapping[str, str] | None = None
    hurried: bool = False


def dumps(value: object) -> bytes:
    """A dataclass as one line of JSON, with the line's end."""
    return json.dumps(encode(value), separators=(",", ":")).encode("ascii") + b"\n"


def loads(kind: type[T], line: bytes) -> T:
    """The dataclass `kind` that a line says; raises `WireError`."""
    try:
        return cast(T, decode(kind, json.loads(line)))
    except (ValueError, RecursionError) as error:
        raise WireError(str(error)) from None


def encode(value: object) -> Any:
    """A value of dataclasses, tuples and mappings as plain dictionaries and lists."""
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [encode(part) for part in value]
    return value


def decode(kind: Any, data: Any) -> Any:
    """The inverse of `encode` for an annotated type; raises `WireError` where the data has another shape."""
    if is_dataclass(kind):
        return _dataclass(cast(type, kind), data)
    origin, args = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(data, list):
        return tuple(decode(args[0], part) for part in data)
    if origin is list and isinstance(data, list):
        return _plain(data)
    if origin is not None and isinstance(data, dict) and issubclass(cast(type, origin), Mapping):
        return {key: decode(args[1], part) for key, part in data.items()}
    if origin in (Union, types.UnionType):
        return _union(args, data)
    if kind is type(None) and data is None:
        return None
    if kind is float and isinstance(data, (int, float)):
        return data
    if kind is str and type(data) is str:
        return sys.intern(data)  # a path stands in every target of its file
    if kind in (int, bool) and type(data) is kind:
        return data
    raise WireError(f"{_brief(data)} is no {kind}")


def _dataclass(kind: type, data: Any) -> Any:
    hints = _hints(kind)
    if not isinstance(data, dict) or data.keys() != hints.keys():
        raise WireError(f"{_brief(data)} is no {kind.__name__}")
    return kind(**{name: decode(hint, data[name]) for name, hint in hints.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _union(kinds: tuple[Any, ...], data: Any) -> Any:
    for kind in kinds:
        try:
            return decode(kind, data)
        except WireError:
            continue
    raise WireError(f"{_brief(data)} is none of {', '.join(map(str, kinds))}")


def _plain(data: list[Any]) -> list[Any]:
    """A tensor of any depth: lists of numbers and of the texts that stand for inf and nan."""
    for part in data:
        if isinstance(part, list):
            _plain(part)
        elif not isinstance(part, (int, float, str)):
            raise WireError(f"{_brief(part)} is no number")
    return data


def _brief(data: Any) -> str:
    return repr(data)[:40]
