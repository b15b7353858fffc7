"""Arithmetic on numbers that are known, as Python computes it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping

from nanguard.reading.values import Value, opaque
from nanguard.term import Term, const

MAX_BITS = 1_000  # of an integer that is computed with: all of these are floats, too


def computed(sign: ast.operator, a: Term, b: Term) -> Value:
    """Arithmetic on known numbers (texts and the like become opaque)."""
    x, y = a.value, b.value
    if not isinstance(x, int | float) or not isinstance(y, int | float):
        return opaque("text")
    if isinstance(sign, ast.Pow) and (abs(y) > 64 or abs(x) > 1e6):
        return opaque("power")
    try:
        result = _ARITHMETIC[type(sign)](x, y)
    except (ArithmeticError, ValueError, KeyError, TypeError):
        return opaque("arithmetic")
    if isinstance(result, int) and result.bit_length() > MAX_BITS:
        return opaque("number")
    return const(result) if isinstance(result, int | float) and not isinstance(result, complex) else opaque("number")


_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda x, y: x + y,
    ast.Sub: lambda x, y: x - y,
    ast.Mult: lambda x, y: x * y,
    ast.Div: lambda x, y: x / y,
    ast.FloorDiv: lambda x, y: x // y,
    ast.Mod: lambda x, y: x % y,
    ast.Pow: lambda x, y: x**y,
}


def compared(sign: ast.cmpop, a: Term, b: Term) -> Value:
    x, y = a.value, b.value
    if isinstance(sign, ast.Eq | ast.NotEq):
        return const((x == y) == isinstance(sign, ast.Eq))
    if not isinstance(x, int | float) or not isinstance(y, int | float):
        return opaque("comparison")
    match sign:
        case ast.Gt():
            return const(x > y)
        case ast.GtE():
            return const(x >= y)
        case ast.Lt():
            return const(x < y)
    return const(x <= y)


def is_python_number(node: ast.expr) -> bool:
    """Whether an expression says that it is a number of Python: ``float(x)``, ``len(x)``, ``x.item()``, ``2``."""
    match node:
        case ast.Constant(value=int() | float()):
            return True
        case ast.UnaryOp(operand=operand):
            return is_python_number(operand)
        case ast.BinOp(left=left, right=right):
            return is_python_number(left) and is_python_number(right)
        case ast.Call(func=ast.Name(id="float" | "int" | "len")) | ast.Call(func=ast.Attribute(attr="item"), args=[]):
            return True
    return False
