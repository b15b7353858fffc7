"""Load: import a user's file for tracing, running as little of it as possible.

Imports, definitions and simple assignments of the module are run; its other top-level statements are not, and
the names they would bind are stubs.  An import that is not installed is a stub, too.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, ModuleType

from nanguard.errors import NanguardError
from nanguard.tracing.stub import Finder, Stub

_MISSING = 50  # modules of one file that may be missing

# Modules whose functions a simple assignment may call: they compute and have no effect.
_CALLABLE = frozenset({
    "torch", "math", "typing", "typing_extensions", "collections", "functools", "enum", "dataclasses", "re",
    "operator", "itertools", "logging", "warnings", "contextlib", "pathlib", "numbers", "fractions", "types",
    "numpy",
})  # fmt: skip
_BUILTINS = frozenset({
    "abs", "bool", "dict", "float", "frozenset", "int", "len", "list", "max", "min", "range", "round", "set",
    "slice", "str", "sum", "tuple", "type", "object", "isinstance", "hasattr", "getattr",
})  # fmt: skip
# Functions of torch and numpy that read and write files, start processes or compile.
_EFFECTS = frozenset({
    "load", "hub", "compile", "save", "distributed", "multiprocessing", "jit", "ops", "_dynamo", "fromfile", "memmap",
    "loadtxt", "genfromtxt", "savez", "savetxt", "tofile", "seed", "open_memmap", "savez_compressed",
})  # fmt: skip

_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def load_module(path: str, source: str) -> ModuleType:
    """The module of the file `path`, whose text is `source`.

    In a package it is imported by its dotted name, so that relative imports work.  Writes no bytecode.
    Raises `NanguardError` with the line and the exception for a file that cannot be loaded.
    """
    try:
        tree = ast.parse(source, filename=path)
        kept = keep(tree)
        code = compile(kept.tree, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise NanguardError(f"{path}:{error.lineno or 1}: SyntaxError: {error.msg}") from None
    except (RecursionError, MemoryError, ValueError) as error:
        raise NanguardError(f"{path}:1: {type(error).__name__}: {error}") from None
    folder, name = place(path)
    loader = _Loader(name, path, code, kept.skipped)
    stubs = Finder()
    with _importing(folder, name, loader, stubs):
        for _ in range(_MISSING):
            try:
                return importlib.import_module(name)
            except (Exception, SystemExit) as error:
                if not _replaced(error, stubs, path, name, tree):
                    raise _failure(path, error, stubs.names) from None
    raise NanguardError(f"{path}:1: imports more than {_MISSING} modules that are not installed")


def _replaced(error: BaseException, stubs: Finder, path: str, name: str, tree: ast.Module) -> bool:
    """Put a stub in the place of what could not be imported, or empty packages above the file.

    False if both have been tried or are no way out.
    """
    if _stubbed(error, stubs, path, name, tree):
        return True
    if stubs.hollow or "." not in name:
        return False
    stubs.hollow.update(_packages(path, name))
    return True


def _stubbed(error: BaseException, stubs: Finder, path: str, name: str, tree: ast.Module) -> bool:
    """Put a stub in the place of a module that could not be imported."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    line = _line(path, error)
    if not missing and line is None:  # a package above the file cannot be imported
        return False
    if not isinstance(error, ImportError) or (not missing and _innermost(error) == path):
        return False  # the file itself asks for what an installed module has not
    is_package = os.path.basename(path) == "__init__.py"
    missing = missing or _imported_at(tree, line, name if is_package else name.rpartition(".")[0])
    if not missing or missing in stubs.names or missing in _parents(name) or missing.split(".")[0] == "torch":
        return False
    stubs.names.add(missing)
    return True


def _packages(path: str, name: str) -> dict[str, str]:
    """The packages above a file by their dotted names, with their folders."""
    found: dict[str, str] = {}
    folder = os.path.dirname(os.path.abspath(path))
    for package in reversed(_parents(name)[:-1]):
        found[package] = folder
        folder = os.path.dirname(folder)
    return found


