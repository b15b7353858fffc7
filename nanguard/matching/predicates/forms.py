"""What operation an operand is, and of what."""

from __future__ import annotations

from collections.abc import Sequence

from nanguard import ops
from nanguard.matching.predicates import origins
from nanguard.matching.predicates.asked import Ranges, core
from nanguard.term import Term, number


def negated(ranges: Ranges, x: Term) -> bool:
    """The operand carries a minus sign: ``-x``, ``-2 * y``."""
    return x.op == "mul" and (number(x.args[0]) or 1.0) < 0


def deviation(ranges: Ranges, x: Term) -> bool:
    """A standard deviation, or the root of a variance."""
    x = core(x)
    return x.op == "std" or (is_root(x) and variance(ranges, core(x.args[0])))


def variance(ranges: Ranges, x: Term) -> bool:
    """A variance, or the mean of the squared differences from a mean."""
    inner = x.args[0].args[0] if x.op == "mean" and x.args[0].op == "pow" and number(x.args[0].args[1]) == 2 else x
    parts = [arg.args[1] for arg in inner.args if negated(ranges, arg)] if inner.op == "add" else []
    return x.op == "var" or any(core(part).op == "mean" for part in parts)


def spread(ranges: Ranges, x: Term) -> bool:
    """A variance, or a sum or mean of squares: what a hand-written deviation or norm is the root of."""
    inner = core(x.args[0]) if x.op in ("sum", "mean") else x
    return x.op == "var" or (inner is not x and inner.op == "pow" and number(inner.args[1]) == 2)


def moment(ranges: Ranges, x: Term) -> bool:
    """A running sum or mean of squares: squares and what was held before them, each times a number, no constant."""
    x = core(x)
    parts = x.args if x.op == "add" else ()
    bare = [core(part.args[-1]) if part.op == "mul" and _weights(part.args[:-1]) else core(part) for part in parts]
    squares = [part for part in bare if part.op == "pow" and number(part.args[1]) == 2]
    held = [part for part in bare if part.op in ("symbol", "opaque")]
    return bool(squares) and bool(held) and len(squares) + len(held) == len(parts)


def _weights(factors: Sequence[Term]) -> bool:
    """Whether factors are numbers and settings."""
    return all(
        factor.op == "const" or factor.attr("kind") in ("number", "size", "option")
        or (factor.op == "add" and _weights(factor.args)) or (factor.op == "mul" and _weights(factor.args))
        for factor in factors
    )  # fmt: skip


def inner_product(ranges: Ranges, x: Term) -> bool:
    """A product of matrices, or a sum of products."""
    inner = x.args[0] if x.op == "sum" else x
    return x.op in ("matmul", "dot") or (inner is not x and inner.op == "mul")


def exponential(ranges: Ranges, x: Term) -> bool:
    """An exponential, also of another base, a sigmoid, a root of these, or a sum or mean of them: 0 by underflow alone.

    What is divided by it overflows in truth.
    """
    x = core(x)
    x = core(x.args[0]) if x.op in ("sum", "mean", "amax") else x
    x = core(x.args[0]) if is_root(x) else x
    return x.op in ("exp", "sigmoid", "one_minus_sigmoid") or (x.op == "pow" and (number(x.args[0]) or 0) > 0)


def root_of_any(ranges: Ranges, x: Term) -> bool:
    """The root of something of which nothing is known, or a sum or mean of such roots.

    Its argument is 0 nowhere in particular: ``1 + c * v`` say.
    """
    x = core(x)
    x = core(x.args[0]) if x.op in ("sum", "mean") else x
    return is_root(x) and ranges.interval(x.args[0]).unknown


def kernel(ranges: Ranges, x: Term) -> bool:
    """Minus a setting times a distance: the exponent of a kernel, at most 0 for the widths that one has."""
    x = core(x)
    if not negated(ranges, x):
        return False
    others = [part for part in x.args[1:] if not origins.attribute(ranges, part) and not origins.setting(ranges, part)]
    return bool(others) and all(ranges.interval(part).nonnegative for part in others)


def unscaled(ranges: Ranges, x: Term) -> bool:
    """The exponent of a kernel that no setting scales: minus a distance as it is."""
    x = core(x)
    if not kernel(ranges, x):
        return False
    return not any(origins.attribute(ranges, part) or origins.setting(ranges, part) for part in x.args[1:])


