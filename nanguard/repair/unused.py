"""Unused: assignments that nothing reads any more after a fix."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TypeGuard

from nanguard import ops
from nanguard.finding import Edit, Span
from nanguard.repair.effects import acts
from nanguard.repair.ground import Ground, comments, names_in
from nanguard.repair.reaching import plain, preceding
from nanguard.repair.storage import operations

_SEES_NAMES = frozenset({"locals", "vars", "eval", "exec", "dir", "breakpoint"})


def unused(path: str, ground: Ground, names: Iterable[tuple[int, str]]) -> Iterator[Edit]:
    """Edits that remove the assignments of names, each with a line of the function that it is in.

    Only such as compute something and do nothing else, of a name that occurs nowhere else in its function, alone on
    their lines, without a comment, and not the only statement of their block.
    """
    for line, name in dict.fromkeys(names):
        scope = _function(ground, line)
        if scope is None:
            continue
        statement = _only_assignment(scope, name) or _overwritten(scope, name, line, ground)
        if statement is not None and _removable(statement, ground):
            yield Edit(Span(path, statement.lineno, 0, (statement.end_lineno or 0) + 1, 0), "")


def read_by(ground: Ground, edit: Edit) -> list[tuple[int, str]]:
    """The names that a removed assignment read, with the line before it."""
    body = [node for node in ast.walk(ground.tree) if isinstance(node, ast.Assign) and node.lineno == edit.span.line]
    return [(edit.span.line - 1, name) for node in body for name in sorted(names_in([node.value]))]


def _function(ground: Ground, line: int) -> ast.AST | None:
    """The innermost function that a line is in."""
    around = [
        node
        for node in ast.walk(ground.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    return max(around, key=lambda node: node.lineno, default=None)


def _only_assignment(scope: ast.AST, name: str) -> ast.Assign | None:
    """The assignment of a name that is all that a function has of it."""
    found: ast.Assign | None = None
    for node in ast.walk(scope):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)]) if target == name:
                if found is not None:
                    return None
                found = node
            case ast.Name(id=read) if read in _SEES_NAMES or (read == name and isinstance(node.ctx, ast.Load)):
                return None
            case ast.Global(names=names) | ast.Nonlocal(names=names) if name in names:
                return None
            case ast.arg(arg=argument) if argument == name:
                return None
    stored = [node for node in ast.walk(scope) if isinstance(node, ast.Name) and node.id == name]
    return found if len(stored) == 1 else None


def _overwritten(scope: ast.AST, name: str, line: int, ground: Ground) -> ast.Assign | None:
    """The assignment of a name whose value nothing reads before the one at `line`, in the same block."""
    if any(isinstance(node, ast.Name) and node.id in _SEES_NAMES for node in ast.walk(scope)):
        return None
    later = next((node for node in ast.walk(scope) if _plainly(node, name) and node.lineno == line), None)
    above = ground.parents[later] if later is not None else None
    if later is None or above is None or isinstance(above, ast.Try | ast.TryStar):
        return None
    for statement in reversed(preceding(above, later)):
        if any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(statement)):
            return statement if _plainly(statement, name) else None
    return None


def _plainly(node: ast.AST, name: str) -> TypeGuard[ast.Assign]:
    """Whether a node assigns a name, and nothing else, a value that is not worked out from it."""
    match node:
        case ast.Assign(targets=[ast.Name(id=target)], value=value):
            return target == name and name not in names_in([value])
    return False


def _removable(statement: ast.Assign, ground: Ground) -> bool:
    above = ground.parents[statement]
    calls = [node for node in ast.walk(statement.value) if isinstance(node, ast.Call)]
    if isinstance(above, ast.ClassDef | ast.Module) or not plain(statement.value) or not pure(calls):
        return False
    if any(acts(part, ground.tree) for part in ast.walk(statement.value)):
        return False
    blocks = (getattr(above, name, None) for name in ("body", "orelse", "finalbody"))
    block = next(list(block) for block in blocks if isinstance(block, list) and statement in block)
    if len(block) == 1:
        return False
    rows = ground.lines[statement.lineno - 1 : statement.end_lineno]
    text = b"\n".join(rows).decode("utf-8", "replace")
    alone = text.strip() == ground.text(statement).strip()
    return alone and not comments(ground.text(statement))


def pure(calls: Iterable[ast.Call]) -> bool:
    """Whether calls do nothing but compute a value: they are of torch's operations that draw and write nothing."""
    return all(
        operations(call)
        and all(ops.rows()[name].pure for name in operations(call))
        and not (isinstance(call.func, ast.Attribute) and call.func.attr.endswith("_"))
        and not any(keyword.arg in ("out", "inplace") for keyword in call.keywords)
        for call in calls
    )
