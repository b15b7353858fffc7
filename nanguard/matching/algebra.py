"""The algebra of normal forms: sums and products of any number of operands, powers with constant exponents.

In a normal form ``a - b`` is ``a + (-1) * b``, ``a / b`` is ``a * b ** -1``, operands of sums and products are in one
order, and constants are folded, but for a guard's epsilon, which stays an operand of its own: ``1 + 1e-8 - p``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache

from nanguard import ops
from nanguard.term import Term, const, is_number, make, number

NARY = ("add", "mul")
WRITTEN = frozenset({"add", "sub", "neg", "mul", "div", "reciprocal", "pow"})  # what may become another operation
WIDEST = 12  # operands of a sum or product that are still matched in any order
MINUS_ONE = const(-1)


def join(op: str, terms: Sequence[Term]) -> Term:
    """The sum or the product of some terms in normal form."""
    return total(terms) if op == "add" else product(terms)


def negative(term: Term) -> Term:
    """-term, distributed over a sum."""
    return product((MINUS_ONE, term))


def parts(op: str, terms: Iterable[Term]) -> list[Term]:
    """The operands of nested sums or products, flat."""
    listed: list[Term] = []
    for term in terms:
        if term.op == op:
            listed.extend(term.args)
        else:
            listed.append(term)
    return listed


def split(term: Term) -> tuple[float, Term | None]:
    """A term as coefficient times the rest (None for a constant)."""
    if term.numeric and (value := number(term)) is not None:
        return value, None
    if term.op == "mul" and is_number(term.args[0]):
        rest = term.args[1:]
        return number(term.args[0]) or 0.0, rest[0] if len(rest) == 1 else make("mul", rest)
    if moves(term):
        coefficient, inner = split(term.args[0])
        if inner is not None and coefficient != 1:
            return coefficient, make(term.op, (inner, *term.args[1:]), term.attrs)
    return 1.0, term


def moves(term: Term) -> bool:
    """Whether a term moves the entries of its first operand, so that a factor may stand outside or inside of it."""
    return term.op in _movements() and bool(term.args)


@cache
def _movements() -> frozenset[str]:
    return frozenset(row.name for row in ops.rows().values() if row.family == ops.MOVEMENT and row.name != "stack")


def total(terms: Iterable[Term]) -> Term:
    """A sum: like terms collected, constants folded but for those too small beside the others."""
    constants: list[float] = []
    coefficients: dict[Term, float] = {}
    for term in parts("add", terms):
        coefficient, base = split(term)
        if base is None:
            constants.append(coefficient)
        else:
            coefficients[base] = coefficients.get(base, 0.0) + coefficient
    listed = [_scaled(coefficient, base) for base, coefficient in coefficients.items() if coefficient != 0]
    listed.extend(const(_whole(value)) for value in _fold(constants))
    if not listed:
        return const(0)
    return listed[0] if len(listed) == 1 else make("add", tuple(sorted(listed, key=_order)))


def _fold(constants: Iterable[float]) -> list[float]:
    """Constants added where none of them is a guard beside the other."""
    kept: list[float] = []
    for value in constants:
        for index, other in enumerate(kept):
            if value == 0 or other == 0 or 1e-2 < abs(value / other) < 1e2:
                kept[index] = value + other
                break
        else:
            kept.append(value)
    return [value for value in kept if value != 0]


def _scaled(coefficient: float, base: Term) -> Term:
    return base if coefficient == 1 else product((const(_whole(coefficient)), base))


@cache
def _composed() -> frozenset[str]:
    """The operations that a product does not take as they are."""
    return _movements() | {"add", "mul", "pow", "const"}


def _plainly(terms: tuple[Term, ...]) -> Term | None:
    """A product of two factors that nothing can be collected of, None for others."""
    if len(terms) != 2:
        return None
    first, second = terms
    composed = _composed()
    if first.op == "const":
        first, second = second, first
    if first.op in composed:
        return None
    if second.op == "const":
        value = number(second)
        if value is None or value == 0 or value == 1:
            return None
        return make("mul", (const(_whole(value)), first))
    if second.op in composed or first is second:
        return None
    return make("mul", (first, second) if first.digest <= second.digest else (second, first))


def _whole(value: float) -> int | float:
    """Integers as such, so that 2 and 2.0 are one constant in a normal form."""
    return int(value) if math.isfinite(value) and value == math.floor(value) and abs(value) < 2**53 else value


def _order(term: Term) -> tuple[bool, int]:
    """Constants first, the rest by digest."""
    return not term.numeric, term.digest


def product(terms: Iterable[Term]) -> Term:
    """A product: the coefficient in front, equal factors as powers, a minus sign distributed over a lone sum."""
    terms = tuple(terms)
    plain = _plainly(terms)
    if plain is not None:
        return plain
    coefficient = 1.0
    exponents: dict[tuple[Term, bool], float] = {}
    for term in parts("mul", terms):
        if term.numeric and (value := number(term)) is not None:
            coefficient *= value
            continue
        base, exponent = _base(term)
        key = (base, exponent > 0)
        exponents[key] = exponents.get(key, 0.0) + exponent
    listed = [base if exponent == 1 else power(base, exponent) for (base, _), exponent in exponents.items()]
    if coefficient == 0:
        return const(0)
    if not listed:
        return const(_whole(coefficient))
    if coefficient == -1 and len(listed) == 1 and listed[0].op == "add":
        return total(product((MINUS_ONE, term)) for term in listed[0].args)
    if coefficient != 1 and len(listed) == 1 and moves(listed[0]):
        moved = listed[0]
        inner = product((const(_whole(coefficient)), moved.args[0]))
        return make(moved.op, (inner, *moved.args[1:]), moved.attrs)
    if coefficient != 1:
        listed.append(const(_whole(coefficient)))
    return listed[0] if len(listed) == 1 else make("mul", tuple(sorted(listed, key=_order)))


def _base(term: Term) -> tuple[Term, float]:
    if term.op != "pow" or (exponent := number(term.args[1])) is None:
        return term, 1.0
    return term.args[0], exponent


def power(base: Term, exponent: float) -> Term:
    """base ** exponent: powers of powers and of products where that is the same for every base."""
    if exponent == 1:
        return base
    if exponent == 0:
        return const(1)
    value = number(base)
    if value is not None:
        return _constant_power(base, value, exponent)
    whole = math.isfinite(exponent) and exponent == math.floor(exponent)
    inner, outer = _base(base)
    if inner is not base and whole and (float(outer).is_integer() or exponent == -1):
        return power(inner, outer * exponent)
    if base.op == "mul" and whole:
        coefficient, rest = split(base)
        if coefficient != 1 and rest is not None:
            return product((const(_whole(coefficient**exponent)), power(rest, exponent)))
        return product(power(factor, exponent) for factor in base.args)
    return make("pow", (base, const(_whole(exponent))))


def _constant_power(base: Term, value: float, exponent: float) -> Term:
    try:
        result = value**exponent
    except (ZeroDivisionError, OverflowError):
        result = 0j
    if isinstance(result, float) and math.isfinite(result):
        return const(_whole(result))
    return make("pow", (base, const(_whole(exponent))))
