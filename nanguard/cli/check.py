"""nanguard check."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nanguard.cli import adoption, complete, options
from nanguard.cli.fix import Fixing, fix
from nanguard.cli.output import colour, counted, remark, render, uncaptured, write
from nanguard.cli.status import CLEAN, FAILED, FOUND
from nanguard.cli.stdin import asked_for
from nanguard.config.keys import BY_NAME
from nanguard.reading.discover import SourceFile
from nanguard.report.formats import FORMATS
from nanguard.report.view import failing

if TYPE_CHECKING:
    from nanguard.cache.store import Cache
    from nanguard.settings import Settings

_Command = Callable[..., Any]

_RULES = (
    click.option("--select", multiple=True, callback=options.codes, metavar="RULES", shell_complete=complete.codes,
                 help="Rules to check: codes, prefixes, names, or ALL.  [default: ALL]"),
    click.option("--extend-select", multiple=True, callback=options.codes, metavar="RULES",
                 shell_complete=complete.codes,
                 help="Rules to check beside those selected.  [default: none]"),
    click.option("--ignore", multiple=True, callback=options.codes, metavar="RULES", shell_complete=complete.codes,
                 help="Rules to leave out; the longest selector that fits decides.  [default: none]"),
    click.option("--per-file-ignores", multiple=True, callback=options.per_file, metavar="GLOB:RULES",
                 help="Rules to leave out in some files; may be given more than once.  [default: none]"),
    options.rule_files,
)  # fmt: skip
_FILES = (
    click.option("--exclude", multiple=True, callback=options.patterns, metavar="GLOBS",
                 help="Files and folders to leave out.  [default: what is not the project's own code]"),
    click.option("--extend-exclude", multiple=True, callback=options.patterns, metavar="GLOBS",
                 help="Files and folders to leave out beside those excluded.  [default: none]"),
    options.switch("force-exclude", help="Leave out what is named on the command line, too."),
    click.option("--stdin-filename", metavar="FILE",
                 help="What the text on standard input is called.  [default: -]"),
    click.option("--shard", callback=options.part, metavar="I/N",
                 help="Check the I-th of N parts of the files.  [default: all of them]"),
)  # fmt: skip
_OUTPUT = (
    click.option("--format", "--output-format", "output_format",
                 type=click.Choice(BY_NAME["output-format"].choices),
                 help="How to print findings.  [default: text]"),
    click.option("-o", "--output-file", type=click.Path(dir_okay=False, path_type=Path),
                 help="Where to write the findings.  [default: standard output]"),
    click.option("--statistics", is_flag=True,
                 help="Print how many findings of each rule there are, not the findings.  [default: off]"),
    click.option("--color", type=click.Choice(BY_NAME["color"].choices),
                 help="When to print in colour; auto is on a terminal.  [default: auto]"),
    click.option("-q", "--quiet", is_flag=True,
                 help="Print findings and errors only.  [default: off]"),
    click.option("-s", "--silent", is_flag=True,
                 help="Print nothing of what is checked; the exit status says it.  [default: off]"),
    options.verbose,
)  # fmt: skip
_FIXES = (
    click.option("--fix", is_flag=True,
                 help="Put safe fixes into the files.  [default: off]"),
    options.switch("unsafe-fixes", help="Take unsafe fixes too; without --fix or --diff only counts them."),
    click.option("--diff", is_flag=True,
                 help="Print the fixes as a diff that git takes, and write nothing.  [default: off]"),
    click.option("--fix-only", is_flag=True,
                 help="Fix, and say nothing of what is left.  [default: off]"),
    click.option("--show-fixes", is_flag=True,
                 help="List what was fixed.  [default: off]"),
    click.option("--exit-non-zero-on-fix", is_flag=True,
                 help="Exit with 1 where something was fixed, even if nothing is left.  [default: off]"),
    click.option("--fixable", multiple=True, callback=options.codes, metavar="RULES", shell_complete=complete.codes,
                 help="Rules whose fixes may be made.  [default: ALL]"),
    click.option("--unfixable", multiple=True, callback=options.codes, metavar="RULES", shell_complete=complete.codes,
                 help="Rules whose fixes are only shown.  [default: none]"),
    options.prefer,
    options.eps,
)  # fmt: skip
_DEPTH = (
    options.switch("static", help="Never run the files; prove what can be read."),
    options.switch("pedantic", help="Show what is possible but not proved, too."),
    click.option("--dtype", "dtypes", multiple=True, type=click.Choice(BY_NAME["dtype"].choices),
                 help="Which dtype to prove findings in; may be given more than once.  [default: float32]"),
    click.option("--strict", is_flag=True,
                 help="Exit with 1 where a function could not be captured.  [default: off]"),
)  # fmt: skip
_ADOPTION = (
    *adoption.options,
    click.option("-e", "--exit-zero", is_flag=True,
                 help="Exit with 0 although there are findings.  [default: off]"),
)  # fmt: skip
_RUNNING = (
    click.option("-j", "--jobs", type=click.IntRange(min=1),
                 help="Files to run at a time.  [default: one for each processor]"),
    click.option("--timeout", type=click.FloatRange(min=0, min_open=True),
                 help="Seconds that running one file may take.  [default: 20]"),
    click.option("--no-cache", is_flag=True,
                 help="Check every file anew, and keep no result.  [default: off]"),
    options.cache_dir,
    options.config,
    options.isolated,
)  # fmt: skip

_GROUPS = {
    "Rules": _RULES,
    "Files": _FILES,
    "Output": _OUTPUT,
    "Fixes": _FIXES,
    "Depth": _DEPTH,
    "Adoption": _ADOPTION,
    "Running": _RUNNING,
}


def groups(command: click.Command, context: click.Context) -> dict[str, list[click.Option]]:
    """The options of a command by the title of their group in its help."""
    listed = [option for option in command.get_params(context) if isinstance(option, click.Option)]
    titles = [title for title, group in _GROUPS.items() for _ in group] if isinstance(command, _Grouped) else []
    titles += ["Other" if titles else "Options"] * (len(listed) - len(titles))  # --help itself
    found: dict[str, list[click.Option]] = {}
    for option, title in zip(listed, titles, strict=True):
        found.setdefault(title, []).append(option)
    return found


class _Grouped(adoption.CheckCommand):
    """A command whose help lists the options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, group in groups(self, ctx).items():
            with formatter.section(title):
                formatter.write_dl([record for option in group if (record := option.get_help_record(ctx))])


