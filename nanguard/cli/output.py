"""What is printed, and where."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click

from nanguard.errors import NanguardError
from nanguard.finding import Finding, Note, Report
from nanguard.report.escaping import visible
from nanguard.report.formats import FORMATS
from nanguard.report.view import View
from nanguard.settings import Settings
from nanguard.writing import replace


def render(
    report: Report, findings: Sequence[Finding], form: str, colour: bool, settings: Settings | None = None
) -> str:
    """The findings in a format of the table; `settings` are those of the run, for formats that say more of it."""
    return FORMATS[form].render(View(report, findings, settings or Settings(), colour))


def counted(findings: Sequence[Finding]) -> str:
    """How many findings of each rule there are."""
    from nanguard.report import statistics

    return statistics.render(findings)


def write(text: str | bytes, file: Path | None, color: str = "auto") -> None:
    if file is None:
        click.echo(text, nl=False, color=colour(sys.stdout, color))
        return
    try:
        replace(str(file), text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise NanguardError(f"{file}: cannot be written ({error.strerror}); give another --output-file") from None


def remark(report: Report, findings: Sequence[Finding], settings: Settings, form: str, unsafe: bool = False) -> None:
    """Standard error: errors always, remarks under -v, a summary unless -q or the format has none; nothing under -s."""
    if settings.silent:
        return
    if not report.files and not report.notes and not settings.quiet:
        click.echo("No Python files to check: there are none here, or they are excluded", err=True)
    for note in report.notes:
        if note.failed:
            click.echo(f"nanguard: error: {note_text(note)}", err=True)
        elif settings.verbose or (note.warning and not settings.quiet):
            kind = "warning" if note.warning else "note"
            click.echo(f"nanguard: {kind}: {note_text(note)}", err=True)
    if settings.verbose:
        from nanguard.report import unreported

        click.echo(unreported.listed(report), err=True, nl=False)
    if settings.quiet or form not in FORMATS or not FORMATS[form].summary:
        return
    from nanguard.report import text

    if form == "github":
        _log(report, findings)
    if report.files:
        click.echo(text.summary(report, findings), err=True)
        if findings:
            from nanguard.report import fixes

            if (hint := fixes.hint(findings, unsafe)) is not None:
                click.echo(hint, err=True)


def _log(report: Report, findings: Sequence[Finding]) -> None:
    """The text report beside the annotations, of which GitHub may drop some."""
    from nanguard.report import github, text

    click.echo(github.log(text.render(report, findings)), nl=False, err=True)
    if (more := github.dropped(findings)) is not None:
        click.echo(more, err=True)


def uncaptured(report: Report, settings: Settings) -> bool:
    """Whether a function could not be captured where that is asked for; says which."""
    if not settings.strict:
        return False
    unseen = [target for target in report.targets if target.capture == "none" or target.reason is not None]
    for target in () if settings.silent else unseen:
        place = f"{target.path}:{target.span.line}: {target.name}"
        why = f": {target.reason}" if target.reason is not None else ""
        click.echo(f"nanguard: error: {place} could not be captured (--strict){why}", err=True)
    return bool(unseen)


def note_text(note: Note) -> str:
    place = f"{note.path}:{note.line}: " if note.line else f"{note.path}: " if note.path else ""
    return visible(place + " ".join(note.message.split()))


def colour(stream: TextIO, color: str = "auto") -> bool:
    """Whether to print in colour: `color` says auto, always or never.

    By itself a terminal that is not dumb has colours; NO_COLOR takes them away and FORCE_COLOR gives them, unless
    they are empty (https://no-color.org, https://force-color.org).
    """
    if color != "auto":
        return color == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
