"""The plots of a page: each expression is plotted once, as exactly as the time for all of them allows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nanguard.finding import DTYPES
from nanguard.proof.leaves import Cut
from nanguard.report.html.drawn import Curve, Plot
from nanguard.report.html.plot import EXHAUSTIVE, Drawing, direction, draw
from nanguard.report.html.subject import Shown, Subject
from nanguard.term import Term, make, show, substitute

_LINE = "the inputs lie along the line through 0 and the witness, and x is the entry of largest magnitude"
_LONGEST = 160  # characters of a title
_NAMES = "xyzuvwabcdefghijkl"
_FIRST = 0.75  # of the time: then only the dtype of a finding is plotted

Key = tuple[object, ...]


@dataclass(slots=True)
class Plots:
    """Plots by expression.  `seconds` of the processor are for all of them together; None is no limit.

    Each expression has its samples first; what is left of the time makes float16 and bfloat16 exhaustive.
    """

    seconds: float | None
    drawings: dict[Key, Drawing] = field(default_factory=dict)
    made: dict[Key, Plot | None] = field(default_factory=dict)
    used: float = 0.0

    def add(self, subject: Subject, shown: Shown) -> Key:
        """Plot a subject by samples, unless its expression has been; the key of its plot."""
        key = _key(subject, shown)
        if key not in self.made:
            self.drawings[key] = Drawing(shown.pair, subject.matcher, shown.witness)
            began = time.process_time()
            self.made[key] = self._sampled(self.drawings[key])
            self.used += time.process_time() - began
        return key

    def _sampled(self, drawing: Drawing) -> Plot | None:
        part = self.part
        if part >= 1:
            return None
        dtypes: Sequence[str] = DTYPES if part < _FIRST else (drawing.matcher.ranges.dtype,)
        found = (draw(drawing, dtype, False) for dtype in dtypes)
        drawn = tuple(each for each in found if each is not None and not each.empty)
        if not drawn:
            return None
        cut = drawing.pair.before
        axes = tuple("xy"[: drawing.inputs]) or ("x",)
        return Plot(_title(cut), axes, None if drawing.inputs else _LINE, drawn)

    def refine(self) -> None:
        """Make the curves of the small dtypes exhaustive while there is time."""
        for key, plot in self.made.items():
            for drawn in plot.drawn if plot is not None else ():
                if self.part >= 1:
                    return
                if drawn.dtype in EXHAUSTIVE and isinstance(drawn, Curve) and self.drawings[key].inputs == 1:
                    began = time.process_time()
                    self._replace(key, draw(self.drawings[key], drawn.dtype, True))
                    self.used += time.process_time() - began

    def _replace(self, key: Key, drawn: object) -> None:
        plot = self.made[key]
        if plot is not None and isinstance(drawn, Curve):
            kept = tuple(drawn if each.dtype == drawn.dtype else each for each in plot.drawn)
            self.made[key] = replace(plot, drawn=kept)

    @property
    def part(self) -> float:
        """How much of the time is used, 1 for all of it."""
        return self.used / self.seconds if self.seconds else 0.0


def _key(subject: Subject, shown: Shown) -> Key:
    """What makes two subjects one plot: the same terms but for the names of their leaves, and the same ranges."""
    cut, after = shown.pair.before, shown.pair.after
    intervals = tuple(subject.matcher.ranges.interval(leaf) for leaf in cut.free)
    line = direction(shown.witness) if not cut.elementwise or len(cut.free) > 2 else ()
    renamed = [_renamed(cut, term) for term in (cut.root, cut.reference)]
    fixed = tuple(value for _, value in cut.fixed)
    return (*renamed, after and _renamed(cut, after.root), intervals, line, shown.pair.shape, cut.scale, fixed)


def _title(cut: Cut) -> str:
    text = show(_renamed(cut, cut.root))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _renamed(cut: Cut, term: Term) -> Term:
    leaves = (*cut.free, *(leaf for leaf, _ in cut.fixed), *cut.index)
    names = (make("symbol", (), (("name", name),)) for name in _NAMES)
    return substitute(term, dict(zip(leaves, names, strict=False)))