def _check_options(command: _Command) -> _Command:
    """The options of check, in the order of the help."""
    for option in reversed([option for group in _GROUPS.values() for option in group]):
        command = option(command)
    return command


@click.command(cls=_Grouped, short_help="Check losses in files, folders or single functions.")
@click.argument("paths", nargs=-1, metavar="[PATH|FILE::NAME|-]...")
@_check_options
@click.pass_context
def check(
    context: click.Context, /, paths: tuple[str, ...], stdin_filename: str | None, output_file: Path | None,
    exit_zero: bool, **given: Any,
) -> int:  # fmt: skip
    """Check losses in files, folders or single functions (default: this folder); - is standard input.

    Of a file that may have a problem, the imports and definitions are run, in a process of its own; --static
    never runs anything.  Defaults may be changed in [tool.nanguard] of pyproject.toml, see `nanguard config`.
    """
    from nanguard.running.checking import check_paths

    asked = asked_for(paths, stdin_filename)
    names = [stdin_filename or "." if isinstance(path, SourceFile) else path for path in asked]
    settings = options.settings_of(context, names).settings
    settings = replace(settings, quiet=settings.quiet or settings.silent)
    wanted = Fixing(unsafe_fixes=settings.unsafe_fixes, **{name: given[name] for name in Fixing.asked()})
    adopting = adoption.Adoption(**{name: given[name] for name in adoption.Adoption._fields})
    fixing = wanted.fix or wanted.diff or wanted.fix_only
    adoption.refuse(adopting, fixing, settings)
    if any(value is not None for value in adopting):
        return adoption.adopt(asked, settings, adopting, output_file, exit_zero)
    if fixing:
        return fix(asked, settings, wanted, output_file, exit_zero)
    cache = None if given["no_cache"] else _cache(settings)
    form = FORMATS[settings.output_format]
    report = check_paths(asked, settings, cache=cache, every_target=form.every_target)
    if cache and cache.trouble and settings.verbose:
        click.echo(f"nanguard: note: {cache.trouble}", err=True)
    findings = report.findings if settings.pedantic else report.shown
    if output_file is not None or not settings.silent:
        painted = colour(sys.stdout, settings.color) and output_file is None
        text = counted(findings) if given["statistics"] else render(
            report, findings, settings.output_format, painted, settings
        )  # fmt: skip
        write(text, output_file, settings.color)
    remark(report, findings, settings, settings.output_format, wanted.unsafe_fixes)
    if any(note.failed for note in report.notes):
        return FAILED
    return FOUND if (failing(findings, settings) or uncaptured(report, settings)) and not exit_zero else CLEAN


def _cache(settings: Settings) -> Cache:
    from nanguard.cache.folder import place
    from nanguard.cache.store import Cache

    return Cache(place(settings.cache_dir, settings.root), settings)
