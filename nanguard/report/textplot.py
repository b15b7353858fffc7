"""Text plots: the digits that are right over all finite floats, as a row of blocks for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nanguard.report.html.drawn import COLUMNS, NONFINITE, OUTSIDE, SLOPE, Column, Curve, Heat, Plot, full, position

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.,:-=+#"
_WIDE = 60
_PER = COLUMNS // _WIDE


def render(plot: Plot, blocks: bool) -> str:
    """The curves of a plot, two rows a dtype; `blocks` says whether the terminal has these characters."""
    curves = [drawn for drawn in plot.drawn if isinstance(drawn, Curve)]
    if not curves:
        return "" if not any(isinstance(drawn, Heat) for drawn in plot.drawn) else _TWO
    rows = [f"{'':10}{_axis(curves[0].dtype)}"]
    for curve in curves:
        rows.append(f"{curve.dtype:10}{_row(curve.before, curve.dtype, blocks)}  as written")
        if curve.after is not None:
            rows.append(f"{'':10}{_row(curve.after, curve.dtype, blocks)}  stable")
    return "\n".join([*rows, "", *_words(curves, plot, blocks)])


_TWO = "It has two inputs: `--format html` draws how many digits are right."


def _words(curves: Sequence[Curve], plot: Plot, blocks: bool) -> Iterator[str]:
    levels = _BLOCKS if blocks else _ASCII
    yield f"Digits that are right over every finite float, by order: {levels[0]} none, {levels[-1]} all that the dtype"
    yield "has; x inf or nan, ! only the gradient is; a blank is no input here, or has no exact value."
    if plot.line:
        yield f"Here {plot.line}."


def _axis(dtype: str) -> str:
    """Where the smallest float, -1, 0, 1 and the largest are."""
    row = [" "] * _WIDE
    for value, label in ((-1.0, "-1"), (0.0, "0"), (1.0, "1")):
        start = round(position(dtype, value) * (_WIDE - 1)) - len(label) // 2
        row[start : start + len(label)] = label
    row[:4], row[-3:] = "-max", "max"
    return "".join(row)


def _row(columns: Sequence[Column], dtype: str, blocks: bool) -> str:
    return "".join(_character(columns[at : at + _PER], dtype, blocks) for at in range(0, len(columns), _PER))


def _character(columns: Sequence[Column], dtype: str, blocks: bool) -> str:
    """The worst of some columns."""
    states = frozenset[str]().union(*(column.states for column in columns))
    lows = [column.low for column in columns if column.low is not None]
    if NONFINITE in states:
        return "x"
    if not lows or all(OUTSIDE in column.states for column in columns):
        return " "
    if SLOPE in states:
        return "!"
    levels = _BLOCKS if blocks else _ASCII
    return levels[min(len(levels) - 1, int(min(lows) / full(dtype) * len(levels)))]
