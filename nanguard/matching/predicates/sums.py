"""Sums over entries and norms: of what they are, and what they are parts of."""

from __future__ import annotations

from nanguard import ops
from nanguard.matching.predicates import forms, intervals
from nanguard.matching.predicates.asked import Ranges, core
from nanguard.term import Term, number, walk


def norm(ranges: Ranges, x: Term) -> bool:
    """A vector norm, or the root of a sum of squares."""
    x = core(x)
    return x.op == "vector_norm" or (forms.is_root(x) and forms.spread(ranges, core(x.args[0])))


def total(ranges: Ranges, x: Term) -> bool:
    """A sum, a mean or a maximum of entries."""
    return core(x).op in ("sum", "mean", "amax", "count_nonzero")


def totals(ranges: Ranges, x: Term) -> bool:
    """A sum of several such totals, with what weights they may have."""
    parts = x.args if x.op == "add" else ()
    return bool(parts) and all(part.op == "sum" or any(arg.op == "sum" for arg in part.args) for part in parts)


def product_of_totals(ranges: Ranges, x: Term) -> bool:
    """A product of several such totals or sums of them, of which a root is taken: it is 0 where one of them is."""
    factors = [part for part in x.args if number(part) is None] if x.op == "mul" else []
    return len(factors) > 1 and all(total(ranges, part) or totals(ranges, part) for part in factors)


def part_of_itself(ranges: Ranges, p: Term) -> bool:
    """A quotient of a sum by itself and more: ``tp / (tp + fp + fn)``, which is 1 where there is no more."""
    below = [core(part.args[0]) for part in p.args if part.op == "pow" and number(part.args[1]) == -1]
    above = [core(part) for part in p.args if part.op != "pow"]
    if p.op != "mul" or len(below) != 1 or len(above) != 1 or below[0].op != "add":
        return False
    parts = above[0].args if above[0].op == "add" else (above[0],)
    return set(parts) < set(below[0].args) and any(total(ranges, part) for part in parts)


def two_squares(ranges: Ranges, x: Term) -> bool:
    """A sum of two squares: what hypot is the root of."""
    return x.op == "add" and len(x.args) == 2 and all(arg.op == "pow" and number(arg.args[1]) == 2 for arg in x.args)


_COUNTED = ("mask", "valid", "event", "indicator")


def count(ranges: Ranges, x: Term) -> bool:
    """A sum of a mask, of values that are 0 or 1, or of an argument that is called like one."""
    x = core(x)
    if x.op != "sum":
        return False
    entry = ranges.interval(x.args[0])
    if entry.integer and entry.low >= 0:
        return entry.low == 0
    inner = core(x.args[0])
    if inner.op == "add" and len(inner.args) == 2:  # a mask without the diagonal
        parts = [part.args[-1] if forms.negated(ranges, part) else part for part in inner.args]
        return sum(forms.negated(ranges, part) for part in inner.args) == 1 and all(
            intervals.mask(ranges, part) for part in parts
        )
    return inner.op == "symbol" and any(word in inner.name.lower() for word in _COUNTED)


def ranked(ranges: Ranges, x: Term) -> bool:
    """A count of the places up to which a running sum holds a bound: it holds it at the first one."""
    x = core(x)
    if x.op != "sum":
        return False
    test = core(x.args[0])
    while ops.family(test) == ops.CAST and test.args:
        test = core(test.args[0])
    return ops.compares(test) and any(node.op == "cumsum" for node in walk(test))


def share(ranges: Ranges, a: Term, b: Term) -> bool:
    """`a` is a product with an argument, `b` a sum or a mean of products with it: a part of a mean power."""
    b = core(b)
    while b.op in ("sum", "mean"):
        b = core(b.args[0])
    factors = [core(factor) for factor in b.args] if b.op == "mul" else []
    return any(core(part) in factors and core(part).op == "symbol" for part in (a.args if a.op == "mul" else (a,)))


