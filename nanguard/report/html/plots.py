"""The plots of expressions in all dtypes: what is the same but for names is one plot, known by its key."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import Any

from nanguard.collector import paused
from nanguard.finding import DTYPES
from nanguard.matching.interval import Interval
from nanguard.proof.leaves import Cut
from nanguard.report.html.drawn import Curve, Heat, Plot
from nanguard.report.html.plot import Drawing, direction, draw, marks, renamed
from nanguard.term import Term, show, walk

SECONDS = 10.0  # of the processor for one expression, after which no further dtype is begun

_LINE = "the inputs lie along the line through 0 and the witness, and x is the entry of largest magnitude"
_LONGEST = 160  # characters of a title


def plot(drawing: Drawing, exhaustive: bool = True, limited: bool = True) -> Plot | None:
    """The plot of an expression, first in the dtype of its finding; None where it does not run or has no exact value.

    `exhaustive` tries every float16 and bfloat16 where the expression has one input.  Where it is `limited`, an
    expression that takes too long has not all dtypes.
    """
    own = drawing.matcher.ranges.dtype
    end = time.process_time() + SECONDS
    drawn: list[Curve | Heat] = []
    with paused():
        for dtype in (own, *(each for each in reversed(DTYPES) if each != own)):
            if not limited or time.process_time() < end:
                found = draw(drawing, dtype, exhaustive)
                drawn += [found] if found is not None and not found.empty else []
    if not drawn:
        return None
    axes = tuple("xy"[: drawing.inputs]) or ("x",)
    drawn.sort(key=lambda each: DTYPES.index(each.dtype))
    return Plot(_title(drawing.pair.before), axes, None if drawing.inputs else _LINE, tuple(drawn))


def key(drawing: Drawing) -> str:
    """What makes two drawings one: the same terms but for the names of their leaves, the same inputs and marks."""
    cut, after = drawing.pair.before, drawing.pair.after
    numbers: dict[Term, int] = {}
    roots = (cut.root, cut.reference, *((after.root,) if after is not None else ()))
    rows = [row for root in roots for row in _rows(renamed(cut, root), numbers)]
    inputs = [_limits(drawing.matcher.ranges.interval(leaf)) for leaf in cut.free]
    line = direction(drawing.witness) if drawing.inputs == 0 else marks(drawing)
    others = [value for _, value in cut.fixed], len(cut.index), [leaf in cut.targets for leaf in cut.free]
    parts = rows, inputs, line, others, drawing.pair.shape, cut.scale, cut.padded, cut.elementwise, after is None
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _rows(root: Term, numbers: dict[Term, int]) -> Iterator[tuple[Any, ...]]:
    """A term as rows that refer to each other by their numbers, then the number of the term itself."""
    for node in walk(root):
        if node not in numbers:
            numbers[node] = len(numbers)
            yield node.op, [numbers[arg] for arg in node.args], node.attrs
    yield (numbers[root],)


def _limits(interval: Interval) -> tuple[float, float, bool, bool, bool, bool]:
    """What says which inputs are held."""
    return (
        interval.low, interval.high, interval.low_open, interval.high_open, interval.integer, interval.nonzero,
    )  # fmt: skip


def _title(cut: Cut) -> str:
    text = show(renamed(cut, cut.root))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
