"""Naming: a statement put in that gives an operand of an earlier one a name, where a replacement has no words for it.

``p = softmax(net(x), dim=1)`` becomes ``p_input = net(x)`` and ``p = softmax(p_input, dim=1)``: nothing is computed
twice, in another order, or otherwise than before.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from nanguard.finding import Edit, Span
from nanguard.repair.edits import Placed, apply
from nanguard.repair.ground import Function, Ground, ground, names_in
from nanguard.repair.reaching import Reach, preceding
from nanguard.repair.storage import written_by
from nanguard.repair.unused import pure

_ONLY_SOMETIMES = (
    ast.IfExp, ast.BoolOp, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.JoinedStr,
    ast.Compare,
)  # fmt: skip
_MOST = 4  # places of an operand that are tried


@dataclass(frozen=True, slots=True)
class Named:
    """A file with a statement put in, the edits that do so, and what an expression is called from there on."""

    ground: Ground
    name: str
    edits: tuple[Edit, ...]
    line: int  # of the statement
    lines: int  # by which what comes after it stands further down

    def span(self, span: Span) -> Span:
        """Where a place of the file as it was is now."""
        moved = self.lines if span.line > self.line else 0
        return replace(span, line=span.line + moved, end_line=span.end_line + moved)

    def placed(self, put: Placed) -> Placed:
        """Edits of the file with the statement as edits of the file as it was, which put the statement in first."""
        back = replace(self, lines=-self.lines)
        moved = (replace(edit, span=back.span(edit.span)) for edit in put.edits)
        return replace(put, edits=(*self.edits, *moved))


def named(around: Ground, operand: Span, place: Span) -> Named | None:
    """Give the expression at `operand` a name that holds its value at `place`, None where that cannot be done soundly.

    It must stand in a plain assignment of one name that every way to the place passes, be computed whenever this is,
    and everything else in that assignment must be free of side effects.
    """
    node, user = around.expression(operand), around.expression(place)
    statement = around.statement(node) if node is not None else None
    if not isinstance(node, ast.expr) or user is None or not isinstance(statement, ast.Assign):
        return None
    match statement.targets:
        case [ast.Name(id=target)]:
            pass
        case _:
            return None
    if place.line <= (statement.end_lineno or 0) or not _passed(statement, Reach(around, user)):
        return None
    if not _always(node, statement, around) or not _alone(node, statement):
        return None
    column = statement.col_offset
    indent = around.lines[statement.lineno - 1][:column]
    if indent.strip():
        return None
    name, text = _fresh(target, statement, around), around.text(node)
    value = f"({text})" if "\n" in text else text
    put_in = f"{name} = {value}\n{indent.decode()}"
    start = Span(operand.path, statement.lineno, column, statement.lineno, column)
    edits = (Edit(start, put_in), Edit(operand, name))
    lines = [line + b"\n" for line in around.lines]
    source = apply(lines, edits, 1, len(lines)).decode("utf-8", "surrogatepass").removesuffix("\n")
    now = ground(source)
    if now is None:
        return None
    return Named(now, name, edits, statement.lineno, len(now.lines) - len(around.lines))


def _passed(statement: ast.stmt, reach: Reach) -> bool:
    """Whether each way through the function to a place comes by a statement, in the same turn of a loop."""
    here: ast.AST | None = reach.statement
    if here is None or reach.scope is reach.ground.tree:
        return False
    while here is not None and here is not reach.scope:
        above = reach.ground.parents[here]
        if statement in preceding(above, here):
            return True
        here = above
    return False


def _always(node: ast.expr, statement: ast.Assign, around: Ground) -> bool:
    """Whether a part of a statement is computed once, whenever the statement is run."""
    inside: list[ast.AST] = []
    for above in around.outwards(node):
        if above is statement:
            break
        inside.append(above)
    return not any(isinstance(above, _ONLY_SOMETIMES) for above in inside) and not any(
        isinstance(part, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom) for part in ast.walk(statement)
    )


def _alone(node: ast.expr, statement: ast.Assign) -> bool:
    """Whether all of a statement beside one part does nothing but compute, so that this part may as well come first."""
    others: list[ast.AST] = []
    waiting: list[ast.AST] = [statement.value]
    while waiting:
        part = waiting.pop()
        if part is not node:
            others.append(part)
            waiting.extend(ast.iter_child_nodes(part))
    calls = [part for part in others if isinstance(part, ast.Call)]
    return pure(calls) and not any(True for part in others for _ in written_by(part))


def _fresh(target: str, statement: ast.stmt, around: Ground) -> str:
    """A name that the file has not got, another one for each statement of a function that assigns the same name."""
    tree = around.tree
    taken = {part.arg for part in ast.walk(tree) if isinstance(part, ast.arg)} | names_in([tree]) | _bound(tree)
    scope = next((node for node in around.outwards(statement) if isinstance(node, Function)), tree)
    earlier = {
        part.lineno
        for part in ast.walk(scope)
        if isinstance(part, ast.Name) and part.id == target and isinstance(part.ctx, ast.Store)
    }
    number = 1 + sum(line < statement.lineno for line in earlier)
    names = (f"{target}_input" if count == 1 else f"{target}_input_{count}" for count in itertools.count(number))
    return next(name for name in names if name not in taken)


def _bound(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for part in ast.walk(tree):
        match part:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.alias(name=full, asname=short):
                found.add(short or full.split(".")[0])
    return found


def every_named(around: Ground, operands: Sequence[Span], place: Span) -> Iterator[Named]:
    """The last few of some expressions, each with a name given to it, if it can be given one."""
    earlier = sorted((span for span in operands if span.line < place.line), reverse=True)
    for operand in earlier[:_MOST]:
        found = named(around, operand, place)
        if found is not None:
            yield found
