"""nanguard rules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from nanguard.cli import options
from nanguard.cli.status import CLEAN, FOUND
from nanguard.errors import NanguardError


@click.command("rules", short_help="List the rules, or prove them.")
@click.option("--prove", is_flag=True, help="Prove the rules by their own examples; exit with 1 if one fails.")
@options.rule_files
@options.format_
@options.config
@options.isolated
@options.verbose
@click.pass_context
def list_rules(context: click.Context, /, prove: bool, format_: str, **given: Any) -> int:
    """List the rules, or with --prove prove them.

    These are the rules of the files given with --rules; without it all rules are listed, and the rules proved are those
    of the files of the configuration, where there are any.

    A proof runs every example: bad code is found, at its place and with a witness, the fix is equal to the exact
    value, and safe code stays silent.
    """
    from nanguard.matching.rules import load
    from nanguard.report import explain

    rules = options.settings_of(context, ["."]).settings.rules
    loaded = load(rules).rules
    files = {str(Path(file)) for file in rules} if given["rules"] or prove else ()
    known = [rule for rule in loaded if rule.path in files] if files else loaded
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
