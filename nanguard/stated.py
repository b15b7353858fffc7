"""Stated: the values that a user says an argument takes."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass, field

from nanguard.errors import NanguardError
from nanguard.settings import Settings, inputs_of


@dataclass(frozen=True, slots=True)
class Range:
    """The values from `low` to `high`, both of them included unless `low_open` or `high_open` says otherwise.

    In an annotation it tells nanguard what a parameter takes, which is then believed::

        def loss(p: Annotated[Tensor, nanguard.Range(0, 1)], scale: Annotated[Tensor, nanguard.Range(low=1e-6)]):

    An end that is left out is not bounded.  Raises `NanguardError` for ends that are no numbers or in the wrong order.
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = field(default=False, kw_only=True)
    high_open: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        ends = (self.low, self.high)
        if not all(isinstance(end, int | float) and not isinstance(end, bool) and end == end for end in ends):
            raise NanguardError(f"Range({self.low!r}, {self.high!r}): the ends are numbers, as in Range(0, 1)")
        if self.low > self.high or (self.low == self.high and (self.low_open or self.high_open)):
            raise NanguardError(
                f"Range({self.low!r}, {self.high!r}): there is nothing between these; write Range(0, 1)"
            )

    @property
    def whole(self) -> bool:
        """Whether it has every number."""
        return self.low == -math.inf and self.high == math.inf

    def facts(self) -> dict[str, float | bool]:
        """What it says that is not so of every number, by the names of the fields."""
        found: dict[str, float | bool] = {}
        if self.low != -math.inf:
            found |= {"low": float(self.low), **({"low_open": True} if self.low_open else {})}
        if self.high != math.inf:
            found |= {"high": float(self.high), **({"high_open": True} if self.high_open else {})}
        return found


def ranges_for(settings: Settings, path: str, name: str) -> dict[str, Range]:
    """The ranges that the settings give for the parameters of a target.  Raises `NanguardError` for what is none."""
    return {parameter: parse_range(text, parameter) for parameter, text in inputs_of(settings, path, name).items()}


def parse_range(text: str, name: str) -> Range:
    """The range of a parameter that a text such as ``0 <= target <= 1``, ``x > 0`` or ``any`` gives.

    Raises `NanguardError` for any other text.
    """
    if text.strip() == "any":
        return Range()
    try:
        return _range(ast.parse(text.strip(), mode="eval").body, name)
    except (SyntaxError, ValueError, RecursionError, NanguardError):
        example = f'"0 <= {name} <= 1", "{name} > 0" or "any"'
        raise NanguardError(f"{text!r} is no range of {name!r}; write one such as {example}") from None


def _range(node: ast.expr, name: str) -> Range:
    """The range of a comparison, or of several with ``and`` between them."""
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        ranges = [_range(part, name) for part in node.values]
    elif isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        ranges = [_side(sides[i], op, sides[i + 1], name) for i, op in enumerate(node.ops)]
    else:
        raise ValueError
    low, low_open = max((found.low, found.low_open) for found in ranges)
    high, closed = min((found.high, not found.high_open) for found in ranges)
    return Range(low, high, low_open=low_open, high_open=not closed)


def _side(left: ast.expr, op: ast.cmpop, right: ast.expr, name: str) -> Range:
    """The range of one comparison of the parameter with a number."""
    if _is(right, name):
        return _bound(type(op), number_in(left), mirrored=True)
    if _is(left, name):
        return _bound(type(op), number_in(right), mirrored=False)
    raise ValueError


def _bound(op: type[ast.cmpop], value: float, mirrored: bool) -> Range:
    if op is ast.Eq:
        return Range(value, value)
    if op not in (ast.Lt, ast.LtE, ast.Gt, ast.GtE):
        raise ValueError
    strict = op in (ast.Lt, ast.Gt)
    from_below = (op in (ast.Gt, ast.GtE)) is not mirrored
    return Range(low=value, low_open=strict) if from_below else Range(high=value, high_open=strict)


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def number_in(node: ast.expr) -> float:
    """The number that an expression is: a constant, with a sign or not, ``inf``, ``float("inf")`` or ``math.inf``.

    Raises `ValueError` for any other expression.
    """
    match node:
        case ast.Constant(value=bool()):
            raise ValueError
        case ast.Constant(value=int(value) | float(value)):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -number_in(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return number_in(operand)
        case ast.Name(id="inf") | ast.Attribute(attr="inf"):
            return math.inf
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str(text))], keywords=[]):
            return float(text)
    raise ValueError
