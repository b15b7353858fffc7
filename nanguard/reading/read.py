"""Read: the source of a file to the terms it computes, and where; nothing is run or imported."""

from __future__ import annotations

import ast
import re
import sys
import tokenize
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeGuard

from nanguard import ops
from nanguard.finding import Span, Target
from nanguard.reading.discover import definitions
from nanguard.reading.interpret import Interpreter
from nanguard.reading.outline import Reach
from nanguard.reading.project import Project
from nanguard.reading.recording import BudgetSpent, Place
from nanguard.reading.scope import Scope
from nanguard.reading.state import Frame, State
from nanguard.reading.stating import Ranges, Stating
from nanguard.reading.values import Class, External, Function, Instance, Value, alternatives, is_option, to_term
from nanguard.site import Site
from nanguard.term import Term, walk

_LINES = re.compile(r"\r\n|\r|\n")  # what Python takes for the end of a line; a form feed is not
_DEEPEST = 7_000  # calls inside calls while reading, of Python functions, which take no room on the stack of C


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Reading:
    """What reading a file gave: the places where it computes something, and the targets it could not read.

    The names that its places have in sight go with it.
    """

    path: str
    source: str
    places: tuple[Place, ...]
    failed: dict[str, str]
    returned: frozenset[Term]  # what targets give back
    shown: frozenset[Term] = frozenset()  # what is printed or logged
    handed: frozenset[Term] = frozenset()  # what goes where reading cannot follow it

    split: dict[str, list[bytes]] = field(default_factory=dict)  # this file, and others that were followed
    seen: Mapping[str, str] = field(default_factory=dict)  # files that were looked for, with their stamps

    def site(self, place: Place, caught: bool) -> Site:
        """A place with its span, its text and what the terms around it are called there."""
        lines = self.lines(place.path)
        text = segment(lines, place.node)
        return Site(place.term, span(place.path, place.node), place.target, text, named(place, lines), caught)

    def lines(self, path: str) -> list[bytes]:
        """The lines of a file in UTF-8."""
        if path not in self.split:
            self.split[path] = [line.encode("utf-8", "replace") for line in _LINES.split(self.text(path))]
        return self.split[path]

    def text(self, path: str) -> str:
        """The text of a file that was read."""
        if path == self.path:
            return self.source
        with tokenize.open(path) as file:
            return file.read()


def read(
    path: str, source: str, tree: ast.Module, targets: Sequence[Target], every: bool = True,
    ranges: Callable[[str, str], Ranges] | None = None,
) -> Reading:  # fmt: skip
    """Read the module and each target of a file, or, unless `every`, those that may reach something risky.

    `ranges` gives what the settings say of the parameters of a function, by its path and name.

    A target that takes too long or nests too deeply is given up, with what was found in it until then.
    """
    project = Project(Path(path))
    if not every:
        lines = Reach(project, path, tree).lines()
        if not lines:
            return Reading(path, source, (), {}, frozenset(), seen=project.seen)
        targets = [target for target in targets if any(first <= target.span.line <= last for first, last in lines)]
    interpreter = Interpreter(project, Stating(project, path, tree, ranges))
    module = State(Scope({}))
    failed: dict[str, str] = {}
    whole = partial(interpreter.block, tree.body, [module], Frame("<module>", 0, path))
    _bounded(whole, "<module>", interpreter, failed)
    interpreter.ended.append(module.env)
    nodes = {found.node.lineno: found.node for found in definitions(tree) if not isinstance(found.node, ast.ClassDef)}
    for target in targets:
        found = _find(target.name, module.env)
        if found is not None and found[0].node.lineno == target.span.line:
            _bounded(partial(_target, interpreter, *found), target.name, interpreter, failed)
        else:
            unreached = partial(_unreached, interpreter, target, nodes[target.span.line], module)
            _bounded(unreached, target.name, interpreter, failed)
    for function, heir in _completed(module.env, {target.name for target in targets}):
        _bounded(
            partial(interpreter.target, function, interpreter.object_of(heir)), function.qualname, interpreter, failed
        )
    for node, function in list(interpreter.defined.items()):
        if isinstance(node, ast.Lambda) and node not in interpreter.entered and function.path == path:
            _bounded(partial(_target, interpreter, function, None), function.qualname, interpreter, failed)
    places, returned = tuple(interpreter.places.values()), frozenset(interpreter.returned)
    shown, handed = frozenset(interpreter.shown), frozenset(interpreter.handed)
    reading = Reading(path, source, places, failed, returned, shown, handed, seen=project.seen)
    interpreter.close()
    weakref.finalize(reading, _let_go, interpreter.ended).atexit = False
    return reading


def _let_go(files: Sequence[Scope]) -> None:
    """Empty the names of files: functions among them refer back to these, which the collector alone would find out."""
    for names in files:
        names.own.clear()


def _target(interpreter: Interpreter, function: Function, owner: Class | None) -> None:
    plain = "number" if function.qualname.endswith("__init__") else "tensor"
    instance = interpreter.object_of(owner) if owner is not None else None
    if (owner, function.node) not in interpreter.constructors:  # a constructor has been read for the object
        interpreter.target(function, instance, plain)


_MOST_HEIRS = 3  # classes that complete a method of their base, for which it is read


