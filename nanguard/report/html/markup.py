"""Markup: text of a program, or about it, as HTML.  Everything that is not written here goes through `text`."""

from __future__ import annotations

import html
import re

from nanguard.finding import Number
from nanguard.report.escaping import printable, valid
from nanguard.report.text import number


def text(words: str) -> str:
    """Any text as HTML, for between tags and inside quoted attributes: it holds no tag, entity or quote."""
    return html.escape(printable(valid(words).replace("\r", "")), quote=True)


def lines(words: str) -> str:
    """The same of a text of several lines, for inside <pre>."""
    return "\n".join(map(text, words.split("\n")))


def prose(words: str) -> str:
    """A message: what stands in `back ticks` is code."""
    parts = re.split(r"`([^`]*)`", words)
    return "".join(f"<code>{text(part)}</code>" if index % 2 else text(part) for index, part in enumerate(parts))


def cell(value: Number | None, dtype: str) -> str:
    """A number in a table; inf and nan stand out."""
    if value is None:
        return "<td>\u2013</td>"
    shown = number(value, dtype)
    wrong = " class=bad" if re.search(r"\b(inf|nan)\b", shown) else ""
    return f"<td{wrong}>{text(shown)}</td>"
