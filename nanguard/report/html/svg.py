"""SVG: error plots as drawings.  Colours, patterns and fonts are the page's style sheet; nothing here comes from code.

A column of a curve is one unit wide in its group, so that its path is a few characters a column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from nanguard.floats import FORMATS
from nanguard.report.html.drawn import (
    CELLS,
    COLUMNS,
    DEAD,
    NONFINITE,
    OUTSIDE,
    SLOPE,
    UNDEFINED,
    Column,
    Curve,
    Heat,
    full,
    position,
)

WIDTH = 760
MINUS = "\u2212"
_LEFT, _RIGHT, _TOP, _HIGH = 92, 16, 22, 150
_WIDE = WIDTH - _LEFT - _RIGHT
_LANE = 11
_GAP = 9
_PANEL = 290
_LEVELS = 8
_SHORT = {"float16": (1e-2, 1.0, 1e2, 1e4), "float64": (1e-200, 1e-100, 1.0, 1e100, 1e200, 1e300)}
_TICKS = (1e-30, 1e-20, 1e-10, 1.0, 1e10, 1e20, 1e30)
_LANES = (("value", (NONFINITE,)), ("gradient", (SLOPE, DEAD)))


def height(drawn: Curve | Heat) -> int:
    """The height of a drawing, `WIDTH` wide."""
    if isinstance(drawn, Heat):
        return _TOP + _PANEL + 40
    return _TOP + _HIGH + _GAP + _LANE * len(list(_lanes(drawn))) + 36


def drawing(drawn: Curve | Heat) -> str:
    """The inside of an SVG of that size."""
    return "".join(_heat(drawn) if isinstance(drawn, Heat) else _curve(drawn))


def marker(dtype: str, value: float, label: str) -> str:
    """A line at one input of a curve, with a label that needs no escaping."""
    x = _LEFT + position(dtype, value) * _WIDE
    anchor = "end" if x > WIDTH - 110 else "start" if x < 110 else "middle"
    return (
        f'<path class="mark" d="M{x:.1f} {_TOP - 4}v{_HIGH + 4}"/>'
        f'<text class="mark" x="{x:.1f}" y="{_TOP - 8}" text-anchor="{anchor}">{label}</text>'
    )


# --- curves


def _curve(curve: Curve) -> Iterator[str]:
    top = full(curve.dtype)
    yield from _scale(top)
    yield f'<g transform="translate({_LEFT} {_TOP}) scale({_WIDE / COLUMNS:.5f} 1)">'
    for state, first, count in _runs(curve.before, (OUTSIDE, UNDEFINED, NONFINITE)):
        yield f'<rect class="{state}" x="{first}" width="{count}" height="{_HIGH}"/>'
    yield from _line(curve.before, "before", top)
    if curve.after is not None:
        yield from _line(curve.after, "after", top)
    yield "</g>"
    for index, (label, columns, states) in enumerate(_lanes(curve)):
        y = _TOP + _HIGH + _GAP + _LANE * index
        yield f'<text class="lane" x="{_LEFT - 6}" y="{y + _LANE - 3}" text-anchor="end">{label}</text>'
        yield f'<path class="rule" d="M{_LEFT} {y + _LANE - 1.5}h{_WIDE}"/>'
        yield f'<g transform="translate({_LEFT} {y}) scale({_WIDE / COLUMNS:.5f} 1)">'
        for state, first, count in _runs(columns, states):
            yield f'<rect class="{state} strip" x="{first}" width="{count}" height="{_LANE - 2}"/>'
        yield "</g>"
    yield from _ticks(curve.dtype, _TOP + _HIGH + _GAP + _LANE * len(list(_lanes(curve))))


def _lanes(curve: Curve) -> Iterator[tuple[str, Sequence[Column], tuple[str, ...]]]:
    """The strips below a curve: those in which something is wrong."""
    for sign, columns in (("", curve.before), ("stable: ", curve.after or ())):
        for label, states in _LANES:
            if any(column.states.intersection(states) for column in columns):
                yield sign + label, columns, states


def _runs(columns: Sequence[Column], states: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Neighbouring columns of one state (the first of some that a column has): where they begin, and how many."""
    first = 0
    for state, run in groupby(columns, lambda column: next((one for one in states if one in column.states), "")):
        count = len(list(run))
        if state:
            yield state, first, count
        first += count


def _line(columns: Sequence[Column], name: str, top: float) -> Iterator[str]:
    """The fewest digits of each column as a line, and what lies between them and the most as an area."""
    lows = [None if column.low is None else _y(column.low, top) for column in columns]
    highs = [None if column.high is None else _y(column.high, top) for column in columns]
    area = "".join(
        f"M{index} {high}h1V{low}h-1z"
        for index, (low, high) in enumerate(zip(lows, highs, strict=True))
        if low is not None and high is not None and low - high > 1
    )
    if area:
        yield f'<path class="{name} area" d="{area}"/>'
    path, previous, length = "", None, 0
    for index, low in enumerate([*lows, None]):
        if low is not None and low == previous:
            length += 1
            continue
        if length:
            path += f"h{length}"
        if low is not None:
            path += f"V{low}" if previous is not None else f"M{index} {low}"
        previous, length = low, 1 if low is not None else 0
    yield f'<path class="{name} line" d="{path}"/>'


def _y(digits: float, top: float) -> int:
    return round(_HIGH * (1 - digits / top))


