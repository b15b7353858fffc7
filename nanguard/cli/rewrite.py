"""nanguard rewrite."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from nanguard.cli import options


@click.command()
@click.argument("target", metavar="FILE::NAME")
@options.prefer
@options.eps
@options.config
@options.isolated
@options.verbose
@click.pass_context
def rewrite(context: click.Context, /, target: str, **given: Any) -> None:
    """Print the stable version of a loss as Python."""
    from nanguard.running.checking import single

    found = options.settings_of(context, [target]).settings
    settings = replace(found, force_exclude=False, shard=None)  # this file is meant, whatever check leaves out
    path, name = single(target)
    from nanguard.repair.sourcefix import rewritten

    text = rewritten(path, name, settings)
    click.echo(text, nl=not text.endswith("\n"))
