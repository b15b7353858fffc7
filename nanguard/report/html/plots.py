"""The plots of a page: each expression is plotted once, as exactly as the time for all of them allows."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from dataclasses import dataclass, field, replace

from nanguard.collector import paused
from nanguard.finding import DTYPES
from nanguard.proof.leaves import Cut
from nanguard.report.html.drawn import EXHAUSTIVE, Curve, Heat, Plot
from nanguard.report.html.plot import Drawing, direction, draw, renamed
from nanguard.report.html.subject import Shown, Subject
from nanguard.term import show

_LINE = "the inputs lie along the line through 0 and the witness, and x is the entry of largest magnitude"
_LONGEST = 160  # characters of a title

Key = tuple[object, ...]


@dataclass(slots=True)
class Plots:
    """Plots by expression.  `seconds` of the processor are for all of them together; None is no limit.

    Each expression is sampled first in the dtype of its finding.  What is left of the time is for the other dtypes, and
    then for all inputs in float16 and bfloat16: first where most findings show the plot.
    """

    seconds: float | None
    drawings: dict[Key, Drawing] = field(default_factory=dict)
    made: dict[Key, Plot | None] = field(default_factory=dict)
    uses: Counter[Key] = field(default_factory=Counter)  # findings that show a plot
    truths: dict[object, array[float]] = field(default_factory=dict)
    used: float = 0.0

    def add(self, subject: Subject, shown: Shown) -> Key:
        """Plot a subject in its dtype by samples, unless its expression has been; the key of its plot."""
        key = _key(subject, shown)
        self.uses[key] += 1
        if key not in self.made:
            self.drawings[key] = Drawing(shown.pair, subject.matcher, shown.witness, self.truths)
            self.made[key] = None
            self._draw(key, subject.matcher.ranges.dtype, False)
        return key

    def widen(self) -> None:
        """Add the other dtypes, while there is time."""
        for key, _ in self.uses.most_common():
            for dtype in DTYPES:
                plot = self.made[key]
                if plot is None or plot.of(dtype) is None:
                    self._draw(key, dtype, False)

    def refine(self) -> None:
        """Make the curves of the small dtypes exhaustive, while there is time."""
        for key, _ in self.uses.most_common():
            plot = self.made[key]
            for drawn in plot.drawn if plot is not None else ():
                if drawn.dtype in EXHAUSTIVE and isinstance(drawn, Curve) and self.drawings[key].inputs == 1:
                    self._draw(key, drawn.dtype, True)

    def _draw(self, key: Key, dtype: str, exhaustive: bool) -> None:
        """Draw an expression in a dtype, if there is time."""
        if self.part >= 1:
            return
        began = time.process_time()
        with paused():
            drawn = draw(self.drawings[key], dtype, exhaustive)
        self.used += time.process_time() - began
        if drawn is None or drawn.empty:
            return
        plot = self.made[key] or self._blank(self.drawings[key])
        others = (each for each in plot.drawn if each.dtype != dtype)
        self.made[key] = replace(plot, drawn=tuple(sorted((*others, drawn), key=_order)))

    def _blank(self, drawing: Drawing) -> Plot:
        axes = tuple("xy"[: drawing.inputs]) or ("x",)
        return Plot(_title(drawing.pair.before), axes, None if drawing.inputs else _LINE, ())

    @property
    def part(self) -> float:
        """How much of the time is used, 1 for all of it."""
        return self.used / self.seconds if self.seconds else 0.0


def _order(drawn: Curve | Heat) -> int:
    return DTYPES.index(drawn.dtype)


def _key(subject: Subject, shown: Shown) -> Key:
    """What makes two subjects one plot: the same terms but for the names of their leaves, and the same ranges."""
    cut, after = shown.pair.before, shown.pair.after
    intervals = tuple(subject.matcher.ranges.interval(leaf) for leaf in cut.free)
    line = direction(shown.witness) if not cut.elementwise or len(cut.free) > 2 else ()
    terms = [renamed(cut, term) for term in (cut.root, cut.reference)]
    fixed = tuple(value for _, value in cut.fixed)
    return (*terms, after and renamed(cut, after.root), intervals, line, shown.pair.shape, cut.scale, fixed)


def _title(cut: Cut) -> str:
    text = show(renamed(cut, cut.root))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
