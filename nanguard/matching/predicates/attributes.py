"""What an operation was given beside its operands: dimensions, options."""

from __future__ import annotations

from nanguard import ops
from nanguard.matching.pattern import same_attr
from nanguard.matching.predicates.asked import Ranges
from nanguard.term import Attr, Term, number


def given(ranges: Ranges, x: Term | Attr) -> bool:
    """An operand or an attribute that is there, not none."""
    return x is not None and not (isinstance(x, Term) and x.op == "const" and x.value is None)


def over_all(ranges: Ranges, dim: Attr) -> bool:
    """A reduction over all dimensions: it was given none."""
    return dim is None


def along_one(ranges: Ranges, dim: Attr) -> bool:
    """A reduction along one dimension that is known."""
    return isinstance(dim, int)


def elsewhere(ranges: Ranges, dim: Attr, other: Attr) -> bool:
    """A dimension that is not the other one: both counted from the same end, or one is all of several."""
    if dim is None:
        return isinstance(other, int) and other != 0
    if not isinstance(dim, int) or not isinstance(other, int):
        return False
    return dim != other and (dim < 0) == (other < 0)


def constant_along(ranges: Ranges, x: Term, dim: Attr) -> bool:
    """`x` is the same all along a dimension: a number, or a reduction over that dimension or over all of them."""
    if number(x) is not None or x.attr("kind") in ("number", "size"):
        return True
    if ops.family(x) == ops.REDUCE:
        return x.attr("dim") is None or same_attr(x.attr("dim"), dim)
    entrywise = ops.family(x) in (ops.ELEMENTWISE, ops.CAST) or x.op == "unsqueeze"
    return entrywise and bool(x.args) and all(constant_along(ranges, arg, dim) for arg in x.args)


def one_of(ranges: Ranges, value: Attr, *allowed: Attr) -> bool:
    """An attribute or a constant has one of these values."""
    held = number(value) if isinstance(value, Term) else value
    return held in allowed
