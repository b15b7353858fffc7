"""nanguard explain, and rule, its other name."""

from __future__ import annotations

from typing import Any

import click

from nanguard.cli import complete, options
from nanguard.errors import NanguardError


@click.command("explain", short_help="Explain a rule, by its code or its name.")
@click.argument("code", required=False, shell_complete=complete.rule)
@click.option("--all", "every", is_flag=True, help="Explain every rule, without measuring.  [default: off]")
@click.option("--static", is_flag=True, help="Measure nothing, so that torch is not loaded.  [default: off]")
@options.rule_files
@options.format_
@options.config
@options.isolated
@options.verbose
@click.pass_context
def explain_rule(
    context: click.Context, /, code: str | None, every: bool, static: bool, format_: str, **given: Any
) -> None:  # fmt: skip
    """Explain a rule, by its code or its name: what it finds, why, what to write instead, and where it fails.

    Where torch is installed, the thresholds and values are measured on it.
    """
    from nanguard import settings
    from nanguard.matching.rules import load
    from nanguard.report import explain
    from nanguard.running.checking import has_torch

    rules = options.settings_of(context, ["."]).settings.rules
    known = load(rules)
    if every:
        pages = [explain.rule_data(each) for each in known.rules]
        texts = (explain.rule_text(each) for each in known.rules)
        click.echo(explain.as_json({"rules": pages}) if format_ == "json" else "\n\n".join(texts))
        return
    if code is None:
        raise click.UsageError("Missing argument 'CODE'.", click.get_current_context())
    found = known.find(code)
    if found is None:
        raise NanguardError(settings.unknown(code, known.rules, "explain"))
    measured = None
    if has_torch() and not static:
        from nanguard.lazy import load_torch

        load_torch()  # without what it has to say of numpy
        from nanguard.proof.measure import measure

        measured = measure(found, rules)
    if format_ == "json":
        click.echo(explain.as_json(explain.rule_data(found, measured)))
    else:
        click.echo(explain.rule_text(found, measured, torch=has_torch()))


rule = click.Command(
    "rule", callback=explain_rule.callback, params=explain_rule.params, help=explain_rule.help, hidden=True
)
