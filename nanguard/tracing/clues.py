"""Clues: where a failed run stopped, and which of its arguments the failing expression is about."""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, TracebackType
from typing import Any

from nanguard.tracing.guesses import State
from nanguard.tracing.places import is_user_file, positions

_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Clue:
    """A failed run: the state it was made of, its arguments, the exception and the parameters that it is about."""

    state: State
    arguments: Mapping[str, Any]
    error: BaseException
    message: str
    involved: tuple[str, ...]  # parameters in the failing expression, innermost frame first
    test: ast.expr | None  # the condition that an assert or a raise stands under
    wanted: bool  # what the condition should have been
    names: Mapping[str, str]  # of local variables of the failing frame, to parameters
    numbers: Mapping[str, int]  # that local variables of the failing frame, and attributes of its self, hold
    progress: tuple[int, ...]  # the lines that the run got to, from the outermost frame on


def clue(
    error: BaseException, state: State, arguments: Mapping[str, Any], code: CodeType | None,
    derived: Mapping[str, frozenset[str]],
) -> Clue:  # fmt: skip
    """What an exception tells; `derived` are the parameters that variables of the callable are made of."""
    frames = _frames(error.__traceback__, code)
    owners: list[list[str]] = []
    progress: list[int] = []
    names: dict[str, str] = {}
    numbers: dict[str, int] = {}
    test, wanted = None, True
    for place, (trace, own) in enumerate(frames):
        frame = trace.tb_frame
        names = _names(frame.f_locals, arguments, own)
        inner = _segment(trace)
        found: list[str] = []
        for word in _NAME.findall(inner):
            if word in names:
                found.append(names[word])
            elif own:
                found.extend(sorted(derived.get(word, ())))
        if not found and owners:
            found = owners[-1]
        owners.append([name for name in dict.fromkeys(found) if name in arguments])
        progress.append(trace.tb_lineno)
        if place == len(frames) - 1:
            numbers = _numbers(frame.f_locals)
            test, wanted = _test(frame.f_code.co_filename, trace.tb_lineno, error)
    involved = [name for part in reversed(owners) for name in part]
    words = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return Clue(
        state, arguments, error, words.replace("\n", " ")[:2000], tuple(dict.fromkeys(involved)), test, wanted, names,
        numbers, tuple(progress),
    )  # fmt: skip


def _frames(trace: TracebackType | None, code: CodeType | None) -> list[tuple[TracebackType, bool]]:
    """The steps of a traceback in the user's code from the callable inwards, each with whether it is its own frame."""
    steps = []
    while trace is not None:
        steps.append(trace)
        trace = trace.tb_next
    start = next((i for i, step in enumerate(steps) if step.tb_frame.f_code is code), None)
    if start is not None:
        steps = steps[start:]
    return [(s, s.tb_frame.f_code is code) for s in steps if is_user_file(s.tb_frame.f_code.co_filename)]


def _names(table: Mapping[str, Any], arguments: Mapping[str, Any], own: bool) -> dict[str, str]:
    """The local variables that are arguments of the run."""
    found = {name: name for name in arguments if own and name in table}
    by_id = {id(value): name for name, value in arguments.items() if not isinstance(value, int | str | float | None)}
    for name, value in table.items():
        if id(value) in by_id:
            found.setdefault(name, by_id[id(value)])
    return found


def _numbers(table: Mapping[str, Any]) -> dict[str, int]:
    """The integers among local variables, and among the attributes of ``self``."""
    held = {f"self.{name}": value for name, value in getattr(table.get("self"), "__dict__", {}).items()}
    return {name: value for name, value in {**table, **held}.items() if type(value) is int}


def _segment(trace: TracebackType) -> str:
    """The text of the expression that a step of a traceback was at."""
    code = trace.tb_frame.f_code
    line, end_line, column, end_column = positions(code)[trace.tb_lasti // 2]
    if line is None or end_line is None or column is None or end_column is None:
        return linecache.getline(code.co_filename, trace.tb_lineno)
    lines = [linecache.getline(code.co_filename, number) for number in range(line, end_line + 1)]
    if not lines:
        return ""
    encoded = [text.encode() for text in lines]
    encoded[-1] = encoded[-1][:end_column]
    encoded[0] = encoded[0][column:]
    return b"".join(encoded).decode(errors="replace")


_TREES: dict[str, ast.Module] = {}


def _tree(path: str) -> ast.Module:
    if path not in _TREES:
        try:
            _TREES[path] = ast.parse("".join(linecache.getlines(path)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            _TREES[path] = ast.Module([], [])
    return _TREES[path]


def _test(path: str, line: int, error: BaseException) -> tuple[ast.expr | None, bool]:
    """The condition of the assert at a line, or of the `if` that the raise at a line stands in."""
    best: tuple[ast.expr | None, bool] = (None, True)
    smallest = 1 << 30
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Assert) and node.lineno <= line <= (node.end_lineno or 0):
            return node.test, True
        if isinstance(node, ast.If) and node.lineno <= line <= (node.end_lineno or 0):
            for body, wanted in ((node.body, False), (node.orelse, True)):
                for statement in body:
                    size = (statement.end_lineno or 0) - statement.lineno
                    inside = statement.lineno <= line <= (statement.end_lineno or 0)
                    if inside and isinstance(statement, ast.Raise) and size < smallest:
                        best, smallest = (node.test, wanted), size
    return best


def derivations(node: ast.AST | None, names: Sequence[str]) -> dict[str, frozenset[str]]:
    """For each variable of a function, the parameters that it is made of."""
    found = {name: frozenset({name}) for name in names}
    for part in ast.walk(node) if node is not None else ():
        pairs: list[tuple[ast.AST, ast.AST]] = []
        match part:
            case ast.Assign():
                pairs = [(target, part.value) for target in part.targets]
            case ast.AugAssign() | ast.AnnAssign(value=ast.expr()):
                pairs = [(part.target, part.value or part.target)]
            case ast.For() | ast.comprehension():
                pairs = [(part.target, part.iter)]
        for target, value in pairs:
            made = frozenset[str]().union(*(found.get(n.id, ()) for n in ast.walk(value) if isinstance(n, ast.Name)))
            for name in (n.id for n in ast.walk(target) if isinstance(n, ast.Name)):
                if made and name not in names:
                    found[name] = found.get(name, frozenset()) | made
    return found
