"""nanguard rewrite."""

from __future__ import annotations

import click

from nanguard.cli import options


@click.command()
@click.argument("target", metavar="FILE::NAME")
@options.prefer
@options.eps
@options.verbose
def rewrite(target: str, prefer: str, eps: float | None, verbose: bool) -> None:
    """Print the stable version of a loss as Python."""
    from nanguard.running.checking import single
    from nanguard.settings import Settings

    path, name = single(target)
    from nanguard.repair.sourcefix import rewritten

    text = rewritten(path, name, Settings(prefer=prefer, eps=eps, verbose=verbose))
    click.echo(text, nl=not text.endswith("\n"))