def _imported_at(tree: ast.Module, line: int | None, package: str) -> str | None:
    """The module that a file of a package imports in some line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and node.lineno <= (line or 0) <= (node.end_lineno or 0):
            if isinstance(node, ast.Import):
                return node.names[0].name
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            return ".".join([*above, *filter(None, [node.module])])
    return None


def place(path: str) -> tuple[str, str]:
    """The folder to import a file from, and the dotted name that it has there."""
    folder, file = os.path.split(os.path.abspath(path))
    stem = os.path.splitext(file)[0]
    parts = [] if stem == "__init__" else [stem]
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        if "." in package or not package:
            break
        parts.insert(0, package)
    name = ".".join(parts) or stem
    if len(parts) == 1 and (name in sys.stdlib_module_names or name in sys.builtin_module_names or name == "torch"):
        name = f"_{name}"
    return folder, name.replace(".", "_") if "." in stem else name


def named_like(path: str, given: str) -> str:
    """A file under the kind of name that another one was given: absolute, or relative to this folder."""
    if os.path.isabs(given):
        return os.path.abspath(path)
    start = f".{os.sep}" if given.startswith(f".{os.sep}") else ""
    return start + os.path.relpath(path)


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _failure(path: str, error: BaseException, missing: Collection[str]) -> NanguardError:
    """An exception of the user's code as one line, with the innermost line of the user's file on its way.

    Where modules are missing, what stands in for them may be the cause.
    """
    words = str(error).splitlines()
    where = f"{path}:{_line(path, error) or 1}"
    without = f"ImportError: without {', '.join(sorted(missing))}: " if missing else ""
    return NanguardError(f"{where}: {without}{type(error).__name__}{': ' + words[0] if words else ''}")


def _innermost(error: BaseException) -> str:
    """The file in which an exception was raised."""
    trace = error.__traceback__
    file = ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
    return file


def _line(path: str, error: BaseException) -> int | None:
    """The innermost line of a file that an exception has passed."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


