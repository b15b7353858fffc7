"""Outline: what the statements at the top of a file bind and use, and from which an operation that is risky is reached.

It is worked out from the names alone, before anything is read, and errs on the side of reading too much.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from nanguard import ops
from nanguard.reading.project import Project
from nanguard.reading.slices import Slice, Sliced, sliced
from nanguard.reading.walking import below
from nanguard.term import make

_SIGNS: dict[type[ast.AST], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.Pow: "pow", ast.FloorDiv: "floordiv",
    ast.Mod: "mod", ast.MatMult: "matmul", ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor",
    ast.USub: "neg", ast.Invert: "invert",
}  # fmt: skip


@cache
def _risky_words() -> frozenset[str]:
    """The last parts of the names under which operations that are risky are called."""
    return frozenset(
        name.rpartition(".")[2]
        for name, listed in ops.spellings().items()
        if any(ops.risky(make(spelling.op)) for spelling in listed)
    )


@cache
def _risky_signs() -> frozenset[type[ast.AST]]:
    """The operators that are risky."""
    return frozenset(sign for sign, name in _SIGNS.items() if name in _risky_words())


def _is_risky(word: str) -> bool:
    words = _risky_words()
    return word in words or (word[-1:] == "_" and word.rstrip("_") in words)


@dataclass(frozen=True, slots=True)
class Names:
    """The names in a statement."""

    uses: frozenset[str]
    imports: tuple[tuple[str, int], ...]  # each with the number of dots before it
    risky: bool  # whether an operation that is risky is among them


class Unit:
    """A statement at the top of a file, or one name of an import, with the names that it binds."""

    def __init__(self, statement: ast.stmt | Slice, binds: Iterable[str], names: Names | None = None) -> None:
        self.statement = statement
        self.binds = tuple(binds)
        self.found = names

    @property
    def node(self) -> ast.stmt:
        """The statement, parsed once it is needed."""
        return self.statement.node if isinstance(self.statement, Slice) else self.statement

    @property
    def names(self) -> Names:
        """The names in the statement, looked for once they are needed."""
        if self.found is None:
            self.found = _names(self.node)
        return self.found


class Outline:
    """The statements at the top of a file."""

    def __init__(self, statements: Iterable[ast.stmt], definitions: Iterable[Slice] = ()) -> None:
        """`definitions` are those among the statements that are parsed when they are needed."""
        self.statements = tuple(statements)
        self.units = [unit for node in self.statements for unit in _units(node)]
        self.units.extend(Unit(part, (part.name,)) for part in definitions)
        self.by_name: dict[str, list[Unit]] = {}
        for unit in self.units:
            for name in unit.binds:
                self.by_name.setdefault(name, []).append(unit)

    def needed(self, name: str) -> set[ast.stmt]:
        """The statements that bind a name, and those that bind what these use."""
        found: set[ast.stmt] = set()
        waiting = [*self.by_name.get(name, ()), *self.by_name.get("*", ())]  # a star may bind what is used
        seen = set(waiting)
        while waiting:
            unit = waiting.pop()
            found.add(unit.node)
            for used in unit.names.uses:
                for other in self.by_name.get(used, ()):
                    if other not in seen:
                        seen.add(other)
                        waiting.append(other)
        return found


def outlined(path: Path) -> Outline | None:
    """The outline of a file, None for one that cannot be parsed."""
    parts = sliced(path)
    return _outlined(parts) if parts is not None else None


@lru_cache(maxsize=512)  # as many as there are sliced files
def _outlined(parts: Sliced) -> Outline:
    return Outline(parts.others, parts.definitions)


def _units(node: ast.stmt) -> Iterator[Unit]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias, name in zip(node.names, _imported(node), strict=True):
            bound = alias.asname or alias.name.partition(".")[0]
            yield Unit(node, (bound,), Names(frozenset(), (name,), _is_risky(name[0].rpartition(".")[2])))
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield Unit(node, (node.name,))
    else:
        inside = list(ast.walk(node))
        binds = {part.id for part in inside if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load)}
        binds |= {part.name for part in inside if isinstance(part, ast.FunctionDef | ast.ClassDef)}
        for part in inside:
            if isinstance(part, ast.Import | ast.ImportFrom):
                binds |= {alias.asname or alias.name.partition(".")[0] for alias in part.names}
            elif isinstance(part, ast.Attribute | ast.Subscript) and isinstance(part.value, ast.Name):
                binds.add(part.value.id)  # what is set in an object, or put into a list
        yield Unit(node, binds)


def _names(statement: ast.stmt) -> Names:
    """The names in a statement, down to its last expression."""
    words, signs = _risky_words(), _risky_signs()
    uses: set[str] = set()
    attributes: set[str] = set()
    imports: list[tuple[str, int]] = []
    risky = False
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        if type(node) is ast.Name:
            uses.add(node.id)
        elif type(node) is ast.Constant:
            risky = risky or (isinstance(node.value, str) and node.value in words)
        elif type(node) is ast.Attribute:
            attributes.add(node.attr)
            stack.append(node.value)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imports.extend(_imported(node))
        else:
            risky = risky or type(node) in signs
            stack.extend(below(node))
    risky = (
        risky
        or any(map(_is_risky, uses | attributes))
        or any(_is_risky(name.rpartition(".")[2]) for name, _ in imports)
    )
    return Names(frozenset(uses), tuple(imports), risky)


def _imported(node: ast.Import | ast.ImportFrom) -> list[tuple[str, int]]:
    """The names of an import, with the number of dots before them."""
    if isinstance(node, ast.Import):
        return [(alias.name, 0) for alias in node.names]
    return [(f"{node.module}.{alias.name}" if node.module else alias.name, node.level) for alias in node.names]


class Reach:
    """From which statements of a file something risky, or something of another file of the project, is reached."""

    def __init__(self, project: Project, path: str, tree: ast.Module) -> None:
        self.project = project
        self.path = path
        self.own = Outline(tree.body)

    def lines(self) -> list[tuple[int, int]]:
        """The first and last lines of the statements from which something risky is reached."""
        reaching = self.reaching()
        return [_lines(unit.node) for unit in self.own.units if unit in reaching]

    def reaching(self) -> set[Unit]:
        """The statements of the file that are risky or lead to another file, and those that use what these bind."""
        users: dict[str, list[Unit]] = {}
        for unit in self.own.units:
            for name in unit.names.uses:
                users.setdefault(name, []).append(unit)
        found = {unit for unit in self.own.units if self.starts(unit)}
        waiting = list(found)
        while waiting:
            for name in waiting.pop().binds:
                for user in users.pop(name, ()):  # each name once: some files bind one a hundred thousand times
                    if user not in found:
                        found.add(user)
                        waiting.append(user)
        return found

    def starts(self, unit: Unit) -> bool:
        """Whether a statement is risky by itself, or leads to another file of the project."""
        return unit.names.risky or any(self.is_project(name, self.path) for name in unit.names.imports)

    def is_project(self, imported: tuple[str, int], path: str) -> bool:
        """Whether an import leads to another file of the project: to look into it would cost as much as to read it."""
        name, level = imported
        return self.project.find(self.project.absolute("." * level + name, path)) is not None


def _lines(node: ast.stmt) -> tuple[int, int]:
    """The lines of a statement with its decorators."""
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)]), node.end_lineno or node.lineno