def _scale(top: float) -> Iterator[str]:
    """The lines across at whole digits, and at all that the dtype has."""
    step = 1 if top < 5 else 2 if top < 10 else 4
    values = [value for value in range(0, int(top) + 1, step) if value == 0 or top - value > 0.45 * step]
    for value in (*values, top):
        y = _TOP + _HIGH * (1 - value / top)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}h{_WIDE}"/>'
        text = f"{value:.1f}" if value == top else str(value)
        yield f'<text class="tick" x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>'
    middle = _TOP + _HIGH / 2
    turned = f"translate({_LEFT - 40} {middle}) rotate(-90)"
    yield f'<text class="axis" transform="{turned}" text-anchor="middle">digits right</text>'


def _values(dtype: str) -> list[float]:
    positive = _SHORT.get(dtype, _TICKS)
    return [*(-value for value in reversed(positive)), 0.0, *positive]


def _ticks(dtype: str, y: float) -> Iterator[str]:
    shown = [(_LEFT + position(dtype, value) * _WIDE, value) for value in _values(dtype)]
    for x, value in shown:
        yield f'<path class="grid" d="M{x:.1f} {_TOP}V{y + 4}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{y + 16}" text-anchor="middle">{power(value)}</text>'
    yield f'<text class="axis" x="{_LEFT + _WIDE / 2}" y="{y + 32}" text-anchor="middle">every finite {dtype}, by order</text>'  # noqa: E501


def power(value: float) -> str:
    """A power of ten, its negative, or 0."""
    if value in (0, 1, -1):
        return f"{value:g}".replace("-", MINUS)
    exponent = f"{abs(value):.0e}".partition("e")[2]
    digits = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{MINUS if value < 0 else ''}10{digits}"


# --- heat maps


def _heat(heat: Heat) -> Iterator[str]:
    yield from _panel(heat.before, heat.dtype, _LEFT, "as written")
    if heat.after is not None:
        yield from _panel(heat.after, heat.dtype, _LEFT + _PANEL + 48, "stable form")


def _panel(rows: Sequence[Sequence[Column]], dtype: str, left: float, title: str) -> Iterator[str]:
    paths: dict[str, str] = {}
    for y, row in enumerate(rows):
        x = 0
        for level, run in groupby(row, _level(dtype)):
            count = len(list(run))
            paths[level] = paths.get(level, "") + f"M{x} {y}h{count}"
            x += count
    yield f'<text class="axis" x="{left + _PANEL / 2}" y="{_TOP - 8}" text-anchor="middle">{title}</text>'
    yield f'<g transform="translate({left} {_TOP}) scale({_PANEL / CELLS}) translate(0 .5)">'
    for level, path in sorted(paths.items()):
        yield f'<path class="cell {level}" d="{path}"/>'
    yield f'</g><rect class="frame" x="{left}" y="{_TOP}" width="{_PANEL}" height="{_PANEL}"/>'
    form = FORMATS[dtype]
    for value in (-form.max, -1.0, 0.0, 1.0, form.max):
        at = position(dtype, value) * _PANEL
        text = power(value) if abs(value) <= 1 else f"{MINUS if value < 0 else ''}max"
        yield f'<text class="tick" x="{left + at:.1f}" y="{_TOP + _PANEL + 14}" text-anchor="middle">{text}</text>'
        if left == _LEFT:
            below = _TOP + _PANEL - at + 3.5
            yield f'<text class="tick" x="{left - 6}" y="{below:.1f}" text-anchor="end">{text}</text>'
    middle = left + _PANEL / 2
    if left == _LEFT:
        turned = f"translate({left - 44} {_TOP + _PANEL / 2}) rotate(-90)"
        yield f'<text class="axis" transform="{turned}" text-anchor="middle">y, every finite {dtype}</text>'
    yield f'<text class="axis" x="{middle}" y="{_TOP + _PANEL + 32}" text-anchor="middle">x, every finite {dtype}</text>'  # noqa: E501


def _level(dtype: str) -> Callable[[Column], str]:
    top = full(dtype)

    def level(column: Column) -> str:
        for state in (NONFINITE, SLOPE, DEAD, OUTSIDE, UNDEFINED):
            if state in column.states:
                return state
        return f"level{min(_LEVELS - 1, int((column.low or 0.0) / top * _LEVELS))}"

    return level


def legend(drawn: Curve | Heat) -> Mapping[str, str]:
    """The classes of what a drawing has, each with its words."""
    after = drawn.after is not None
    columns = list(_all(drawn))
    words = {"before": "as written", **({"after": "stable form"} if after else {})}
    if isinstance(drawn, Heat):
        words = {"level0": "no digit right", "level4": "half", "level7": "all"}
    return {**words, **{state: text for state, text in WORDS.items() if any(state in one.states for one in columns)}}


def _all(drawn: Curve | Heat) -> Iterator[Column]:
    if isinstance(drawn, Curve):
        yield from (*drawn.before, *(drawn.after or ()))
    else:
        for row in (*drawn.before, *(drawn.after or ())):
            yield from row


WRONG = {NONFINITE: "value inf or nan", SLOPE: "gradient inf or nan", DEAD: "gradient dead"}
WORDS = {
    **WRONG,
    UNDEFINED: "no exact value in this dtype",
    OUTSIDE: "not an input here",
}