def centred(ranges: Ranges, x: Term) -> bool:
    """Something is taken away that is worked out of the same tensor out of sight: its maximum, most likely.

    Of a maximum that is in sight the proof tells whether it is the right one.
    """
    x = core(x)
    if x.op == "mul":
        return any(centred(ranges, part) for part in x.args)
    if x.op != "add":
        return False
    parts = list(map(core, x.args))
    taken = [core(part.args[-1]) for part in parts if forms.negated(ranges, part)]
    leaves = {node for part in parts if not forms.negated(ranges, part) for node in walk(part) if not node.args}
    return any(_out_of_sight(part) and not leaves.isdisjoint(walk(part)) for part in taken)


def _out_of_sight(x: Term) -> bool:
    """What a function makes that nothing is known of, or the maximum of the items of a loop."""
    in_a_loop = any(node.attr("index") in ("item", "joined") for node in walk(x))
    return x.op == "opaque" or (x.op == "amax" and in_a_loop)


def _squared_norm_of(x: Term) -> Term | None:
    """The tensor of which `x` has the squared norms: a sum of squares, or the diagonal of its products with itself."""
    x = core(x)
    if x.op == "matmul" and core(x.args[0]) is core(x.args[1]):
        return core(x.args[0])
    inner = x.args[0] if x.op in ("sum", "pow") else x
    if x.op == "sum" and inner.op == "pow" and number(inner.args[1]) == 2:
        return core(inner.args[0])
    if x.op == "pow" and number(x.args[1]) == 2 and inner.op == "vector_norm":
        return core(inner.args[0])
    return None


def expansion(ranges: Ranges, a: Term, b: Term, x: Term, y: Term) -> bool:
    """`a` and `b` are the squared norms of `x` and `y`, in either order."""
    norms, factors = (_squared_norm_of(a), _squared_norm_of(b)), (core(x), core(y))
    return norms == factors or norms == factors[::-1]


def same(ranges: Ranges, x: Term, y: Term) -> bool:
    """The entries of one tensor, moved or not."""
    return core(x) is core(y)


_MIXING = ("add", "mul", "sum", "mean", "scatter_add", "matmul")


def mixture(ranges: Ranges, p: Term) -> bool:
    """A sum of products of probabilities that come from logits, with weights that are never negative.

    An argument of which nothing is known is one, unless there is a division: a logarithm is taken of the sum.
    """
    below, seen, found, unknown, divided = [p], set[Term](), False, False, False
    while below:
        node = below.pop()
        if node in seen:
            continue
        seen.add(node)
        row = ops.row(node.op)
        if row is not None and row.probability:
            found = True
        elif _any_weight(ranges, node):
            unknown = True
        elif node.op in _MIXING or ops.family(node) == ops.CAST:
            below.extend(node.args)
        elif ops.family(node) == ops.MOVEMENT and node.args:
            below.append(node.args[0])
        elif not ranges.interval(node).nonnegative:
            return False
        divided = divided or node.op == "pow"
    return found and p.op in _MIXING and not (unknown and divided)


def _any_weight(ranges: Ranges, x: Term) -> bool:
    """An argument of which nothing is known, or 1 minus one."""
    if forms.one_minus(ranges, x):
        x = x.args[1].args[-1]
    unknown = x.op == "opaque" or (x.op == "symbol" and x.attr("kind") == "tensor")
    return unknown and ranges.interval(x).unknown


def part_of_whole(ranges: Ranges, s: Term) -> bool:
    """A sum of some probabilities of a softmax, which may come near 1."""
    summed = False
    while s.args and (s.op in ("sum", "cumsum") or ops.family(s) == ops.MOVEMENT):
        summed, s = summed or s.op in ("sum", "cumsum"), s.args[0]
    return summed and s.op == "softmax"


def remainder(ranges: Ranges, a: Term, b: Term) -> bool:
    """`a` is a total and `b` a running sum of the same values."""
    a, b = core(a), core(b)
    return b.op == "cumsum" and (a is b or (a.op == "sum" and a.args[0] is b.args[0]))
