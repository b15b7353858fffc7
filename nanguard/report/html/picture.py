"""Pictures: the plots of an expression as the page shows them, with their legends and what they say in words.

They are plain texts and numbers, so that a process may draw them for another one, and the cache may keep them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nanguard.finding import DTYPES
from nanguard.floats import FORMATS
from nanguard.report.html import svg
from nanguard.report.html.drawn import CELLS, Column, Curve, Heat, Plot, Stretch, edge, full

_MOST = 14  # rows of the words of a plot


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot in one dtype: the inside of its drawing, as high as that is, and what stands around it, all as HTML."""

    dtype: str
    height: int
    drawing: str
    legend: str
    summary: str
    words: str
    points: int  # inputs that were tried
    exhaustive: bool
    curve: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """The plots of an expression in all dtypes that there are, its axes, and, where more inputs meet, their line."""

    title: str
    axes: tuple[str, ...]
    line: str | None
    pictures: tuple[Picture, ...]

    def has(self, dtype: str) -> bool:
        """Whether there is a plot in a dtype."""
        return any(each.dtype == dtype for each in self.pictures)


def figure(plot: Plot) -> Figure:
    """A plot as it is shown."""
    drawn = sorted(plot.drawn, key=lambda each: DTYPES.index(each.dtype))
    return Figure(plot.title, plot.axes, plot.line, tuple(map(_picture, drawn)))


def _picture(drawn: Curve | Heat) -> Picture:
    return Picture(
        drawn.dtype, svg.height(drawn), svg.drawing(drawn), _legend(drawn), _summary(drawn), _words(drawn),
        drawn.points, isinstance(drawn, Curve) and drawn.exhaustive, isinstance(drawn, Curve),
    )  # fmt: skip


def _legend(drawn: Curve | Heat) -> str:
    words = svg.legend(drawn)
    items = "".join(
        f'<li><span class="key {name}" aria-hidden="true"></span>{word}</li>' for name, word in words.items()
    )
    return f'<ul class="legend">{items}</ul>'


# --- in words


def _summary(drawn: Curve | Heat) -> str:
    if isinstance(drawn, Heat):
        known = sum(cell.low is not None for row in drawn.before for cell in row)
        stable = f" By the stable form {_wrongs(drawn.after)}." if drawn.after is not None else ""
        return f"Of {known} cells that have an exact value, as written {_wrongs(drawn.before)}.{stable}"
    parts = [_sentence(one) for one in drawn.stretches[:_MOST]]
    after = min((one.after for one in drawn.stretches if one.after is not None), default=None)
    tail = (
        f" The stable form has at least {after:.1f} of {full(drawn.dtype):.1f} digits right."
        if after is not None
        else ""
    )
    return f"As written: {'; '.join(parts)}.{tail}"


def _wrongs(rows: Sequence[Sequence[Column]]) -> str:
    """What goes wrong in how many cells."""
    cells = [cell for row in rows for cell in row]
    counts = {word: sum(state in cell.states for cell in cells) for state, word in svg.WRONG.items()}
    worst = min((cell.low for cell in cells if cell.low is not None), default=None)
    found = ", ".join(f"{word} in {count}" for word, count in counts.items() if count)
    least = f"at least {worst:.1f} digits are right" if worst is not None else "nothing is known"
    return found or f"nothing is infinite, nan or dead, and {least}"


def _sentence(one: Stretch) -> str:
    return f"from {brief(one.first)} to {brief(one.last)} {_what(one)}"


def _what(one: Stretch) -> str:
    words = [word for state, word in svg.WORDS.items() if state in one.states]
    return " and ".join(words) or (f"at least {one.low:.1f} digits" if one.low is not None else "not known")


def brief(value: float) -> str:
    """A number as the words of a plot have it."""
    return f"{value:.4g}".replace("-", svg.MINUS)


def _words(drawn: Curve | Heat) -> str:
    """The same as a table, for those who do not see it."""
    if isinstance(drawn, Heat):
        return (
            '<details class="words"><summary>The plot as a table</summary><table><caption>What the code as written and '
            f"the stable form give over ranges of both inputs, in {drawn.dtype}</caption><thead><tr>"
            '<th scope="col">x</th><th scope="col">y</th><th scope="col">as written</th>'
            '<th scope="col">stable form</th></tr></thead><tbody>'
            f"{''.join(_areas(drawn))}</tbody></table></details>"
        )
    return (
        '<details class="words"><summary>The plot as a table</summary><table><caption>What the code as written gives, '
        f"and how exact the stable form is, in {drawn.dtype}</caption><thead><tr>"
        '<th scope="col">from</th><th scope="col">to</th><th scope="col">as written</th>'
        '<th scope="col">digits of the stable form</th></tr></thead><tbody>'
        f"{''.join(_rows(drawn))}</tbody></table></details>"
    )


_BANDS = ("below \u22121", "\u22121 to 0", "0 to 1", "above 1")


def _areas(drawn: Heat) -> Iterator[str]:
    """A row for each pair of ranges of the inputs in which there is an exact value."""
    bands = [_band(drawn.dtype, cell) for cell in range(CELLS)]
    for y in reversed(range(len(_BANDS))):
        for x in range(len(_BANDS)):
            parts = (
                [
                    [cell for cell, band in zip(row, bands, strict=True) if band == x]
                    for row, band in zip(rows, reversed(bands), strict=True)
                    if band == y
                ]
                for rows in (drawn.before, drawn.after)
                if rows is not None
            )
            before, *after = parts
            if all(cell.low is None for row in before for cell in row):
                continue
            stable = _wrongs(after[0]) if after else "\u2013"
            yield f"<tr><td>{_BANDS[x]}</td><td>{_BANDS[y]}</td><td>{_wrongs(before)}</td><td>{stable}</td></tr>"


def _band(dtype: str, cell: int) -> int:
    """The range that the middle of a cell of a heat map lies in."""
    form = FORMATS[dtype]
    middle = form.from_ordinal((edge(dtype, cell, CELLS) + edge(dtype, cell + 1, CELLS)) // 2)
    return bisect_left((-1.0, 0.0, 1.0), middle)


def _rows(drawn: Curve) -> Iterator[str]:
    for one in drawn.stretches[:_MOST]:
        digits = f"at least {one.after:.1f}" if one.after is not None else "\u2013"
        yield f"<tr><td>{brief(one.first)}</td><td>{brief(one.last)}</td><td>{_what(one)}</td><td>{digits}</td></tr>"
