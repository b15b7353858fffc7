"""What is drawn: error plots and derivations as plain data, without torch and without a word of HTML."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nanguard.floats import FORMATS

COLUMNS = 240  # of a curve
CELLS = 48  # of a heat map, each way
EXHAUSTIVE = ("float16", "bfloat16")  # dtypes of which all floats can be tried

NONFINITE = "nonfinite"  # the value is inf or nan, where the exact one is a number of the dtype
SLOPE = "slope"  # the gradient is inf or nan, where the exact value is such a number
DEAD = "dead"  # the gradient is all but gone, where the exact one is of ordinary size
OUTSIDE = "outside"  # the input is none that the program can have here
UNDEFINED = "undefined"  # there is no exact value, or the dtype does not have it


@dataclass(frozen=True, slots=True)
class Column:
    """What the inputs of one column of pixels give: the fewest and most digits that are right, and what goes wrong.

    The digits are None where no input of the column has an exact value to compare with.
    """

    low: float | None
    high: float | None
    states: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring inputs at which the same goes wrong, or nothing: the first and the last of them.

    `low` and `after` are the fewest digits that are right, of the code as written and of its replacement.
    """

    first: float
    last: float
    states: frozenset[str]
    low: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """The digits that are right over all finite floats of a dtype, by ordinal and symmetric around 0."""

    dtype: str
    before: tuple[Column, ...]
    after: tuple[Column, ...] | None  # by the replacement
    stretches: tuple[Stretch, ...]
    points: int  # inputs that were tried
    exhaustive: bool

    @property
    def empty(self) -> bool:
        """Whether no input has an exact value to compare with."""
        return all(column.low is None for column in self.before)


@dataclass(frozen=True, slots=True)
class Heat:
    """The same of two inputs: rows from the largest second input down, each from the smallest first one on."""

    dtype: str
    before: tuple[tuple[Column, ...], ...]
    after: tuple[tuple[Column, ...], ...] | None
    points: int

    @property
    def empty(self) -> bool:
        """Whether no pair of inputs has an exact value to compare with."""
        return all(column.low is None for row in self.before for column in row)


@dataclass(frozen=True, slots=True)
class Plot:
    """The plots of an expression, one for each dtype that there was time for, and what its axes are."""

    title: str  # the expression, as plotted
    axes: tuple[str, ...]  # the names of the one or two inputs
    line: str | None  # where more inputs meet: which line through them it is
    drawn: tuple[Curve | Heat, ...]

    def of(self, dtype: str) -> Curve | Heat | None:
        """The plot in a dtype."""
        return next((each for each in self.drawn if each.dtype == dtype), None)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a derivation: a term, what it is read as, and why."""

    before: str
    after: str
    why: str


def full(dtype: str) -> float:
    """The decimal digits that a number of the dtype has."""
    return FORMATS[dtype].bits * math.log10(2)


def edge(dtype: str, column: int, count: int = COLUMNS) -> int:
    """The ordinal at which a column begins; that of the column past the last is one past the largest float."""
    last = FORMATS[dtype].ordinal(FORMATS[dtype].max)
    return -last + (2 * last + 1) * column // count


def position(dtype: str, value: float) -> float:
    """Where an input lies between the smallest finite float (0) and the largest (1)."""
    form = FORMATS[dtype]
    last = form.ordinal(form.max)
    return (form.ordinal(max(-form.max, min(form.max, form.round(value)))) + last) / (2 * last)
