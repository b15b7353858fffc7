"""nanguard explain, and rule, its other name."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nanguard.cli import complete, options
from nanguard.cli.output import write
from nanguard.errors import NanguardError

if TYPE_CHECKING:
    from nanguard.matching.rule import Rule
    from nanguard.proof.measure import Measured
    from nanguard.report.html.drawn import Plot


@click.command("explain", short_help="Explain a rule, by its code or its name.")
@click.argument("code", required=False, shell_complete=complete.rule)
@click.option("--all", "every", is_flag=True, help="Explain every rule, without measuring.  [default: off]")
@click.option("--static", is_flag=True, help="Measure nothing, so that torch is not loaded.  [default: off]")
@options.rule_files
@click.option("--format", "--output-format", "format_", type=click.Choice(("text", "json", "html")), default="text",
              show_default=True, help="How to print it; html has error plots.")  # fmt: skip
@click.option("-o", "--output-file", type=click.Path(dir_okay=False, path_type=Path),
              help="Where to write it.  [default: standard output]")  # fmt: skip
@options.config
@options.isolated
@options.verbose
@click.pass_context
def explain_rule(
    context: click.Context, /, code: str | None, every: bool, static: bool, format_: str, output_file: Path | None,
    **given: Any,
) -> None:  # fmt: skip
    """Explain a rule, by its code or its name: what it finds, why, what to write instead, and where it fails.

    Where torch is installed, the thresholds and values are measured on it.
    """
    from nanguard import settings
    from nanguard.matching.rules import load
    from nanguard.report import explain, remarks, textplot
    from nanguard.running.checking import has_torch

    rules = options.settings_of(context, ["."]).settings.rules
    known = load(rules)
    if every:
        if format_ == "html":
            raise click.UsageError("--all has no HTML; give one rule", context)
        pages = [explain.rule_data(each) for each in known.rules]
        texts = (explain.rule_text(each) for each in known.rules)
        write(f"{explain.as_json({'rules': pages}) if format_ == 'json' else _joined(texts)}\n", output_file)
        return
    if code is None:
        raise click.UsageError("Missing argument 'CODE'.", context)
    found = known.find(code)
    remark = remarks.find(code)
    if found is None and remark is not None and format_ != "html":
        shown = explain.as_json(remarks.data(remark)) if format_ == "json" else remarks.text(remark)
        write(f"{shown}\n", output_file)
        return
    if found is None:
        raise NanguardError(settings.unknown(code, known.rules, "explain"))
    measured = _measured(found, rules) if has_torch() and not static else None
    if format_ == "json":
        write(explain.as_json(explain.rule_data(found, measured)) + "\n", output_file)
        return
    plot = _plot(found.code, rules, format_ == "html") if measured is not None else None
    if format_ == "html":
        from nanguard.report.html.rule import render

        write(render(found, measured, plot), output_file)
    else:
        drawn = textplot.render(plot, output_file is not None or _has_blocks()) if plot is not None else ""
        write(explain.rule_text(found, measured, torch=has_torch(), plot=drawn) + "\n", output_file)


def _joined(texts: Iterable[str]) -> str:
    return "\n\n".join(texts)


def _measured(rule: Rule, files: tuple[str, ...]) -> Measured | None:
    from nanguard.lazy import load_torch

    load_torch()  # without what it has to say of numpy
    from nanguard.proof.measure import measure

    return measure(rule, files)


def _plot(code: str, files: tuple[str, ...], exhaustive: bool) -> Plot | None:
    from nanguard.report.html.example import rule_plot

    return rule_plot(code, files, exhaustive)


def _has_blocks() -> bool:
    """Whether standard output can write the characters of a plot."""
    try:
        "\u2581\u2588".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


rule = click.Command(
    "rule", callback=explain_rule.callback, params=explain_rule.params, help=explain_rule.help, hidden=True
)
