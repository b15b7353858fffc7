"""What check does with --fix and --diff."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from nanguard.cli.output import colour, note_text, remark, render, write
from nanguard.cli.status import CLEAN, FAILED, FOUND
from nanguard.settings import Settings


class Fixing(NamedTuple):
    """What is asked for of fixes."""

    fix: bool
    unsafe_fixes: bool
    diff: bool
    fix_only: bool
    show_fixes: bool
    exit_non_zero_on_fix: bool


def fix(
    paths: Sequence[str], settings: Settings, wanted: Fixing, format_: str, output_file: Path | None, exit_zero: bool
) -> int:
    """Fix, or print what fixing would change."""
    from nanguard.repair.fixing import fix_paths, save
    from nanguard.report import fixes

    outcome = fix_paths(paths, settings, wanted.unsafe_fixes)
    for note in outcome.bugs:
        click.echo(f"nanguard: warning: {note_text(note)}", err=True)
    if wanted.diff:
        write(fixes.diff(outcome.files), output_file)
        remark(outcome.report, (), settings, "")
        status = FOUND if outcome.files and not exit_zero else CLEAN
        return FAILED if any(note.failed for note in outcome.report.notes) else status
    outcome = save(outcome)
    report = outcome.report
    findings = report.findings if settings.pedantic else report.shown
    if wanted.fix_only:
        findings, format_ = (), ""
    else:
        write(render(report, findings, format_, colour(sys.stdout) and output_file is None), output_file)
    if outcome.files and (wanted.show_fixes or (format_ == "text" and not settings.quiet)):
        text = fixes.fixed(outcome.files)
        click.echo(text if wanted.show_fixes else text.splitlines()[0].rstrip(":"), err=True)
    remark(report, findings, settings, format_, wanted.unsafe_fixes)
    if any(note.failed for note in report.notes):
        return FAILED
    failing = findings or (outcome.files and wanted.exit_non_zero_on_fix)
    return FOUND if failing and not exit_zero else CLEAN
