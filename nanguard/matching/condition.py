"""The conditions that a rule may set: named predicates on what its variables are bound to.

A condition is written ``ends_at(x, 0)`` or ``not negated(x)``.  The predicates are those of
`predicates` and no more.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from nanguard.matching.predicates import PREDICATES
from nanguard.matching.predicates.asked import Ranges
from nanguard.nearest import nearest
from nanguard.term import Attr, ExpressionError, Term


@dataclass(frozen=True, slots=True)
class Condition:
    """A predicate, the variables or numbers it is asked about, and whether it must fail instead."""

    predicate: str
    args: tuple[str | float, ...]
    negated: bool

    def holds(self, bindings: Mapping[str, Term], attributes: Mapping[str, Attr], ranges: Ranges) -> bool:
        """Whether the condition holds for a match; one on the whole expression asks more of `ranges`, a `Matched`."""
        given: list[Term | Attr] = []
        for arg in self.args:
            if isinstance(arg, str):
                given.append(bindings[arg] if arg in bindings else attributes.get(arg))
            else:
                given.append(arg)
        return PREDICATES[self.predicate](ranges, *given) != self.negated


@cache
def parse(text: str) -> Condition:
    """Read a condition; raises `ExpressionError`."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionError(f"not a condition: {text!r}") from None
    negated = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    if isinstance(node, ast.UnaryOp) and negated:
        node = node.operand
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.keywords:
        raise ExpressionError(f"a condition is a predicate of variables, like ends_at(x, 0), not {text!r}")
    if node.func.id not in PREDICATES:
        raise ExpressionError(f"unknown predicate {node.func.id!r}{nearest(node.func.id, tuple(PREDICATES))}")
    try:
        _signature(node.func.id).bind(None, *node.args)
    except TypeError:
        raise ExpressionError(f"{node.func.id} takes another number of arguments: {text!r}") from None
    return Condition(node.func.id, tuple(_argument(arg, text) for arg in node.args), negated)


@cache
def _signature(predicate: str) -> inspect.Signature:
    return inspect.signature(PREDICATES[predicate])


def _argument(node: ast.expr, text: str) -> str | float:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -float(value)
    raise ExpressionError(f"a condition asks about variables and numbers only: {text!r}")
