"""The expression itself that a rule fits, not an operand of it."""

from __future__ import annotations

from nanguard import ops
from nanguard.matching.predicates.asked import Matched, core
from nanguard.term import Term, number, walk


def divides(matched: Matched) -> bool:
    """It is a division or a root, not a product of which a factor is one."""
    return matched.term.op in ("div", "reciprocal", "pow", "sqrt", "rsqrt")


def divisor(matched: Matched, x: Term) -> bool:
    """It divides by `x` or by a product with it, and no test on the way has shown it not to be 0."""
    term = matched.term
    if term.op not in ("div", "reciprocal", "pow", "rsqrt") or (term.op == "pow" and (number(term.args[1]) or 0) > 0):
        return False
    below = term.args[1] if term.op == "div" else term.args[0]
    written = core(below)
    if written.op == "assume" and written.attr("nonzero"):
        return False
    form = core(matched.normal(below))
    factors = form.args if form.op == "mul" else (form,)
    bases = [factor.args[0] if factor.op == "pow" else factor for factor in factors]
    return core(x) in [core(part) for part in (*factors, *bases)]


def alone(matched: Matched) -> bool:
    """It is a power with nothing else beside it: ``1 / b``, not ``a / b``."""
    return matched.head.op == "pow"


def norms(matched: Matched, count: float) -> bool:
    """It divides by this many norms."""
    factors = matched.head.args
    divisors = [factor.args[0] for factor in factors if factor.op == "pow" and (number(factor.args[1]) or 0) < 0]
    return bool(sum(part.op == "vector_norm" for part in divisors) == count)


def summands(matched: Matched, count: float) -> bool:
    """It is a sum of this many operands, so that the pattern left none of them over."""
    head = core(matched.bare)
    return head.op == "add" and len(head.args) == count


def converted(matched: Matched, x: Term) -> bool:
    """`x` is an argument that the program makes floats of there: it holds whole numbers, or is a mask."""
    return any(
        (node.op == "to" or ops.cuts(node)) and node.args[0].op == "symbol" and core(matched.normal(node)) is core(x)
        for part in matched.term.args
        for node in (part, *part.args)
    )


def by_class(matched: Matched, p: Term) -> bool:
    """It is about the entries of `p` at the classes of a target: ``p.gather(1, target)``, ``(p * one_hot).sum(1)``."""
    taken = (node for node in walk(matched.term) if ops.family(node) in (ops.MOVEMENT, ops.REDUCE))
    forms = (matched.normal(node) for node in taken)
    picked = (form for form in forms if form.op in ("pick", "at_class") and form.attr("dim") not in (None, 0))
    return any(core(form) is core(p) for form in picked)


def crossing(matched: Matched, x: Term) -> bool:
    """The size of what passes through 0 as it goes from one sign to the other: a determinant, ``1 + x``, ``y / x``.

    It is 0 nowhere in particular, where a difference of two tensors is 0 once they are equal.
    """
    size = core(x)
    if size.op != "abs" and not (size.op == "pow" and number(size.args[1]) == 2):
        return False
    term = matched.term
    while term.op in ("log", "log2", "log10", size.op) or ops.family(term) in (ops.MOVEMENT, ops.CAST):
        if term.op == "diagonal":
            return True
        term = term.args[0]
    inner = core(size.args[0])
    if inner.op == "mul":
        return any(part.op == "pow" and (number(part.args[1]) or 0) < 0 for part in inner.args)
    return inner.op == "add" and number(inner.args[0]) is not None and matched.interval(inner).unknown