def logged(ranges: Ranges, x: Term) -> bool:
    """A logarithm as it stands: its exponential is what it was taken of, which was finite."""
    return all(core(part).op in ("log", "log2", "log10", "log1p") for part in (x.args if x.op == "either" else (x,)))


def one_minus(ranges: Ranges, x: Term) -> bool:
    """1 minus something."""
    return x.op == "add" and len(x.args) == 2 and number(x.args[0]) == 1 and negated(ranges, x.args[1])


def odds(ranges: Ranges, x: Term) -> bool:
    """The odds of something: ``p / (1 - p)``, ``1 / p - 1``."""
    if x.op == "add" and len(x.args) == 2 and number(x.args[0]) == -1:
        return x.args[1].op == "pow" and (number(x.args[1].args[1]) or 0) < 0
    below = [arg.args[0] for arg in x.args if arg.op == "pow" and number(arg.args[1]) == -1] if x.op == "mul" else []
    return any(one_minus(ranges, part) for part in below)


def offset(ranges: Ranges, x: Term) -> bool:
    """A number or a hyper-parameter, or a sum that has one: ``x + eps``, ``1 + x``."""
    x = core(x)
    return any(not origins.varies(ranges, part) for part in (x.args if x.op == "add" else (x,)))


def lifted(ranges: Ranges, x: Term) -> bool:
    """A sum of a hyper-parameter and of what is never below 0: ``x ** 2 + c``."""
    parts = [part for part in x.args if origins.varies(ranges, part)] if x.op == "add" else []
    return 0 < len(parts) < len(x.args) and all(ranges.interval(part).nonnegative for part in parts)


def shifted(ranges: Ranges, x: Term) -> bool:
    """An argument as it came or a number of entries, less or plus a number: ``1 - t``."""
    x = core(x)
    parts = x.args if x.op == "add" else ()
    plain = [part.args[-1] if part.op == "mul" else part for part in parts if number(part) is None]
    return len(plain) < len(parts) and all(core(part).op == "symbol" or ops.size(core(part)) for part in plain)


def affine(ranges: Ranges, z: Term) -> bool:
    """The output of a linear layer or a product of matrices, so of either sign and any size."""
    z = core(z)
    return z.op in ("linear", "matmul") or (z.op == "add" and any(part.op == "matmul" for part in z.args))


def has_singularity(ranges: Ranges, x: Term) -> bool:
    """Somewhere in `x` is an operation that can be non-finite, or have a non-finite derivative, at any of its entries.

    What ``x[mask] = value`` puts in is worked out for the selected entries alone, and does not count; nor does what no
    gradient comes back from, as from whole numbers.
    """
    rows = ops.rows()
    below, seen = [x], set[Term]()
    while below:
        node = below.pop()
        if node in seen or ops.cuts(node):  # a graph in which values are shared has exponentially many paths
            continue
        seen.add(node)
        open_power = node.op == "pow" and number(node.args[1]) is None  # it is most likely a square
        if node.op in rows and rows[node.op].singular and not open_power and not _decodes(node):
            return True
        below.extend(node.args[:1] if node.op == "overwrite" else node.args)
    return False


def _decodes(x: Term) -> bool:
    """A power of a mix of a value with 1, ``((c + 0.055) / 1.055) ** 2.4``: of a colour, whose base is above 0."""
    base = x.args[0] if x.op == "pow" else x
    factor, inner = (number(base.args[0]), base.args[1]) if base.op == "mul" and len(base.args) == 2 else (None, base)
    offset = number(inner.args[0]) if inner.op == "add" and len(inner.args) == 2 else None
    return factor is not None and offset is not None and 0 < offset < 0.2 and abs(factor * (1 + offset) - 1) < 1e-3


def factor(ranges: Ranges, x: Term) -> bool:
    """Each factor of `x` depends on a tensor, and none is an inverse."""
    factors = x.args if x.op == "mul" else (x,)
    return all(
        origins.varies(ranges, part) and not (part.op == "pow" and (number(part.args[1]) or 0) < 0) for part in factors
    )


def is_root(x: Term) -> bool:
    """Whether a form is a square root."""
    return x.op == "pow" and number(x.args[1]) == 0.5
