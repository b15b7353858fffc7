"""Pages: what the pages about the commands say of their arguments and options, as the help does.

``python -m nanguard.cli.pages docs/commands`` writes it into the pages, one for each command.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nanguard.cli.check import groups
from nanguard.cli.entry import cli

_FIRST, _LAST = "<!-- options: written by `make docs` -->", "<!-- end of options -->"


def names() -> list[str]:
    """The commands that have a page."""
    return [name for name, command in cli.commands.items() if not command.hidden]


def current(name: str, page: str) -> str:
    """The page of a command with the options as they should be."""
    before, _, rest = page.partition(_FIRST)
    _, _, after = rest.partition(_LAST)
    return f"{before}{_FIRST}\n{_options(name)}\n{_LAST}{after}"


def _options(name: str) -> str:
    command = cli.commands[name]
    parent = click.Context(cli, info_name="nanguard", **cli.context_settings)
    context = click.Context(command, parent, name)
    parts = ["```\n" + command.get_usage(context).removeprefix("Usage: ") + "\n```"]
    for title, listed in groups(command, context).items():
        rows = [record for option in listed if (record := option.get_help_record(context))]
        if rows:
            parts.append("\n".join([f"| {title.lower()} | |", "|---|---|", *(_row(*row) for row in rows)]))
    return "\n\n".join(parts)


def _row(names: str, text: str) -> str:
    return f"| `{names.replace('|', chr(92) + '|')}` | {' '.join(text.split()).replace('|', chr(92) + '|')} |"


def write(folder: Path) -> None:
    """Bring the pages up to date."""
    for name in names():
        path = folder / f"{name}.md"
        path.write_text(current(name, path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
