"""Read: the source of a file to the terms it computes, and where; nothing is run or imported."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nanguard.expressions import BudgetSpent, Place
from nanguard.finding import Span, Target
from nanguard.interpret import Interpreter
from nanguard.project import Project
from nanguard.site import Site
from nanguard.state import Frame, State
from nanguard.term import Term
from nanguard.values import Class, External, Function, Value

_LINES = re.compile(r"\r\n|\r|\n")  # what Python takes for the end of a line; a form feed is not


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading a file gave: the places where it computes something, and the targets it could not read."""

    path: str
    source: str
    places: tuple[Place, ...]
    failed: dict[str, str]
    returned: frozenset[Term]  # what targets give back

    split: dict[str, list[bytes]] = field(default_factory=dict)  # this file, and others that were followed

    def site(self, place: Place, masked: bool) -> Site:
        """A place with its span, its text and what the terms around it are called there."""
        lines = self.lines(place.path)
        text = segment(lines, place.node)
        return Site(place.term, span(place.path, place.node), place.target, text, named(place, lines), masked)

    def lines(self, path: str) -> list[bytes]:
        """The lines of a file in UTF-8."""
        if path not in self.split:
            if path == self.path:
                source = self.source
            else:
                with tokenize.open(path) as file:
                    source = file.read()
            self.split[path] = [line.encode("utf-8", "replace") for line in _LINES.split(source)]
        return self.split[path]


def read(path: str, source: str, tree: ast.Module, targets: Sequence[Target]) -> Reading:
    """Read the module and each target of a file.

    A target that takes too long or nests too deeply is given up, with what was found in it until then.
    """
    interpreter = Interpreter(Project(Path(path)))
    module = State({})
    failed: dict[str, str] = {}
    whole = partial(interpreter.block, tree.body, [module], Frame("<module>", 0, path))
    _bounded(whole, "<module>", interpreter, failed)
    for target in targets:
        found = _find(target.name, module.env)
        if found is not None:
            _bounded(partial(_target, interpreter, *found), target.name, interpreter, failed)
        else:
            _bounded(partial(_unreached, interpreter, target, tree, module), target.name, interpreter, failed)
    return Reading(path, source, tuple(interpreter.places.values()), failed, frozenset(interpreter.returned))


def _target(interpreter: Interpreter, function: Function, owner: Class | None) -> None:
    interpreter.target(function, interpreter.object_of(owner) if owner is not None else None)


def _bounded(job: Callable[[], object], name: str, interpreter: Interpreter, failed: dict[str, str]) -> None:
    """Run one job of reading within its budget."""
    interpreter.steps = 0
    interpreter.active.clear()
    try:
        job()
    except BudgetSpent:
        failed[name] = "too many paths to follow; read in part"
    except RecursionError:
        failed[name] = "nested too deeply; read in part"


def _find(name: str, env: dict[str, Value]) -> tuple[Function, Class | None] | None:
    """The function of a qualified name, among the names of the module."""
    held: Value | None = env.get(name.split(".")[0])
    owner: Class | None = None
    for part in name.split(".")[1:]:
        if not isinstance(held, Class):
            return None
        owner, held = held, held.members.get(part)
    return (held, owner) if isinstance(held, Function) else None


def _unreached(interpreter: Interpreter, target: Target, tree: ast.Module, module: State) -> None:
    """Read a function that no name of the module leads to: one that is nested, or defined twice."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.lineno == target.span.line:
            if not any(place.target == target.name for place in interpreter.places.values()):
                interpreter.target(Function(node, module.env, target.name, None, target.path), None)
            return


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
    return " ".join(b" ".join(parts).decode("utf-8", "replace").split())


def named(place: Place, lines: Sequence[bytes]) -> dict[Term, str]:
    """The terms that have a name or an expression at a place.

    The expression's own words come first: a name elsewhere may hold the same value as reading sees it, and no more.
    """
    inside = {node for node in ast.walk(place.node) if isinstance(node, ast.expr)}
    texts: dict[Term, str] = {}
    for node, value in place.values.items():
        if isinstance(value, Term) and node in inside and node is not place.node and value.op != "const":
            text = segment(lines, node)
            texts[value] = min(texts.get(value, text), text, key=len)
    for name, value in place.env.items():
        if isinstance(value, Term) and value.op != "const" and _visible(value):
            texts.setdefault(value, name)
    return texts


def _visible(term: Term) -> bool:
    """Whether a term is worth a name: options are settings, not operands."""
    return term.attr("kind") != "option"


def modules(place: Place) -> dict[str, str]:
    """The names under which modules and functions of others are in scope at a place, by full dotted name."""
    return {value.name: name for name, value in place.env.items() if isinstance(value, External)}
