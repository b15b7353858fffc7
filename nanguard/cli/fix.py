"""What check does with --fix and --diff."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click

from nanguard.cli.output import colour, note_text, remark, render, uncaptured, write
from nanguard.cli.status import CLEAN, FAILED, FOUND
from nanguard.cli.stdin import remember
from nanguard.reading.discover import SourceFile
from nanguard.report.view import failing
from nanguard.settings import Settings


class Fixing(NamedTuple):
    """What is asked for of fixes."""

    fix: bool
    unsafe_fixes: bool
    diff: bool
    fix_only: bool
    show_fixes: bool
    exit_non_zero_on_fix: bool

    @classmethod
    def asked(cls) -> list[str]:
        """What the command line alone says."""
        return [name for name in cls._fields if name != "unsafe_fixes"]


def fix(
    paths: Sequence[str | SourceFile], settings: Settings, wanted: Fixing, output_file: Path | None, exit_zero: bool
) -> int:
    """Fix, or print what fixing would change; what is left of standard input is said on standard error."""
    from nanguard.repair.fixing import fix_paths, save
    from nanguard.report import fixes

    outcome = fix_paths(paths, settings, wanted.unsafe_fixes)
    for note in () if settings.silent else outcome.bugs:
        click.echo(f"nanguard: warning: {note_text(note)}", err=True)
    if wanted.diff:
        write(fixes.diff(outcome.files), output_file, settings.color)
        remark(outcome.report, (), settings, "")
        status = FOUND if outcome.files and not exit_zero else CLEAN
        return FAILED if any(note.failed for note in outcome.report.notes) else status
    form = settings.output_format
    stdin = next((path for path in paths if isinstance(path, SourceFile)), None)
    if stdin is None:
        outcome = save(outcome)
    elif stdin.data is not None:
        after = outcome.files[0].after if outcome.files else stdin.data
        remember(replace(stdin, data=after))
        write(after, output_file, settings.color)
    report = outcome.report
    findings = report.findings if settings.pedantic else report.shown
    if wanted.fix_only:
        findings, form = (), ""
    elif stdin is not None:
        text = render(report, findings, form, colour(sys.stderr, settings.color), settings)
        click.echo(text, nl=False, err=True, color=colour(sys.stderr, settings.color))
    elif output_file is not None or not settings.silent:
        painted = colour(sys.stdout, settings.color) and output_file is None
        write(render(report, findings, form, painted, settings), output_file, settings.color)
    if outcome.files and (wanted.show_fixes or (form == "text" and not settings.quiet)) and not settings.silent:
        text = fixes.fixed(outcome.files)
        click.echo(text if wanted.show_fixes else text.splitlines()[0].rstrip(":"), err=True)
    remark(report, findings, settings, form, wanted.unsafe_fixes)
    if any(note.failed for note in report.notes):
        return FAILED
    failed = failing(findings, settings) or (outcome.files and wanted.exit_non_zero_on_fix)
    return FOUND if (failed or uncaptured(report, settings)) and not exit_zero else CLEAN
