"""Values: what a configuration file says, as the settings hold it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from nanguard.config.keys import KINDS, Key
from nanguard.errors import NanguardError
from nanguard.nearest import nearest


class Wrong(Exception):
    """What is wrong with a value, for the end of a message."""


def value_of(key: Key, value: Any, folder: str) -> Any:
    """The value of a key as its setting; paths and patterns are relative to `folder`.  Raises `Wrong`."""
    match key.kind:
        case "switch" if isinstance(value, bool):
            return value
        case "selectors":
            return _texts(key, value)
        case "patterns":
            return tuple(rebased(text, folder) for text in _texts(key, value))
        case "files":
            return tuple(path_in(folder, text) for text in _texts(key, value))
        case "file" | "folder" if isinstance(value, str) and value:
            return path_in(folder, value)
        case "choice":
            return _choice(key, value)
        case "choices":
            listed = value if isinstance(value, list) and value else [value]
            return tuple(dict.fromkeys(_choice(key, text) for text in listed))
        case "count" if _number(value) and value >= 1 and value == int(value):
            return int(value)
        case "seconds" if _number(value) and value > 0:
            return float(value)
        case "eps" if _number(value) and 0 < value < 0.5:
            return float(value)
        case "selectors by pattern" if isinstance(value, dict):
            return {rebased(text, folder): _texts(key, inner, f"[{text!r}]") for text, inner in value.items()}
        case "ranges" if isinstance(value, dict):
            return {loss: _ranges(key, loss, inner) for loss, inner in value.items()}
    raise Wrong(f" is {shown(value)}; give {KINDS[key.kind]}")


def _texts(key: Key, value: Any, where: str = "") -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return tuple(value)
    given = next((part for part in value if not isinstance(part, str)), None) if isinstance(value, list) else value
    raise Wrong(f"{where} {'has' if isinstance(value, list) else 'is'} {shown(given)}; give {_list_of(key)}")


def _list_of(key: Key) -> str:
    return KINDS["selectors"] if key.kind == "selectors by pattern" else KINDS[key.kind]


def _choice(key: Key, value: Any) -> str:
    if isinstance(value, str) and value in key.choices:
        return value
    hint = nearest(value, key.choices) if isinstance(value, str) else ""
    raise Wrong(f" is {shown(value)}; give {' or '.join(repr(choice) for choice in key.choices)}{hint}")


def _ranges(key: Key, loss: str, value: Any) -> Mapping[str, str]:
    from nanguard.stated import parse_range

    file, mark, name = loss.partition("::")
    if not (file and mark and name):
        raise Wrong(f"[{loss!r}] names no loss; write FILE::NAME, such as 'losses.py::focal'")
    if not isinstance(value, dict):
        raise Wrong(f'[{loss!r}] is {shown(value)}; give a table such as {{ target = "0 <= target <= 1" }}')
    for parameter, text in value.items():
        if not isinstance(text, str):
            example = f'"0 <= {parameter} <= 1"'
            raise Wrong(f"[{loss!r}].{parameter} is {shown(text)}; give a text such as {example}")
        try:
            parse_range(text, parameter)
        except NanguardError as error:
            raise Wrong(f"[{loss!r}].{parameter}: {error}") from None
    return dict(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def shown(value: Any) -> str:
    """A value of a file in a message."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f"the text {value!r}"
        case int() | float():
            return f"the number {value}"
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "a table"
    return f"a {type(value).__name__}"


def path_in(folder: str, text: str) -> str:
    """A path of a file in `folder`, as the shorter one of absolute and relative to the current folder."""
    whole = os.path.join(folder, os.path.expanduser(text))
    relative = os.path.relpath(whole)
    return relative if not relative.startswith("..") else os.path.normpath(whole)


def rebased(pattern: str, folder: str) -> str:
    """A pattern that is relative to `folder`, an absolute path, as one that is relative to none."""
    negated = pattern.startswith("!")
    text = pattern[negated:]
    if "/" not in text[:-1]:
        return pattern
    while text.startswith(("./", "../", "/")):
        first, _, text = text.partition("/")
        folder = os.path.dirname(folder) if first == ".." else folder
    plain = re.sub(r"([*?\[\]\\])", r"\\\1", folder.replace(os.sep, "/")).rstrip("/")
    return f"{'!' * negated}{plain}/{text}"
