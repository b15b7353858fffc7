"""Figures: the error plots of one expression as HTML, a tab for each dtype, each with the same in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nanguard.finding import Number
from nanguard.report.html import svg
from nanguard.report.html.markup import text
from nanguard.report.html.picture import Figure, Picture, brief


@dataclass(slots=True)
class Shared:
    """The drawings of a page by their names: each is there once, however often it is shown."""

    figures: dict[Figure, int] = field(default_factory=dict)
    drawings: dict[str, str] = field(default_factory=dict)

    def use(self, figure: Figure, picture: Picture) -> str:
        """What shows a drawing."""
        name = f"plot-{self.figures.setdefault(figure, len(self.figures) + 1)}-{picture.dtype}"
        if name not in self.drawings:
            self.drawings[name] = f'<g id="{name}">{picture.drawing}</g>'
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


def tabs(figure: Figure, shared: Shared, caption: Caption) -> str:
    """A figure with a tab for each dtype: radio buttons, so that it works without a script."""
    first = caption.dtype if figure.has(caption.dtype) else figure.pictures[0].dtype
    parts = [f'<fieldset class="tabs"><legend class="hidden">Error plot of {text(figure.title)}, by dtype</legend>']
    for each in figure.pictures:
        name = f"{caption.key}-{each.dtype}"
        checked = " checked" if each.dtype == first else ""
        parts.append(f'<input type="radio" name="{caption.key}-dtype" id="{name}"{checked}>')
        parts.append(f'<label for="{name}">{each.dtype}</label>')
    parts.append('<div class="panels">')
    parts += [f'<div class="panel">{panel(figure, each, shared, caption)}</div>' for each in figure.pictures]
    parts.append("</div></fieldset>")
    return f'<figure class="plot">{"".join(parts)}<figcaption>{_caption(figure, caption)}</figcaption></figure>'


def stacked(figure: Figure, shared: Shared, caption: Caption) -> str:
    """A figure with the plots of all dtypes below each other."""
    panels = "".join(f"<h3>{each.dtype}</h3>{panel(figure, each, shared, caption)}" for each in figure.pictures)
    return f'<figure class="plot">{panels}<figcaption>{_caption(figure, caption)}</figcaption></figure>'


def panel(figure: Figure, picture: Picture, shared: Shared, caption: Caption) -> str:
    """One drawing with its legend and its words."""
    key = f"{caption.key}-{picture.dtype}-svg"
    limit = caption.thresholds.get(picture.dtype) if len(figure.axes) == 1 and figure.line is None else None
    marked = isinstance(limit, float) and picture.curve
    mark = f' data-threshold="{limit!r}"' if isinstance(limit, float) else ""
    line = svg.marker(picture.dtype, limit, f"fails from {brief(limit)}") if isinstance(limit, float) and marked else ""
    return (
        f'<svg viewBox="0 0 {svg.WIDTH} {picture.height}" role="img" aria-labelledby="{key}-t {key}-d" '
        f'data-dtype="{picture.dtype}"{mark}>'
        f'<title id="{key}-t">Digits that are right in {picture.dtype}: {text(figure.title)}</title>'
        f'<desc id="{key}-d">{picture.summary}</desc>'
        f"{shared.use(figure, picture)}{line}</svg>{picture.legend}{picture.words}"
    )


def _caption(figure: Figure, caption: Caption) -> str:
    """What is plotted over what, and how many inputs were tried."""
    axes = ", ".join(
        f"{axis} is <code>{text(name)}</code>"
        for axis, name in zip(figure.axes, caption.names, strict=False)
        if axis != name and figure.line is None
    )
    where = figure.line or ""
    whose = "" if caption.own else "The plot is of the rule's own example, since the code was only seen when it ran. "
    counts = ", ".join(f"{each.dtype} {_count(each)}" for each in figure.pictures)
    over = "; ".join(part for part in (axes, where) if part)
    return f"{whose}<code>{text(figure.title)}</code>{f' where {over}' if over else ''}. Inputs compared with the exact value: {counts}."  # noqa: E501


def _count(picture: Picture) -> str:
    return f"all {picture.points:,}" if picture.exhaustive else f"{picture.points:,}"