@dataclass(frozen=True, slots=True)
class _Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module and runs the part of it that is kept."""

    name: str
    path: str
    code: CodeType
    skipped: Sequence[str]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of the module, None for any other."""
        if fullname != self.name:
            return None
        where = os.path.abspath(self.path)
        inside = [os.path.dirname(where)] if os.path.basename(where) == "__init__.py" else None
        return importlib.util.spec_from_file_location(self.name, where, loader=self, submodule_search_locations=inside)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Nothing special."""

    def exec_module(self, module: ModuleType) -> None:
        """Run what is kept of the module."""
        for name in self.skipped:
            setattr(module, name, Stub(name))
        exec(self.code, module.__dict__)


@contextmanager
def _importing(folder: str, name: str, loader: _Loader, stubs: Finder) -> Iterator[None]:
    """Import with the two finders and the folder in place; afterwards everything is as it was."""
    before = sys.dont_write_bytecode, list(sys.path)
    standing = sys.modules.pop(name, None)
    sys.dont_write_bytecode = True
    sys.path.insert(0, folder)
    sys.meta_path[:0] = [loader, stubs]
    try:
        yield
    finally:
        sys.meta_path.remove(loader)
        sys.meta_path.remove(stubs)
        sys.dont_write_bytecode, sys.path[:] = before
        for module in [key for key in sys.modules if stubs.find_spec(key, None) is not None]:
            del sys.modules[module]
        sys.modules.pop(name, None)
        if standing is not None:
            sys.modules[name] = standing


# --- what is run --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """The part of a module that is run, and the names that the rest would have bound."""

    tree: ast.Module
    skipped: tuple[str, ...]


def keep(tree: ast.Module) -> Kept:
    """The imports, definitions and simple assignments of a module."""
    chosen = _Filter(dict(_imported(tree)))
    body = chosen.statements(tree.body)
    return Kept(ast.Module(body, []), tuple(dict.fromkeys(chosen.skipped)))


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Names that the imports of a module bind, each with the full name of what it is."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    top = alias.name.split(".")[0]
                    yield alias.asname or top, alias.name if alias.asname else top
            case ast.ImportFrom(module=str() as module, names=names, level=0):
                for alias in names:
                    yield alias.asname or alias.name, f"{module}.{alias.name}"


@dataclass(frozen=True, slots=True)
class _Filter:
    """Chooses the statements that are run, and collects the names that the others would have bound."""

    imported: dict[str, str]
    skipped: list[str] = field(default_factory=list)
    perhaps: set[str] = field(default_factory=set)  # of these, names that are bound where nothing fails

    def statements(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        """The statements that are run."""
        return [kept for statement in body if (kept := self.statement(statement)) is not None]

    def statement(self, node: ast.stmt) -> ast.stmt | None:
        """The part of a statement that is run."""
        match node:
            case ast.Assign(value=value) | ast.AugAssign(value=value) if self.runs(value):
                return node
            case ast.AnnAssign(value=None):
                return node
            case ast.AnnAssign(value=value) if self.runs(value):
                return node
            case ast.If(test=test) if _is_main(test):
                return None
            case ast.If(test=test) if self.simple(test):
                self.within(node)
                return node
            case ast.Try():
                self.perhaps.update(_bound(node))
                self.skipped.extend(_bound(node))  # where an import fails and its handler ends in a raise
                self.within(node)
                return node
            case ast.With(items=items) if all(self.simple(item.context_expr) for item in items):
                self.within(node)
                return node
        if isinstance(node, _DEFINITIONS) or type(node).__name__ == "TypeAlias":
            return node
        self.skipped.extend(_bound(node))
        return None

    def runs(self, value: ast.expr | None) -> bool:
        """Whether the value of an assignment is worked out.

        A call that is given what was not run is not: what stands in for that is no size of a layer, say.
        """
        if not self.simple(value):
            return False
        unbound = set(self.skipped) - self.perhaps
        calls = (part for part in ast.walk(value) if isinstance(part, ast.Call)) if value is not None else ()
        given = (part for call in calls for part in ast.walk(call))
        return not any(isinstance(part, ast.Name) and part.id in unbound for part in given)

    def within(self, node: ast.stmt | ast.excepthandler) -> None:
        """Leave only what is run inside a compound statement."""
        for name in ("body", "orelse", "finalbody"):
            if before := getattr(node, name, None):
                setattr(node, name, self.statements(before) or [ast.copy_location(ast.Pass(), node)])
        for handler in getattr(node, "handlers", ()):
            self.within(handler)

    def simple(self, node: ast.expr | None) -> bool:
        """Whether an expression only computes: names, constants, arithmetic, calls without effects."""
        match node:
            case None | ast.Constant() | ast.Name() | ast.Lambda():
                return True
            case ast.Call(func=func, args=args, keywords=keywords):
                given = [*args, *(keyword.value for keyword in keywords)]
                return self.callable(func) and all(map(self.simple, given))
        if isinstance(node, _PLAIN):
            return all(self.simple(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))
        return False

    def callable(self, node: ast.expr) -> bool:
        """Whether calling this has no effect: a builtin, or a function of a module that only computes."""
        parts: list[str] = []
        called = False
        while not isinstance(node, ast.Name):
            match node:
                case ast.Attribute(value=value, attr=attr):
                    parts.insert(0, attr)
                    node = value
                case ast.Call(func=func) if self.simple(node):  # a method of what torch returned
                    called, node = True, func
                case _:
                    return False
        if node.id not in self.imported:
            return not parts and node.id in _BUILTINS
        names = [*self.imported[node.id].split("."), *parts]
        if names[0] in ("torch", "numpy"):
            return not _EFFECTS.intersection(names)
        return names[0] in _CALLABLE and not called


_PLAIN = (
    ast.Attribute, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Subscript, ast.Slice,
    ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Starred, ast.JoinedStr, ast.FormattedValue,
)  # fmt: skip


def _is_main(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a statement binds in the module."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
            return
        case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.alias(name=name, asname=asname) if name != "*":
            yield asname or name.split(".")[0]
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)
