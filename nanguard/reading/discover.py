"""Discover: a file, its text and its callables."""

from __future__ import annotations

import ast
import errno
import io
import os
import stat
import sys
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nanguard.errors import NanguardError
from nanguard.finding import Note, Span, Target
from nanguard.nearest import nearest

Function = ast.FunctionDef | ast.AsyncFunctionDef


class SourceError(NanguardError):
    """A file that is no readable Python; `note` says so in a report."""

    def __init__(self, path: str, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")
        self.note = Note("NG001", path, line, message, failed=True)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to check: the path as the user gave it, the names asked for, and whether all of it was.

    `data` is what it holds, where that does not come from the disk.
    """

    path: str
    names: tuple[str, ...] = ()
    whole: bool = True
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """A function, method or class of a file by its dotted name."""

    name: str
    node: Function | ast.ClassDef
    kind: str  # function, method, module or class


# --- text and tree ---------------------------------------------------------------------------------------


def bytes_of(path: str) -> bytes:
    """What a file holds; raises `OSError`, also for what has become a folder or a pipe since it was found."""
    with open(path, "rb", opener=without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file any more")
        return file.read()


def without_waiting(path: str, flags: int) -> int:
    """An opener for `open` that does not wait for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def load_source(path: str, data: bytes | None = None) -> str:
    """The text of a file in the encoding it declares, line ends as ``\\n``; raises `SourceError`.

    `data` is what the file holds, where that is not to be read from the disk.
    """
    if data is None:
        try:
            data = bytes_of(path)
        except OSError as error:
            message = f"cannot be read ({error.strerror}); change its permissions or leave it out"
            raise SourceError(path, 0, message) from None
    if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise SourceError(path, line, "has a null byte, so it is no Python source; leave it out")
    text = _decode(path, data)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode(path: str, data: bytes) -> str:
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except (SyntaxError, LookupError, ValueError) as error:
        bad = error if isinstance(error, UnicodeDecodeError) else _not_utf8(data)
        cause = str(error)
    if bad is None:
        message = f"declares an encoding that cannot be used ({cause}); declare the one it has"
        raise SourceError(path, 1, message)
    line = data.count(b"\n", 0, bad.start) + 1
    message = f"is not {bad.encoding.upper()}; save it as UTF-8, or declare its encoding in the first line"
    raise SourceError(path, line, message)


def _not_utf8(data: bytes) -> UnicodeDecodeError | None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error
    return None


def parse(path: str, source: str) -> ast.Module:
    """The tree of a file; raises `SourceError` for text that this Python does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in somebody's strings
            return ast.parse(source, filename=path)
    except SyntaxError as error:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        message = f"does not parse as Python {version}: {error.msg}; correct it or leave the file out"
        raise SourceError(path, error.lineno or 1, message) from None
    except (RecursionError, MemoryError):
        raise SourceError(path, 1, "is nested too deeply to be parsed; split its expressions or leave it out") from None
    except ValueError as error:
        raise SourceError(path, 1, f"does not parse: {error}; correct it or leave the file out") from None


# --- definitions -----------------------------------------------------------------------------------------


def targets(path: str, tree: ast.Module) -> tuple[Target, ...]:
    """Every function and method of a file, nested ones too, in the order of the source."""
    return tuple(
        Target(path, found.name, span_of(path, found.node), found.kind)
        for found in definitions(tree)
        if found.kind != "class"
    )


def definitions(tree: ast.Module) -> Iterator[Definition]:
    """What a file defines with ``def`` and ``class``, by dotted name: ``outer.inner``, ``Class.method``."""
    modules: set[str] = set()
    waiting: list[tuple[ast.AST, str, str]] = [(tree, "", "")]  # node, prefix of its name, kind of class around it
    while waiting:
        node, prefix, around = waiting.pop()
        match node:
            case ast.ClassDef():
                yield Definition(prefix + node.name, node, "class")
                around = "module" if _is_module(node, modules) else "class"
                if around == "module":
                    modules.add(node.name)
                prefix = f"{prefix}{node.name}."
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                kind = "function" if not around else "method"
                forward = around == "module" and node.name == "forward"
                yield Definition(prefix + node.name, node, "module" if forward else kind)
                prefix, around = f"{prefix}{node.name}.", ""
        waiting.extend((child, prefix, around) for child in reversed(_statements(node)))


_BODIES = ("body", "handlers", "cases", "orelse", "finalbody")
_HELD = {  # by the kind of node
    kind: tuple(name for name in _BODIES if name in kind._fields)
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}


def _statements(node: ast.AST) -> list[ast.AST]:
    """The statements, handlers and cases directly inside a node: only these can hold a definition."""
    inside: list[ast.AST] = []
    for field in _HELD[type(node)]:
        part = getattr(node, field, None)
        if isinstance(part, list):  # the body of a conditional expression or a lambda is no list
            inside.extend(part)
    return inside


def _is_module(node: ast.ClassDef, modules: set[str]) -> bool:
    for base in node.bases:
        if isinstance(base, ast.Subscript):
            base = base.value
        name = base.attr if isinstance(base, ast.Attribute) else base.id if isinstance(base, ast.Name) else ""
        if name.endswith(("Module", "Loss")) or name in modules:
            return True
    return False


def span_of(path: str, node: ast.stmt | ast.expr) -> Span:
    """Where a node stands."""
    end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
    return Span(path, node.lineno, node.col_offset, end_line, end_column)


def wanted(name: str, names: Sequence[str] | None) -> bool:
    """Whether a target is asked for: by its own name or by that of a class or function around it."""
    return names is None or any(name == one or name.startswith(one + ".") for one in names)


def check_names(path: str, tree: ast.Module, names: Sequence[str]) -> list[Note]:
    """A note for each name that the file does not define."""
    known = [found.name for found in definitions(tree)]
    notes = []
    for name in names:
        if name not in known:
            hint = nearest(name, known) or "; it has " + (", ".join(known[:5]) if known else "no function or class")
            notes.append(failed(f"{path}::{name}", f"no function or class of this name{hint}"))
    return notes


def failed(path: str, message: str) -> Note:
    """A note about a path that cannot be checked."""
    return Note("NG001", path, 0, message, failed=True)
