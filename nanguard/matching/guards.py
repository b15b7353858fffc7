"""Guards: whether a bound that stands like one is there to keep a value finite, or cuts off ordinary values."""

from __future__ import annotations

from collections.abc import Sequence

from nanguard import ops
from nanguard.matching.interval import Interval
from nanguard.matching.ranges import RangeTable
from nanguard.term import Term, number, walk

_NEAR = 1e-2  # beyond a bound, as a part of it or at all: as far as rounding and an epsilon reach
_ORDINARY = 1e4  # and larger bounds stand where no ordinary value is


def spare(root: Term, guards: Sequence[Term], ranges: RangeTable) -> bool:
    """Whether no guard in a term takes the place of values that are as good as others.

    The bound below of ``sigmoid(x.clamp(min=1e-6))`` does, where that of ``log(x.clamp(min=1e-6))`` stands at an edge;
    so does the 1 above a sum of sizes, of which nothing says that it is no larger.
    """
    return all(_spares(guard, root, ranges) for guard in guards if guard.op in ("clamp", "maximum"))


def _spares(guard: Term, root: Term, ranges: RangeTable) -> bool:
    interval = ranges.interval(guard.args[0])
    high = number(guard.args[2]) if guard.op == "clamp" else None
    if high is not None and _cuts_off(high, interval):
        return False
    return interval.low >= 0 or _at_edge(guard, root)


def _cuts_off(high: float, interval: Interval) -> bool:
    """Whether ordinary values lie above a bound."""
    known = high < _ORDINARY and not interval.unknown
    return known and interval.high > high + _NEAR * max(abs(high), 1.0)


def _at_edge(value: Term, root: Term) -> bool:
    """Whether an operation that is not finite everywhere takes a value as it is, or moved."""
    for node in walk(root):
        if value in node.args and (ops.breaks(node) or (_passes(node) and _at_edge(node, root))):
            return True
    return False


def _passes(node: Term) -> bool:
    return ops.family(node) in (ops.CAST, ops.MOVEMENT)
