"""nanguard clean."""

from __future__ import annotations

import click

from nanguard.cli import options
from nanguard.cli.status import CLEAN


@click.command(short_help="Remove the cache.")
@options.cache_dir
def clean(cache_dir: str | None) -> int:
    """Remove the cache of this project, and say what was removed.

    A folder that nanguard did not make is left alone.
    """
    from nanguard.cache.folder import place, remove

    folder = place(cache_dir)
    if not folder.exists():
        click.echo(f"No cache at {folder}")
        return CLEAN
    count, size = remove(folder)
    click.echo(f"Removed {folder} ({count} file{'' if count == 1 else 's'} of results, {size / 1e6:.1f} MB)")
    return CLEAN
