"""Discover: from paths and node ids (``losses.py::FocalLoss``) to files, their text and their callables."""

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
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

from nanguard.errors import NanguardError
from nanguard.finding import Note, Span, Target
from nanguard.nearest import nearest
from nanguard.settings import Settings

if TYPE_CHECKING:
    from nanguard.reading.folders import Excluded

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


def find(paths: Sequence[str | SourceFile], settings: Settings | None = None) -> tuple[list[SourceFile], list[Note]]:
    """The files that `paths` mean, each once and in order, and a note for each path that means none.

    Folders are searched without what the settings exclude; what is named itself is excluded only by
    `force_exclude`.
    """
    settings = settings or Settings()
    root = os.path.abspath(settings.root)
    excluded: Excluded | None = None  # made where a folder is searched, which a run on single files does not need
    files: dict[str, SourceFile] = {}  # by real path
    notes: list[Note] = []
    for given in paths:
        path, name = (given.path, None) if isinstance(given, SourceFile) else split(given)
        folder = os.path.isdir(path) and not name
        if folder or settings.force_exclude:
            excluded = excluded or _excluded(settings, root)
            if settings.force_exclude and excluded.covers(path):
                continue
        if isinstance(given, SourceFile):
            _add(files, given, os.path.realpath(path))
        elif folder and excluded is not None:
            for found, real in excluded.below(path, partial(_unlisted, notes)):
                _add(files, SourceFile(found), real)
        elif problem := _problem(given, path, name):
            notes.append(_failed(path, problem))
        else:
            named = SourceFile(path, (name,), whole=False) if name else SourceFile(path)
            _add(files, named, os.path.realpath(path))
    return [file for file in files.values() if _in_shard(file.path, settings.shard, root)], notes


def _excluded(settings: Settings, root: str) -> Excluded:
    from nanguard.reading.folders import Excluded

    return Excluded(settings.exclude, root)


def _in_shard(path: str, shard: tuple[int, int] | None, root: str) -> bool:
    """Whether a file belongs to a part, by its path in the project: whatever else there is, it is in the same one."""
    if shard is None:
        return True
    inside = os.path.relpath(path, root).replace(os.sep, "/")
    return crc32(os.fsencode(inside)) % shard[1] == shard[0] - 1


def split(given: str) -> tuple[str, str | None]:
    """The path and the dotted name of a node id; no name where there is no ``::``."""
    if "::" not in given or os.path.exists(given):
        return given, None
    path, _, name = given.partition("::")
    ends = [end for end in range(len(given)) if given.startswith("::", end)]
    known = next((end for end in reversed(ends) if os.path.exists(given[:end])), None)  # a name may have :: in it, too
    if known is not None:
        path, name = given[:known], given[known + 2 :]
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
    if path.endswith(".ipynb"):
        return "is a notebook, which nanguard does not read; export it as a script and check that"
    if name == "":
        return "no name after '::'; write FILE::NAME, or the file alone"
    return None


def _failed(path: str, message: str) -> Note:
    return Note("NG001", path, 0, message, failed=True)


def _unlisted(notes: list[Note], path: str, reason: str) -> None:
    notes.append(_failed(path, f"cannot be listed ({reason}); change its permissions or leave it out"))


def _add(files: dict[str, SourceFile], file: SourceFile, real: str) -> None:
    known = files.setdefault(real, file)
    if known is not file:
        names = tuple(dict.fromkeys((*known.names, *file.names)))
        files[real] = replace(known, names=names, whole=known.whole or file.whole)


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
