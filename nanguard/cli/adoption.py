"""What check does for a project that begins with nanguard: comments for all findings, or a baseline."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click

from nanguard.cli.output import colour, remark, render, write
from nanguard.cli.status import CLEAN, FAILED, FOUND
from nanguard.errors import NanguardError
from nanguard.finding import Finding, Report
from nanguard.reading.discover import SourceFile
from nanguard.report.view import failing
from nanguard.settings import Settings

_ALONE = ("--add-ignores", "--write-baseline")  # options that may stand without a value
_NONE = "\0"  # what then is their value


class Adoption(NamedTuple):
    """What is asked for: the reason of comments to add, the baseline to write; None where neither is."""

    add_ignores: str | None
    write_baseline: str | None


class CheckCommand(click.Command):
    """A command with options that may stand without a value, so that a path behind one is a path to check."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give these options a value, but for ``--write-baseline FILE.json``, which no path to check can be."""
        given = list(args)
        end = given.index("--") if "--" in given else len(given)
        for index in range(end):
            following = given[index + 1] if index + 1 < end else ""
            names_file = given[index] == "--write-baseline" and following.endswith(".json")
            if given[index] in _ALONE and not names_file:
                given[index] += f"={_NONE}"
        return super().parse_args(ctx, given)


options = (
    click.option("--baseline", type=click.Path(dir_okay=False), metavar="FILE",
                 help="Leave out the findings that this file knows.  [default: none]"),
    click.option("--write-baseline", metavar="[FILE]",
                 help="Write what is found to the baseline, and exit with 0.  [default: that of --baseline, else "
                      "nanguard-baseline.json]"),
    click.option("--ignore-suppressions", is_flag=True,
                 help="Report what comments in the files suppress, too.  [default: off]"),
    click.option("--add-ignores", metavar="[=REASON]",
                 help="Write a comment that suppresses it for each finding.  [default: off]"),
)  # fmt: skip


def refuse(wanted: Adoption, fixing: bool, settings: Settings) -> None:
    """Raise `UsageError` for options that exclude each other."""
    given = [name for name, value in zip(_ALONE, wanted, strict=True) if value is not None]
    if fixing and given:
        raise click.UsageError(f"{given[0]} does not go with --fix, --diff or --fix-only; fix first")
    if len(given) > 1:
        raise click.UsageError(f"{given[0]} does not go with {given[1]}; do one, then the other")
    if wanted.add_ignores is not None and settings.ignore_suppressions:
        raise click.UsageError("--add-ignores does not go with --ignore-suppressions")


def adopt(
    paths: Sequence[str | SourceFile], settings: Settings, wanted: Adoption, output_file: Path | None, exit_zero: bool
) -> int:
    """Add comments, or write the baseline."""
    if any(isinstance(path, SourceFile) for path in paths):
        raise NanguardError("--add-ignores and --write-baseline are for files; give paths, not standard input")
    if wanted.write_baseline is not None:
        given = "" if wanted.write_baseline == _NONE else wanted.write_baseline
        return _baseline(paths, settings, given)
    return _comments(paths, settings, wanted.add_ignores or "", output_file, exit_zero)


def _baseline(paths: Sequence[str | SourceFile], settings: Settings, given: str) -> int:
    from nanguard.running.checking import check_paths
    from nanguard.suppress.baseline import DEFAULT, rewritten, save

    path = given or settings.baseline or DEFAULT
    report = check_paths(paths, replace(settings, baseline=path if os.path.lexists(path) else None))
    baseline = rewritten(path, report, settings.pedantic)
    save(baseline)
    remark(report, (), settings, "")
    if not settings.quiet:
        gone = f", {_count(len(report.stale), 'fixed one')} dropped" if report.stale else ""
        them = "it" if len(baseline.entries) == 1 else "them"
        number = _count(len(baseline.entries), "finding")
        click.echo(f"Wrote {number} to {path}{gone}; leave {them} out with --baseline {path}", err=True)
    return FAILED if any(note.failed for note in report.notes) else CLEAN


def _comments(
    paths: Sequence[str | SourceFile], settings: Settings, reason: str, output_file: Path | None, exit_zero: bool
) -> int:
    from nanguard.running.checking import check_paths
    from nanguard.suppress.adding import add_ignores, check_reason

    reason = "" if reason == _NONE else reason.strip()
    check_reason(reason)
    report = check_paths(paths, settings)
    added = add_ignores(report.findings if settings.pedantic else report.shown, reason)
    left = _only(report, added.left)
    form, painted = settings.output_format, colour(sys.stdout, settings.color) and output_file is None
    write(render(left, left.findings, form, painted, settings), output_file, settings.color)
    if not settings.quiet:
        files = _count(added.files, "file")
        click.echo(f"Added comments for {_count(len(added.done), 'finding')} in {files}", err=True)
    for error in added.errors:
        click.echo(f"nanguard: error: {error}", err=True)
    remark(left, left.findings, settings, form)
    if added.errors or any(note.failed for note in report.notes):
        return FAILED
    return FOUND if failing(left.findings, settings) and not exit_zero else CLEAN


def _only(report: Report, findings: Sequence[Finding]) -> Report:
    """A report with these findings alone."""
    return replace(report, findings=tuple(finding for finding in report.findings if finding in findings))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
