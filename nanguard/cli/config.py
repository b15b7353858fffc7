"""nanguard config."""

from __future__ import annotations

from typing import Any

import click

from nanguard.cli import options
from nanguard.cli.check import check
from nanguard.config.keys import KEYS, option_of

_TAKEN = {*map(option_of, KEYS), "config", "isolated"} - {"output_format"}


@click.pass_context
def _config(context: click.Context, /, paths: tuple[str, ...], format_: str, **given: Any) -> None:
    """Print the settings that check has for some paths (default: this folder), and where each comes from.

    The command line wins over the environment, that over the configuration, that over the defaults.  Options of
    check that are settings are taken here, too.
    """
    from nanguard.report import settings

    found = options.settings_of(context, paths or (".",))
    click.echo(settings.as_json(found) if format_ == "json" else settings.as_table(found))


config = click.Command(
    "config",
    callback=_config,
    params=[
        click.Argument(["paths"], nargs=-1, metavar="[PATH]..."),
        click.Option(
            ["--format", "format_"], type=click.Choice(("text", "json")), default="text", show_default=True,
            help="How to print it.",
        ),
        *(option for option in check.params if option.name in _TAKEN),
    ],
    help=_config.__doc__,
    short_help="Print the settings, and where each comes from.",
)  # fmt: skip
