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
from nanguard.settings import Settings


def render(report: Report, findings: Sequence[Finding], form: str, colour: bool) -> str:
    match form:
        case "json":
            from nanguard.report import json

            return json.render(report, findings)
        case "concise":
            from nanguard.report import concise

            return concise.render(findings)
    from nanguard.report import text

    return text.render(report, findings, colour)


def write(text: str | bytes, file: Path | None, color: str = "auto") -> None:
    if file is None:
        click.echo(text, nl=False, color=colour(sys.stdout, color))
        return
    try:
        file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise NanguardError(f"{file}: cannot be written ({error.strerror}); give another --output-file") from None


def remark(report: Report, findings: Sequence[Finding], settings: Settings, form: str, unsafe: bool = False) -> None:
    """Standard error: errors always, remarks under -v, the summary of the text format unless -q; nothing under -s."""
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
    if form == "text" and not settings.quiet and report.files:
        from nanguard.report import text

        click.echo(text.summary(report, findings), err=True)
        if findings:
            from nanguard.report import fixes

            if (hint := fixes.hint(findings, unsafe)) is not None:
                click.echo(hint, err=True)


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
    return place + " ".join(note.message.split())


def colour(stream: TextIO, color: str = "auto") -> bool:
    """Whether to print in colour: `color` says auto, always or never, the environment what auto means."""
    if color != "auto":
        return color == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
