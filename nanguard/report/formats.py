"""Formats: the table of the formats that a report can be written in, by the name that the command line gives them.

A format's module is imported when the format is used: most runs need one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nanguard.report.view import View, failing


@dataclass(frozen=True, slots=True)
class Format:
    """How a view becomes text, and whether a summary of it belongs on standard error.

    What programs read from both streams has none.  Some list every target, whether there is a finding in it or not.
    """

    render: Callable[[View], str]
    summary: bool = True
    every_target: bool = False


def _text(view: View) -> str:
    from nanguard.report import text

    return text.render(view.report, view.findings, view.colour)


def _concise(view: View) -> str:
    from nanguard.report import concise

    return concise.render(view.findings)


def _json(view: View) -> str:
    from nanguard.report import json

    return json.render(view.report, view.findings)


def _json_lines(view: View) -> str:
    from nanguard.report import json

    return json.render_lines(view.report, view.findings)


def _sarif(view: View) -> str:
    from nanguard.report import sarif

    return sarif.render(view)


def _github(view: View) -> str:
    from nanguard.report import github

    return github.render(view.findings)


def _gitlab(view: View) -> str:
    from nanguard.report import gitlab

    return gitlab.render(view.report, view.findings)


def _junit(view: View) -> str:
    from nanguard.report import junit

    return junit.render(view.report, failing(view.findings, view.settings))  # which has no word for anything else


def _html(view: View) -> str:
    from nanguard.report.html import page

    return page.render(view)


_JSON_LINES = Format(_json_lines, summary=False)

FORMATS: Mapping[str, Format] = {
    "text": Format(_text),
    "concise": Format(_concise, summary=False),
    "json": Format(_json, summary=False, every_target=True),
    "json-lines": _JSON_LINES,
    "jsonl": _JSON_LINES,
    "sarif": Format(_sarif),
    "github": Format(_github),
    "gitlab": Format(_gitlab),
    "junit": Format(_junit, every_target=True),
    "html": Format(_html),
}
