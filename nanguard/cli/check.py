"""nanguard check."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nanguard.cli import adoption, options
from nanguard.cli.fix import Fixing, fix
from nanguard.cli.output import colour, remark, render, write
from nanguard.cli.status import CLEAN, FAILED, FOUND
from nanguard.errors import NanguardError
from nanguard.settings import Settings

_Command = Callable[..., Any]

_FIXES = (
    click.option("--fix", is_flag=True,
                 help="Put safe fixes into the files.  [default: off]"),
    click.option("--unsafe-fixes", is_flag=True,
                 help="Take unsafe fixes too; without --fix or --diff only counts them.  [default: off]"),
    click.option("--diff", is_flag=True,
                 help="Print the fixes as a diff that git takes, and write nothing.  [default: off]"),
    click.option("--fix-only", is_flag=True,
                 help="Fix, and say nothing of what is left.  [default: off]"),
    click.option("--show-fixes", is_flag=True,
                 help="List what was fixed.  [default: off]"),
    click.option("--exit-non-zero-on-fix", is_flag=True,
                 help="Exit with 1 where something was fixed, even if nothing is left.  [default: off]"),
    options.prefer,
    options.eps,
)  # fmt: skip


def _check_options(command: _Command) -> _Command:
    """The options of check, in the order of the help."""
    taken = (
        click.option("--select", multiple=True, callback=options.codes, metavar="RULES",
                     help="Rules to check: codes, prefixes, names, or ALL.  [default: ALL]"),
        click.option("--ignore", multiple=True, callback=options.codes, metavar="RULES",
                     help="Rules to leave out; the longest selector that fits decides.  [default: none]"),
        click.option("--format", "--output-format", "format_", envvar="NANGUARD_OUTPUT_FORMAT",
                     type=click.Choice(("text", "concise", "json")), default="text", show_default=True,
                     help="How to print findings."),
        click.option("-o", "--output-file", type=click.Path(dir_okay=False, path_type=Path),
                     help="Where to write the findings.  [default: standard output]"),
        click.option("--static", is_flag=True,
                     help="Never run the files; prove what can be read.  [default: off]"),
        click.option("--pedantic", is_flag=True,
                     help="Show what is possible but not proved, too.  [default: off]"),
        click.option("--dtype", "dtypes", multiple=True, default=("float32",), show_default=True,
                     type=click.Choice(("float16", "bfloat16", "float32", "float64")),
                     help="Which dtype to prove findings in; may be given more than once."),
        options.rule_files,
        *_FIXES,
        *adoption.options,
        click.option("-e", "--exit-zero", is_flag=True,
                     help="Exit with 0 although there are findings.  [default: off]"),
        click.option("--no-cache", is_flag=True,
                     help="Accepted for later: nothing is cached yet.  [default: off]"),
        click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=20.0,
                     show_default=True, help="Seconds that running one file may take."),
        click.option("-j", "--jobs", type=click.IntRange(min=1), default=None,
                     help="Files to run at a time.  [default: one for each processor]"),
        click.option("-q", "--quiet", is_flag=True,
                     help="Print findings and errors only.  [default: off]"),
        options.verbose,
    )  # fmt: skip
    for option in reversed(taken):
        command = option(command)
    return command


@click.command(cls=adoption.CheckCommand, short_help="Check losses in files, folders or single functions.")
@click.argument("paths", nargs=-1, metavar="[PATH|FILE::NAME]...")
@_check_options
def check(
    paths: tuple[str, ...],
    select: tuple[str, ...],
    format_: str,
    output_file: Path | None,
    exit_zero: bool,
    no_cache: bool,
    jobs: int | None,
    **given: Any,
) -> int:
    """Check losses in files, folders or single functions (default: this folder).

    Of a file that may have a problem, the imports and definitions are run, in a process of its own; --static
    never runs anything.
    """
    from nanguard.running.checking import check_paths

    wanted = Fixing(**{name: given.pop(name) for name in Fixing._fields})
    adopting = adoption.Adoption(**{name: given.pop(name) for name in adoption.Adoption._fields})
    settings = Settings(select=select or ("ALL",), jobs=jobs or 0, **given)
    _works(settings)
    fixing = wanted.fix or wanted.diff or wanted.fix_only
    adoption.refuse(adopting, fixing, settings)
    if any(value is not None for value in adopting):
        return adoption.adopt(paths or (".",), settings, adopting, format_, output_file, exit_zero)
    if fixing:
        return fix(paths or (".",), settings, wanted, format_, output_file, exit_zero)
    report = check_paths(paths or (".",), settings)
    findings = report.findings if settings.pedantic else report.shown
    write(render(report, findings, format_, colour(sys.stdout) and output_file is None), output_file)
    remark(report, findings, settings, format_, wanted.unsafe_fixes)
    if any(note.failed for note in report.notes):
        return FAILED
    return FOUND if findings and not exit_zero else CLEAN


def _works(settings: Settings) -> None:
    """Refuse an epsilon that does nothing in the dtype."""
    from nanguard.floats import FORMATS

    for dtype in settings.dtypes:
        if settings.eps is not None and not FORMATS[dtype].round(1 - settings.eps) < 1:
            least = FORMATS[dtype].eps / 2
            raise NanguardError(f"--eps {settings.eps:g} has no effect in {dtype}; the least that has is {least:.2g}")
