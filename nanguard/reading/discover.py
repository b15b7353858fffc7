"""Discover: from paths and node ids (``losses.py::FocalLoss``) to files, their text and their callables."""

from __future__ import annotations

import ast
import io
import os
import sys
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nanguard.errors import NanguardError
from nanguard.finding import Note, Span, Target
from nanguard.nearest import nearest

# Folders that hold other people's or generated code; they are searched where the user names them.
SKIPPED = frozenset({"venv", "node_modules", "__pycache__", "build", "dist", "site-packages"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


class SourceError(NanguardError):
    """A file that is no readable Python; `note` says so in a report."""

    def __init__(self, path: str, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")
        self.note = Note("NG001", path, line, message, failed=True)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to check: the path as the user gave it, the names asked for, and whether all of it was."""

    path: str
    names: tuple[str, ...] = ()
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Definition:
    """A function, method or class of a file by its dotted name."""

    name: str
    node: Function | ast.ClassDef
    kind: str  # function, method, module or class


def find(paths: Sequence[str]) -> tuple[list[SourceFile], list[Note]]:
    """The files that `paths` mean, each once and in order, and a note for each path that means none."""
    files: dict[str, SourceFile] = {}  # by real path
    notes: list[Note] = []
    for given in paths:
        path, name = split(given)
        if os.path.isdir(path) and not name:
            found = sorted(_walk(path, notes))
            if not found:
                notes.append(_failed(path, "no Python files in this folder; name a .py file or a folder that has some"))
            for file in found:
                _add(files, SourceFile(file))
        elif problem := _problem(given, path, name):
            notes.append(_failed(path, problem))
        else:
            _add(files, SourceFile(path, (name,), whole=False) if name else SourceFile(path))
    return list(files.values()), notes


def split(given: str) -> tuple[str, str | None]:
    """The path and the dotted name of a node id; no name where there is no ``::``."""
    path, mark, name = given.partition("::")
    if not mark or os.path.exists(given):
        return given, None
    return path, name.replace("::", ".")


def _problem(given: str, path: str, name: str | None) -> str | None:
    if not path:
        return f"{given!r} names no file; write FILE or FILE::NAME"
    if not os.path.lexists(path):
        return f"no such file or folder; nanguard looked for it from {os.getcwd()}"
    if os.path.isdir(path):
        return f"{given!r} asks for a name in a folder; write FILE::NAME"
    if not os.path.isfile(path):
        return "not a regular file; name a .py file or a folder"
    if name == "":
        return "no name after '::'; write FILE::NAME, or the file alone"
    return None


def _failed(path: str, message: str) -> Note:
    return Note("NG001", path, 0, message, failed=True)


def _add(files: dict[str, SourceFile], file: SourceFile) -> None:
    real = os.path.realpath(file.path)
    known = files.setdefault(real, file)
    names = tuple(dict.fromkeys((*known.names, *file.names)))
    files[real] = SourceFile(known.path, names, known.whole or file.whole)


def _walk(folder: str, notes: list[Note]) -> Iterator[str]:
    """The Python files below a folder; a folder that links lead to twice is visited once."""
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        real = os.path.realpath(here)
        if real in seen:
            continue
        seen.add(real)
        try:
            names = os.listdir(here)
        except OSError as error:
            notes.append(_failed(here, f"cannot be listed ({error.strerror}); change its permissions or leave it out"))
            continue
        for name in names:
            path = name if here == "." else os.path.join(here, name)
            if os.path.isdir(path):
                if not _skipped(name, path):
                    waiting.append(path)
            elif name.endswith(".py") and os.path.isfile(path):
                yield path


def _skipped(name: str, path: str) -> bool:
    if name.startswith(".") or name in SKIPPED or name.endswith(".egg-info"):
        return True
    return os.path.isfile(os.path.join(path, "pyvenv.cfg"))


# --- text and tree ---------------------------------------------------------------------------------------


def load_source(path: str) -> str:
    """The text of a file in the encoding it declares, line ends as ``\\n``; raises `SourceError`."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise SourceError(
            path, 0, f"cannot be read ({error.strerror}); change its permissions or leave it out"
        ) from None
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


def _statements(node: ast.AST) -> list[ast.AST]:
    """The statements, handlers and cases directly inside a node: only these can hold a definition."""
    inside: list[ast.AST] = []
    for field in ("body", "handlers", "cases", "orelse", "finalbody"):
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
            notes.append(_failed(f"{path}::{name}", f"no function or class of this name{hint}"))
    return notes
