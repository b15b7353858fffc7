"""The command line: parse, call, print, exit.

What a command needs is imported when the command runs, so that help and rules answer at once and without
torch.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TextIO

import click

from nanguard import __version__
from nanguard.errors import NanguardError

if TYPE_CHECKING:
    from nanguard.finding import Finding, Note, Report
    from nanguard.settings import Settings

CLEAN, FOUND, FAILED, INTERRUPTED = 0, 1, 2, 130
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_Command = Callable[..., Any]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; every error is one line on standard error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # what the terminal cannot show is no reason to fail
    sys.exit(_run(given))


def _run(given: list[str]) -> int:
    try:
        return int(cli.main(given, prog_name="nanguard", standalone_mode=False) or CLEAN)
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # which click has from 8.2
            click.echo(error.format_message(), err=True)
            return FAILED
        command = error.ctx.command_path if error.ctx else "nanguard"
        return _fail(f"{_lower(error.format_message()).rstrip('.')}; see {command} --help")
    except click.ClickException as error:
        return _fail(_lower(error.format_message()))
    except NanguardError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FOUND
    except Exception as error:
        if any(re.fullmatch(r"--verbose|-[a-z]*v[a-z]*", argument) for argument in given):
            raise
        what = f"internal error {type(error).__name__}: {error}"
        return _fail(f"{what}; this is a bug in nanguard; run with -v for the traceback")


def _fail(message: str, status: int = FAILED) -> int:
    click.echo(f"nanguard: error: {' '.join(message.split())}", err=True)
    return status


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="nanguard", message="%(prog)s %(version)s")
def cli() -> None:
    """Find, prove and repair numerical instability in PyTorch losses.

    Exit status: 0 nothing found, 1 findings, 2 nanguard could not do its job.
    """


def _codes(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(code.strip() for text in value for code in text.split(","))


_verbose = click.option(
    "-v", "--verbose", is_flag=True, help="Say what was not run and why; show tracebacks.  [default: off]"
)
_format = click.option(
    "--format",
    "--output-format",
    "format_",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="How to print it.",
)


_rule_files = click.option(
    "--rules",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="Rules of your own, a TOML file; may be given more than once.  [default: none]",
)

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
    click.option("--prefer", type=click.Choice(("stable", "clamp")), default="stable", show_default=True,
                 help="Fix by the exact stable form, or by a clamp where there is one."),
    click.option("--eps", type=click.FloatRange(0, 0.5, min_open=True, max_open=True), default=None,
                 help="What to clamp with.  [default: the smallest that works in the dtype]"),
)  # fmt: skip


def _check_options(command: _Command) -> _Command:
    """The options of check, in the order of the help."""
    options = (
        click.option("--select", multiple=True, callback=_codes, metavar="RULES",
                     help="Rules to check: codes, prefixes, names, or ALL.  [default: ALL]"),
        click.option("--ignore", multiple=True, callback=_codes, metavar="RULES",
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
        _rule_files,
        *_FIXES,
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
        _verbose,
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@cli.command(short_help="Check losses in files, folders or single functions.")
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
    **options: Any,
) -> int:
    """Check losses in files, folders or single functions (default: this folder).

    Of a file that may have a problem, the imports and definitions are run, in a process of its own; --static
    never runs anything.
    """
    from nanguard.running.checking import check_paths
    from nanguard.settings import Settings

    wanted = _Fixing(**{name: options.pop(name) for name in _Fixing._fields})
    settings = Settings(select=select or ("ALL",), jobs=jobs or 0, **options)
    _works(settings)
    if wanted.fix or wanted.diff or wanted.fix_only:
        return _fixing(paths or (".",), settings, wanted, format_, output_file, exit_zero)
    report = check_paths(paths or (".",), settings)
    findings = report.findings if settings.pedantic else report.shown
    _print(_render(report, findings, format_, _colour(sys.stdout) and output_file is None), output_file)
    _remark(report, findings, settings, format_, wanted.unsafe_fixes)
    if any(note.failed for note in report.notes):
        return FAILED
    return FOUND if findings and not exit_zero else CLEAN


class _Fixing(NamedTuple):
    """What is asked for of fixes."""

    fix: bool
    unsafe_fixes: bool
    diff: bool
    fix_only: bool
    show_fixes: bool
    exit_non_zero_on_fix: bool


def _works(settings: Settings) -> None:
    """Refuse an epsilon that does nothing in the dtype."""
    from nanguard.floats import FORMATS

    for dtype in settings.dtypes:
        if settings.eps is not None and not FORMATS[dtype].round(1 - settings.eps) < 1:
            least = FORMATS[dtype].eps / 2
            raise NanguardError(f"--eps {settings.eps:g} has no effect in {dtype}; the least that has is {least:.2g}")


def _fixing(
    paths: Sequence[str], settings: Settings, wanted: _Fixing, format_: str, output_file: Path | None, exit_zero: bool
) -> int:
    """Fix, or print what fixing would change."""
    from nanguard.repair.fixing import fix_paths, save
    from nanguard.report import fixes

    outcome = fix_paths(paths, settings, wanted.unsafe_fixes)
    for note in outcome.bugs:
        click.echo(f"nanguard: warning: {_note(note)}", err=True)
    if wanted.diff:
        _print(fixes.diff(outcome.files), output_file)
        _remark(outcome.report, (), settings, "")
        status = FOUND if outcome.files and not exit_zero else CLEAN
        return FAILED if any(note.failed for note in outcome.report.notes) else status
    outcome = save(outcome)
    report = outcome.report
    findings = report.findings if settings.pedantic else report.shown
    if wanted.fix_only:
        findings, format_ = (), ""
    else:
        _print(_render(report, findings, format_, _colour(sys.stdout) and output_file is None), output_file)
    if outcome.files and (wanted.show_fixes or (format_ == "text" and not settings.quiet)):
        text = fixes.fixed(outcome.files)
        click.echo(text if wanted.show_fixes else text.splitlines()[0].rstrip(":"), err=True)
    _remark(report, findings, settings, format_, wanted.unsafe_fixes)
    if any(note.failed for note in report.notes):
        return FAILED
    failing = findings or (outcome.files and wanted.exit_non_zero_on_fix)
    return FOUND if failing and not exit_zero else CLEAN


def _render(report: Report, findings: Sequence[Finding], form: str, colour: bool) -> str:
    match form:
        case "json":
            from nanguard.report import json

            return json.render(report, findings)
        case "concise":
            from nanguard.report import concise

            return concise.render(findings)
    from nanguard.report import text

    return text.render(report, findings, colour)


def _print(text: str | bytes, file: Path | None) -> None:
    if file is None:
        click.echo(text, nl=False, color=_colour(sys.stdout))
        return
    try:
        file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise NanguardError(f"{file}: cannot be written ({error.strerror}); give another --output-file") from None


def _remark(report: Report, findings: Sequence[Finding], settings: Settings, form: str, unsafe: bool = False) -> None:
    """Standard error: errors always, remarks under -v, the summary of the text format unless -q."""
    for note in report.notes:
        if note.failed:
            click.echo(f"nanguard: error: {_note(note)}", err=True)
        elif settings.verbose:
            click.echo(f"nanguard: note: {_note(note)}", err=True)
    if form == "text" and not settings.quiet and report.files:
        from nanguard.report import text

        click.echo(text.summary(report, findings), err=True)
        if findings:
            from nanguard.report import fixes

            if (hint := fixes.hint(findings, unsafe)) is not None:
                click.echo(hint, err=True)


def _note(note: Note) -> str:
    place = f"{note.path}:{note.line}: " if note.line else f"{note.path}: " if note.path else ""
    return place + " ".join(note.message.split())


def _colour(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


@cli.command("rules", short_help="List the rules, or prove them.")
@click.option("--prove", is_flag=True, help="Prove the rules by their own examples; exit with 1 if one fails.")
@_rule_files
@_format
@_verbose
def list_rules(prove: bool, rules: tuple[str, ...], format_: str, verbose: bool) -> int:
    """List the rules, or with --prove prove them: those of the files given with --rules, else nanguard's own.

    A proof runs every example: bad code is found, at its place and with a witness, the fix is equal to the exact
    value, and safe code stays silent.
    """
    from nanguard.matching.rules import load
    from nanguard.report import explain

    loaded = load(rules).rules
    known = [rule for rule in loaded if rule.path in {str(Path(file)) for file in rules}] if rules else loaded
    if not prove:
        click.echo(explain.table_json(known) if format_ == "json" else explain.table(known))
        return CLEAN
    _need_torch("rules are proved with it")
    from nanguard.lazy import load_torch

    load_torch()
    from nanguard.report import proving

    proofs = list(proving.proofs(known, rules, _progress))
    click.echo(proving.as_json_text(proofs) if format_ == "json" else proving.as_text(proofs))
    return FOUND if any(proof.failures for proof in proofs) else CLEAN


def _progress(text: str) -> None:
    """A line on the terminal that the next one takes the place of."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", nl=False, err=True)