def _completed(env: Scope, wanted: set[str]) -> Iterator[tuple[Function, Class]]:
    """The methods of a base class that call what a class of the file defines in its stead, each with that class."""
    counts: dict[Function, int] = {}
    for heir in (value for _, value in env.local() if isinstance(value, Class)):
        for base in heir.order()[1:]:
            for name, method in base.members.items():
                if not isinstance(method, Function) or method.qualname not in wanted or heir.find(name) is not method:
                    continue
                if name != "__init__" and _calls_own(method.node) & heir.members.keys() & base.members.keys():
                    counts[method] = counts.get(method, 0) + 1
                    if counts[method] <= _MOST_HEIRS:
                        yield method, heir


def _calls_own(function: ast.AST) -> frozenset[str]:
    """The names of the methods that a method calls on its own object."""
    return frozenset(
        node.func.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "self"
    )


def _bounded(job: Callable[[], object], name: str, interpreter: Interpreter, failed: dict[str, str]) -> None:
    """Run one job of reading within its budget."""
    interpreter.start()
    interpreter.active.clear()
    interpreter.building.clear()
    try:
        with _deep():
            job()
        if interpreter.hurried:
            failed[name] = "too many paths to follow; some were joined"
    except BudgetSpent:
        failed[name] = "too many paths to follow; read in part"
    except RecursionError:
        failed[name] = "nested too deeply; read in part"


@contextmanager
def _deep() -> Iterator[None]:
    """Let reading follow what Python itself still compiles: a sum of 2,900 terms nests as deep."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _find(name: str, env: Scope) -> tuple[Function, Class | None] | None:
    """The function of a qualified name, among the names of the module."""
    held: Value | None = env.get(name.split(".")[0])
    owner: Class | None = None
    for part in name.split(".")[1:]:
        if not isinstance(held, Class):
            return None
        owner, held = held, held.members.get(part)
    return (held, owner) if isinstance(held, Function) else None


def _unreached(
    interpreter: Interpreter, target: Target, node: ast.FunctionDef | ast.AsyncFunctionDef, module: State
) -> None:  # fmt: skip
    """Read a function that no name of the module leads to: one that is nested, or defined twice."""
    if node in interpreter.defined and node not in interpreter.entered:
        _target(interpreter, interpreter.defined[node], interpreter.defined[node].owner)
    elif target.name not in interpreter.placed:
        _target(interpreter, Function(node, module.env, target.name, None, target.path), None)


def span(path: str, node: ast.expr) -> Span:
    """Where an expression stands."""
    return Span(path, node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or 0)


def segment(lines: Sequence[bytes], node: ast.expr) -> str:
    """The text of an expression, on one line; columns count bytes of UTF-8, as in `ast`."""
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    if last >= len(lines):
        return ast.unparse(node)
    parts = [lines[number] for number in range(first, last + 1)]
    parts[-1] = parts[-1][: node.end_col_offset]
    parts[0] = parts[0][node.col_offset :]
    if len(parts) > 1 and (b"#" in b"".join(parts) or any(part.rstrip().endswith(b"\\") for part in parts)):
        return ast.unparse(node)
    return " ".join(b" ".join(parts).decode("utf-8", "replace").split())


def named(place: Place, lines: Sequence[bytes]) -> dict[Term, str]:
    """The terms that have a name or an expression at a place.

    The expression's own words come first: a name elsewhere may hold the same value as reading sees it, and no more.
    """
    inside = {node for node in ast.walk(place.node) if isinstance(node, ast.expr)}
    texts: dict[Term, str] = {}
    pairs = {node.value for node in inside if _picks(node, place)}
    for node, value in place.values.items():
        if node in pairs:
            continue
        if isinstance(value, Term) and node in inside and node is not place.node and value.op != "const":
            text = segment(lines, node)
            for term in (value, *_taken(value, place.term)):
                texts[term] = min(texts.get(term, text), text, key=len)
    own = {node.id: place.values[node] for node in inside if isinstance(node, ast.Name) and node in place.values}
    for name, value in place.env.items():
        if own.get(name, value) is not value:  # a comprehension around has another value under this name
            continue
        members = value.held.items() if isinstance(value, Instance) else ()
        for text, held in ((name, value), *((f"{name}.{attr}", held) for attr, held in members)):
            if is_option(held):  # computed with, it is no None
                held = to_term(held)
            if isinstance(held, Term) and held.op != "const":
                texts.setdefault(held, text)
    for term in walk(place.term):  # an attribute that nothing in the file assigns goes by its own name
        owner, dot, _ = term.name.rpartition(".") if term.op == "symbol" else ("", "", "")
        if dot and isinstance(place.env.get(owner), Instance):
            texts.setdefault(term, term.name)
    return texts


def _picks(node: ast.expr, place: Place) -> TypeGuard[ast.Subscript | ast.Attribute]:
    """Whether an expression takes the values of a pair of values and indices: ``x.sort(1)[0]``."""
    if not isinstance(node, ast.Subscript | ast.Attribute):
        return False
    value = place.values.get(node)
    row = ops.row(value.op) if isinstance(value, Term) else None
    return row is not None and row.pair and place.values.get(node.value) is value


def _taken(value: Term, whole: Term) -> list[Term]:
    """The alternatives of a value that a term was computed from."""
    if value.op != "either":
        return []
    inside = set(walk(whole))
    found = [term for term in alternatives(value) if term in inside]
    return [term for term in found if not any(term is not other and term in set(walk(other)) for other in found)]


def modules(place: Place) -> dict[str, str]:
    """The names under which modules and functions of others are in scope at a place, by full dotted name."""
    return {value.name: name for name, value in place.env.items() if isinstance(value, External)}
