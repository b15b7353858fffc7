"""Figures: the error plots of one expression as HTML, a tab for each dtype, each with the same in words."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nanguard.finding import DTYPES, Number
from nanguard.floats import FORMATS
from nanguard.report.html import svg
from nanguard.report.html.drawn import CELLS, Column, Curve, Heat, Plot, Stretch, edge, full
from nanguard.report.html.markup import text

_MOST = 14  # rows of the words of a plot


@dataclass(slots=True)
class Shared:
    """The drawings of a page by their names: each is there once, however often it is shown."""

    plots: dict[int, int] = field(default_factory=dict)
    drawings: dict[str, str] = field(default_factory=dict)

    def use(self, plot: Plot, drawn: Curve | Heat) -> str:
        """What shows a drawing."""
        name = f"plot-{self.plots.setdefault(id(plot), len(self.plots) + 1)}-{drawn.dtype}"
        if name not in self.drawings:
            self.drawings[name] = f'<g id="{name}">{svg.drawing(drawn)}</g>'
        return f'<use href="#{name}"/>'

    def defined(self) -> str:
        """The drawings themselves, for a place of the page that is not seen."""
        return "".join(self.drawings.values())


@dataclass(frozen=True, slots=True)
class Caption:
    """What stands around a figure: its number on the page, the names of its inputs, the thresholds, the first tab."""

    key: str
    names: Sequence[str]
    thresholds: Mapping[str, Number]
    dtype: str
    own: bool  # the plot is of the code itself, not of an example of its rule


def tabs(plot: Plot, shared: Shared, caption: Caption) -> str:
    """A figure with a tab for each dtype: radio buttons, so that it works without a script."""
    drawn = sorted(plot.drawn, key=lambda each: DTYPES.index(each.dtype))
    first = caption.dtype if plot.of(caption.dtype) else drawn[0].dtype
    parts = [f'<fieldset class="tabs"><legend class="hidden">Error plot of {text(plot.title)}, by dtype</legend>']
    for each in drawn:
        name = f"{caption.key}-{each.dtype}"
        checked = " checked" if each.dtype == first else ""
        parts.append(f'<input type="radio" name="{caption.key}-dtype" id="{name}"{checked}>')
        parts.append(f'<label for="{name}">{each.dtype}</label>')
    parts.append('<div class="panels">')
    parts += [f'<div class="panel">{panel(plot, each, shared, caption)}</div>' for each in drawn]
    parts.append("</div></fieldset>")
    return f'<figure class="plot">{"".join(parts)}<figcaption>{_caption(plot, caption)}</figcaption></figure>'


def stacked(plot: Plot, shared: Shared, caption: Caption) -> str:
    """A figure with the plots of all dtypes below each other."""
    drawn = sorted(plot.drawn, key=lambda each: DTYPES.index(each.dtype))
    panels = "".join(f'<h3>{each.dtype}</h3>{panel(plot, each, shared, caption)}' for each in drawn)  # fmt: skip
    return f'<figure class="plot">{panels}<figcaption>{_caption(plot, caption)}</figcaption></figure>'


def panel(plot: Plot, drawn: Curve | Heat, shared: Shared, caption: Caption) -> str:
    """One drawing with its legend and its words."""
    key, high = f"{caption.key}-{drawn.dtype}-svg", svg.height(drawn)
    limit = caption.thresholds.get(drawn.dtype) if len(plot.axes) == 1 and plot.line is None else None
    mark = f' data-threshold="{limit!r}"' if isinstance(limit, float) else ""
    label = f"fails from {_input(limit)}" if isinstance(limit, float) else ""
    return (
        f'<svg viewBox="0 0 {svg.WIDTH} {high}" role="img" aria-labelledby="{key}-t {key}-d" '
        f'data-dtype="{drawn.dtype}"{mark}>'
        f'<title id="{key}-t">Digits that are right in {drawn.dtype}: {text(plot.title)}</title>'
        f'<desc id="{key}-d">{_summary(drawn)}</desc>'
        f"{shared.use(plot, drawn)}{svg.marker(drawn, limit, label) if isinstance(limit, float) else ''}</svg>"
        f"{_legend(drawn)}{_words(drawn)}"
    )


def _legend(drawn: Curve | Heat) -> str:
    words = svg.legend(drawn)
    items = "".join(
        f'<li><span class="key {name}" aria-hidden="true"></span>{word}</li>' for name, word in words.items()
    )
    return f'<ul class="legend">{items}</ul>'


def _caption(plot: Plot, caption: Caption) -> str:
    """What is plotted over what, and how many inputs were tried."""
    axes = ", ".join(
        f"{axis} is <code>{text(name)}</code>"
        for axis, name in zip(plot.axes, caption.names, strict=False)
        if axis != name and plot.line is None
    )
    where = plot.line or ""
    whose = "" if caption.own else "The plot is of the rule's own example, since the code was only seen when it ran. "
    counts = ", ".join(f"{each.dtype} {_count(each)}" for each in plot.drawn)
    over = "; ".join(part for part in (axes, where) if part)
    return f"{whose}<code>{text(plot.title)}</code>{f' where {over}' if over else ''}. Inputs compared with the exact value: {counts}."  # noqa: E501


def _count(drawn: Curve | Heat) -> str:
    return f"all {drawn.points:,}" if isinstance(drawn, Curve) and drawn.exhaustive else f"{drawn.points:,}"


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
    return f"from {_input(one.first)} to {_input(one.last)} {_what(one)}"


def _what(one: Stretch) -> str:
    words = [word for state, word in svg.WORDS.items() if state in one.states]
    return " and ".join(words) or (f"at least {one.low:.1f} digits" if one.low is not None else "not known")


def _input(value: float) -> str:
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
        yield f"<tr><td>{_input(one.first)}</td><td>{_input(one.last)}</td><td>{_what(one)}</td><td>{digits}</td></tr>"