def _need_torch(why: str) -> None:
    from nanguard.running.checking import has_torch

    if not has_torch():
        raise NanguardError(f"torch is not installed here, and {why}; install it: pip install torch")


@cli.command("explain", short_help="Explain a rule, by its code or its name.")
@click.argument("code", required=False)
@click.option("--all", "every", is_flag=True, help="Explain every rule, without measuring.  [default: off]")
@click.option("--static", is_flag=True, help="Measure nothing, so that torch is not loaded.  [default: off]")
@_rule_files
@_format
@_verbose
def explain_rule(
    code: str | None, every: bool, static: bool, rules: tuple[str, ...], format_: str, verbose: bool
) -> None:
    """Explain a rule, by its code or its name: what it finds, why, what to write instead, and where it fails.

    Where torch is installed, the thresholds and values are measured on it.
    """
    from nanguard import settings
    from nanguard.matching.rules import load
    from nanguard.report import explain
    from nanguard.running.checking import has_torch

    known = load(rules)
    if every:
        pages = [explain.rule_data(rule) for rule in known.rules]
        texts = (explain.rule_text(rule) for rule in known.rules)
        click.echo(explain.as_json({"rules": pages}) if format_ == "json" else "\n\n".join(texts))
        return
    if code is None:
        raise click.UsageError("Missing argument 'CODE'.", click.get_current_context())
    rule = known.find(code)
    if rule is None:
        raise NanguardError(settings.unknown(code, known.rules, "explain"))
    measured = None
    if has_torch() and not static:
        from nanguard.lazy import load_torch

        load_torch()  # without what it has to say of numpy
        from nanguard.proof.measure import measure

        measured = measure(rule, rules)
    if format_ == "json":
        click.echo(explain.as_json(explain.rule_data(rule, measured)))
    else:
        click.echo(explain.rule_text(rule, measured, torch=has_torch()))


cli.add_command(
    click.Command(
        "rule",
        callback=explain_rule.callback,
        params=explain_rule.params,
        help=explain_rule.help,
        hidden=True,
    )
)


@cli.command()
@click.argument("target", metavar="FILE::NAME")
@click.option("--prefer", type=click.Choice(("stable", "clamp")), default="stable", show_default=True,
              help="Replace by the exact stable form, or clamp.")  # fmt: skip
@click.option("--eps", type=click.FloatRange(0, 0.5, min_open=True, max_open=True), default=None,
              help="What to clamp with.  [default: the smallest that works in the dtype]")  # fmt: skip
@_verbose
def rewrite(target: str, prefer: str, eps: float | None, verbose: bool) -> None:
    """Print the stable version of a loss as Python."""
    from nanguard.running.checking import single
    from nanguard.settings import Settings

    path, name = single(target)
    from nanguard.repair.sourcefix import rewritten

    text = rewritten(path, name, Settings(prefer=prefer, eps=eps, verbose=verbose))
    click.echo(text, nl=not text.endswith("\n"))
