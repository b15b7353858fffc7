"""The conditions that a rule may set: named predicates on what its variables are bound to.

A condition is written ``ends_at(x, 0)`` or ``not negated(x)``.  The predicates are this table and no more; a rule
that needs another one needs a row here.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nanguard import ops
from nanguard.interval import Interval
from nanguard.term import Attr, ExpressionError, Term, number, walk


class Ranges(Protocol):
    """What a predicate may ask: the interval of a term in the dtype under check."""

    def interval(self, term: Term) -> Interval:
        """The floats that the term can take."""
        ...


@dataclass(frozen=True, slots=True)
class Condition:
    """A predicate, the variables or numbers it is asked about, and whether it must fail instead."""

    predicate: str
    args: tuple[str | float, ...]
    negated: bool

    def holds(self, bindings: Mapping[str, Term], attributes: Mapping[str, Attr], ranges: Ranges) -> bool:
        """Whether the condition holds for a match."""
        given: list[Term | Attr] = []
        for arg in self.args:
            if isinstance(arg, str):
                given.append(bindings[arg] if arg in bindings else attributes.get(arg))
            else:
                given.append(arg)
        return _PREDICATES[self.predicate](ranges, *given) != self.negated


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
    if node.func.id not in _PREDICATES:
        raise ExpressionError(f"unknown predicate {node.func.id!r}{nearest(node.func.id, tuple(_PREDICATES))}")
    return Condition(node.func.id, tuple(_argument(arg, text) for arg in node.args), negated)


def _argument(node: ast.expr, text: str) -> str | float:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -float(value)
    raise ExpressionError(f"a condition asks about variables and numbers only: {text!r}")


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint at the known name that is most like `name`, for an error message."""
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _negated(ranges: Ranges, x: Term) -> bool:
    """The operand carries a minus sign: ``-x``, ``-2 * y``."""
    return x.op == "mul" and (number(x.args[0]) or 1.0) < 0


def _number(ranges: Ranges, x: Term) -> bool:
    """A numeric constant."""
    return number(x) is not None


def _small(ranges: Ranges, x: Term) -> bool:
    """A guard's constant: above 0 and at most 1e-2, or a number of the program that is called like one."""
    value = number(x)
    if value is not None:
        return 0 < value <= 1e-2
    return x.op == "symbol" and any(word in x.name.lower() for word in ("eps", "tiny", "small", "smooth"))


def _vanishes(ranges: Ranges, x: Term) -> bool:
    """A constant that is not 0 and becomes 0 in the dtype."""
    value = number(x)
    return value is not None and value != 0 and ranges.interval(x).format.round(value) == 0


def _rounds_to(ranges: Ranges, x: Term, target: float) -> bool:
    """A constant other than `target` that becomes `target` in the dtype: 1 - 1e-8 is 1 in float32."""
    value = number(x)
    return value is not None and value != target and ranges.interval(x).format.round(value) == target


def _ends_at(ranges: Ranges, x: Term, value: float) -> bool:
    """`value` is an end of the range of `x`, and reached."""
    return ranges.interval(x).ends_at(value)


def _reaches(ranges: Ranges, x: Term, value: float) -> bool:
    """`x` can be `value`."""
    return ranges.interval(x).holds(value)


def _nonnegative(ranges: Ranges, x: Term) -> bool:
    """`x` is never below 0."""
    return ranges.interval(x).nonnegative


def _positive(ranges: Ranges, x: Term) -> bool:
    """`x` is always above 0."""
    return ranges.interval(x).positive


def _probability(ranges: Ranges, x: Term) -> bool:
    """`x` lies in [0, 1]."""
    interval = ranges.interval(x)
    return interval.low >= 0 and interval.high <= 1


def _varies(ranges: Ranges, x: Term) -> bool:
    """`x` depends on a tensor of the program: it is no number or hyper-parameter."""
    return any(
        (node.op == "symbol" and node.attr("kind") == "tensor") or node.op == "opaque" for node in walk(x)
    )  # fmt: skip


def _computed(ranges: Ranges, x: Term) -> bool:
    """`x` is an operation on something, not an argument or an attribute as it came."""
    return x.op not in ("symbol", "opaque", "const", "variable") and ops.family(x) != ops.MOVEMENT


def _plain(ranges: Ranges, x: Term) -> bool:
    """`x` is an argument or an attribute as it came."""
    return x.op == "symbol"


_LINEAR = ("symbol", "opaque", "const", "add", "mul", "abs", "relu", "clamp", "either")


def _linear(ranges: Ranges, x: Term) -> bool:
    """`x` is as likely small as its arguments are: no power, exponential or sum over entries stands between them."""
    below = [x]
    while below:
        node = below.pop()
        if node.op == "pow" and number(node.args[1]) == -1:
            continue
        if node.op not in _LINEAR and ops.family(node) != ops.MOVEMENT:
            return False
        below.extend(node.args)
    return True


def _has_singularity(ranges: Ranges, x: Term) -> bool:
    """Somewhere in `x` is an operation that can be non-finite, or have a non-finite derivative."""
    rows = ops.rows()
    return any(node.op in rows and rows[node.op].singular for node in walk(x))


def _one_of(ranges: Ranges, value: Attr, *allowed: Attr) -> bool:
    """An attribute or a constant has one of these values."""
    held = number(value) if isinstance(value, Term) else value
    return held in allowed


_PREDICATES: Mapping[str, Callable[..., bool]] = {
    "negated": _negated,
    "number": _number,
    "small": _small,
    "vanishes": _vanishes,
    "rounds_to": _rounds_to,
    "ends_at": _ends_at,
    "reaches": _reaches,
    "nonnegative": _nonnegative,
    "positive": _positive,
    "probability": _probability,
    "varies": _varies,
    "computed": _computed,
    "plain": _plain,
    "linear": _linear,
    "has_singularity": _has_singularity,
    "one_of": _one_of,
}
