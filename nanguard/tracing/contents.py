"""Contents: the lists, dicts and sets that a callable can reach, to be put back after a run of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from nanguard.tracing.places import is_user_file

_CONTAINERS = (list, dict, set, deque, bytearray)
_DEEPEST = 2  # attributes of attributes
_MOST = 500


class Contents:
    """What is in the containers that a function can reach: by its names, its closure, and the object it belongs to."""

    def __init__(self, fn: Callable[..., Any], owner: object = None) -> None:
        self.saved: list[tuple[str, Any, Any]] = []
        self.seen: set[int] = set()
        for name, value in _reached(fn):
            self.save(name, value, 0)
        if owner is not None:
            self.save("self", owner, 0)

    def save(self, name: str, value: Any, depth: int) -> None:
        """Remember what is in a value, and in its attributes."""
        if id(value) in self.seen or len(self.seen) > _MOST:
            return
        self.seen.add(id(value))
        if type(value) in _CONTAINERS:
            self.saved.append((name, value, _copy(value)))
            return
        table = getattr(value, "__dict__", None)
        if type(table) is not dict or depth > _DEEPEST or isinstance(value, type | ModuleType | FunctionType):
            return
        if type(value).__module__.partition(".")[0] in ("torch", "nanguard"):  # their own affair
            return
        self.saved.append((name, table, dict(table)))
        for key, held in table.items():
            if not key.startswith("_"):
                self.save(f"{name}.{key}", held, depth + 1)
        for key, held in table.get("_modules", {}).items():
            self.save(f"{name}.{key}", held, depth)

    def restore(self) -> list[str]:
        """Put everything back; gives the names of what had changed."""
        changed: list[str] = []
        for name, container, before in self.saved:
            if not _same(container, before):
                changed.append(name)
                _refill(container, before)
        return changed


def _reached(fn: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """The values of the names that a function, and the functions it calls by name, use from outside."""
    waiting: list[Any] = [fn]
    seen: set[CodeType] = set()
    while waiting and len(seen) < _MOST:
        function = waiting.pop()
        function = getattr(function, "__func__", function)
        code = getattr(function, "__code__", None)
        if code is None or code in seen or not is_user_file(code.co_filename):
            continue
        seen.add(code)
        outside = dict(zip(code.co_freevars, map(_content, function.__closure__ or ()), strict=False))
        table = function.__globals__
        outside.update({name: table[name] for name in code.co_names if name in table})
        for index, default in enumerate(function.__defaults__ or ()):
            yield f"default {index}", default
        for name, value in outside.items():
            if isinstance(value, FunctionType):
                waiting.append(value)
            yield name, value


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None


def _copy(container: Any) -> Any:
    return bytes(container) if isinstance(container, bytearray) else container.copy()


def _same(container: Any, before: Any) -> bool:
    if isinstance(container, bytearray | set):
        return bool(container == before)
    if len(container) != len(before):
        return False
    if isinstance(container, dict):
        return all(key in before and before[key] is value for key, value in container.items())
    return all(one is other for one, other in zip(container, before, strict=True))


def _refill(container: Any, before: Any) -> None:
    container.clear()
    if isinstance(container, list | deque | bytearray):
        container.extend(before)
    else:
        container.update(before)
