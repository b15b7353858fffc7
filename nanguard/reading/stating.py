"""Stating: the ranges that annotations and the settings give for the parameters of functions, as reading sees them."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path

from nanguard.errors import NanguardError
from nanguard.reading.project import Project
from nanguard.reading.slices import sliced
from nanguard.reading.values import Function, Value, is_option
from nanguard.stated import Range, number_in
from nanguard.term import Attr, Term, make, symbol

_RANGE = "nanguard.Range"
_ORDINARY = frozenset({"Tensor", "int", "float", "bool", "str", "Any", "None", "nn", "torch", "dict", "list", "tuple"})
_DEPTH = 8  # names of types that stand for other names
_FLAGS = ("low_open", "high_open")

Ranges = Mapping[str, Range]


@dataclass(slots=True)
class _Names:
    """What the names of a file stand for: expressions, and full dotted names of other files."""

    assigned: dict[str, ast.expr] = field(default_factory=dict)
    imported: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Stating:
    """The ranges of the parameters of functions; `settings` gives those for a path and the name of a function."""

    project: Project
    path: str  # of the file that is read
    tree: ast.Module
    settings: Callable[[str, str], Ranges] | None
    known: dict[ast.AST, Ranges] = field(default_factory=dict)
    names: dict[str, _Names] = field(default_factory=dict)

    def of(self, function: Function) -> Ranges:
        """The ranges by the names of the parameters; what the settings say comes before what an annotation does."""
        if function.node not in self.known:
            found = {**documented(function), **dict(self.annotated(function))}
            if self.settings is not None:
                found.update(self.settings(function.path, function.qualname))
            self.known[function.node] = found
        return self.known[function.node]

    def of_number(self, function: Function, name: str) -> Range | None:
        """The range of a parameter that is a number of Python: what a docstring says of such one finds no fault."""
        told = dict(self.annotated(function))
        if self.settings is not None:
            told.update(self.settings(function.path, function.qualname))
        return told.get(name)

    def annotated(self, function: Function) -> Iterator[tuple[str, Range]]:
        """The ranges in the annotations of a function."""
        spec = function.node.args
        for arg in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs):
            if arg.annotation is not None:
                found = self.range_in(arg.annotation, function.path, _DEPTH)
                if found is not None:
                    yield arg.arg, found

    def range_in(self, node: ast.expr, path: str, depth: int) -> Range | None:
        """The range in an annotation: ``Annotated[Tensor, nanguard.Range(0, 1)]``, or a name that stands for one."""
        match node:
            case ast.Name(id=name) if name in _ORDINARY:
                return None
            case ast.Constant(value=str(text)):
                return self.range_in(parsed, path, depth - 1) if depth and (parsed := _parsed(text)) else None
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self.range_in(left, path, depth) or self.range_in(right, path, depth)
            case ast.Subscript(value=value, slice=inside):
                parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
                kind = _dotted(value).rpartition(".")[2]
                if kind == "Annotated":
                    beside = next((found for part in parts[1:] if (found := self.called(part, path))), None)
                    return beside or self.range_in(parts[0], path, depth)
                if kind in ("Optional", "Union"):
                    return next((found for part in parts if (found := self.range_in(part, path, depth))), None)
            case ast.Name() | ast.Attribute() if depth:
                return self.range_of_name(_dotted(node), path, depth - 1)
        return None

    def range_of_name(self, name: str, path: str, depth: int) -> Range | None:
        """The range that a name of a file stands for, here or in another file of the project."""
        names = self.names_in(path)
        if name in names.assigned:
            return self.range_in(names.assigned[name], path, depth)
        full = self.full(name, path)
        place = self.project.find(full) if full != name or "." in name else None
        if place is None or len(place[1]) != 1 or str(place[0]) == path:
            return None
        return self.range_of_name(place[1][0], str(place[0]), depth - 1) if depth else None

    def called(self, node: ast.expr, path: str) -> Range | None:
        """The range that a call of ``nanguard.Range`` is; None for anything else."""
        if not isinstance(node, ast.Call) or self.full(_dotted(node.func), path) != _RANGE:
            return None
        try:
            ends = {name: number_in(arg) for name, arg in zip(("low", "high"), node.args, strict=False)}
            ends |= {word.arg: number_in(word.value) for word in node.keywords if word.arg in ("low", "high")}
            flags = {word.arg: _true(word.value) for word in node.keywords if word.arg in _FLAGS}
            low, high = ends.get("low", -math.inf), ends.get("high", math.inf)
            return Range(low, high, low_open=flags.get("low_open", False), high_open=flags.get("high_open", False))
        except (ValueError, NanguardError):  # the program says so where it is imported
            return None

    def full(self, name: str, path: str) -> str:
        """A name of a file in full: ``nanguard.Range`` for ``ng.Range``."""
        first, dot, rest = name.partition(".")
        return self.names_in(path).imported.get(first, first) + dot + rest

    def names_in(self, path: str) -> _Names:
        """What a file imports and assigns."""
        if path not in self.names:
            self.names[path] = names = _Names()
            for statement in self.tree.body if path == self.path else self.others(Path(path)):
                match statement:
                    case ast.Import(names=aliases):
                        names.imported.update({alias.asname: alias.name for alias in aliases if alias.asname})
                    case ast.ImportFrom(module=module, names=aliases, level=level):
                        origin = "." * level + (f"{module}." if module else "")
                        for alias in aliases:
                            full = self.project.absolute(f"{origin}{alias.name}", path)
                            names.imported[alias.asname or alias.name] = full
                    case ast.Assign(targets=[ast.Name(id=name)], value=value):
                        names.assigned[name] = value
                    case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                        names.assigned[name] = value
        return self.names[path]

    def others(self, path: Path) -> Sequence[ast.stmt]:
        """The statements at the top of another file that define no function and no class."""
        parts = sliced(path) if self.project.may_follow(path) else None
        return parts.others if parts is not None else ()


def documented(function: Function) -> dict[str, Range]:
    """The parameters that a docstring says are probabilities: ``probs: values in [0, 1]``."""
    if isinstance(function.node, ast.Lambda):
        return {}
    if not _SHARE.search(ast.get_docstring(function.node, clean=False) or ""):
        return {}  # as nearly always, before its lines are set right
    text = ast.get_docstring(function.node) or ""
    spec = function.node.args
    names = {arg.arg for arg in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)}
    found: dict[str, Range] = {}
    for name, words in _described(text):
        if name in names and "prob" in words.lower() and _SHARE.search(words) and not _LOGARITHMS.search(words):
            found[name] = Range(0.0, 1.0)
    return found


_SHARE = re.compile(r"\[0(\.0?)?, ?1(\.0?)?\]|between 0 and 1", re.IGNORECASE)
_LOGARITHMS = re.compile(r"log", re.IGNORECASE)
_ITEM = re.compile(r"(?::param )?(\w+) ?(?:\(.*?\))? ?(?::|--? )")  # how the description of a parameter begins


def _described(text: str) -> Iterator[tuple[str, str]]:
    """The names that a docstring describes, each with the words on its line and on those that are indented below."""
    lines = text.splitlines()
    for place, line in enumerate(lines):
        begun = _ITEM.match(line.strip())
        if begun is not None:
            depth = " " * (len(line) - len(line.lstrip()) + 1)
            below = takewhile(partial(_indented, depth), lines[place + 1 :])
            yield begun.group(1), " ".join([line.strip(), *map(str.strip, below)])


def _indented(depth: str, line: str) -> bool:
    return line.startswith(depth)


def stated(value: Value, found: Range | None) -> Value:
    """A parameter of which nothing else is known, with its range."""
    if found is None or not isinstance(value, Term) or value.op != "symbol":
        return value
    return symbol(value.name, **{name: held for name, held in value.attrs if name != "name"} | found.facts())  # type: ignore[arg-type]


def assumed(value: Value, found: Range | None) -> Value:
    """An argument of a call that is taken to lie in the range of its parameter."""
    if found is None or found.whole or not isinstance(value, Term) or value.op == "const" or is_option(value):
        return value
    facts = found.facts()
    attrs: list[tuple[str, Attr]] = [(name, facts.get(name)) for name in ("low", "high")]
    attrs += [(name, bool(facts.get(name))) for name in _FLAGS]
    return make("assume", (value,), (*attrs, ("nonzero", False)))


def _dotted(node: ast.expr) -> str:
    """A dotted name; empty for any other expression."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            before = _dotted(value)
            return f"{before}.{attr}" if before else ""
    return ""


def _parsed(text: str) -> ast.expr | None:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _true(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return node.value
    raise ValueError
