"""nanguard clean."""

from __future__ import annotations

from typing import Any

import click

from nanguard.cli import options
from nanguard.cli.status import CLEAN


@click.command(short_help="Remove the cache.")
@options.cache_dir
@options.config
@options.isolated
@click.pass_context
def clean(context: click.Context, /, **given: Any) -> int:
    """Remove the cache of this project, and say what was removed.

    A folder that nanguard did not make is left alone.
    """
    from nanguard.cache.folder import place, remove

    settings = options.settings_of(context, (".",)).settings
    folder = place(settings.cache_dir, settings.root)
    if not folder.exists():
        click.echo(f"No cache at {folder}")
        return CLEAN
    count, size = remove(folder)
    click.echo(f"Removed {folder} ({count} file{'' if count == 1 else 's'} of results, {size / 1e6:.1f} MB)")
    return CLEAN
