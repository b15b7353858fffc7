"""The options that several commands take."""

from __future__ import annotations

import click


def codes(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(code.strip() for text in value for code in text.split(","))


verbose = click.option(
    "-v", "--verbose", is_flag=True, help="Say what was not run and why; show tracebacks.  [default: off]"
)
format_ = click.option(
    "--format",
    "--output-format",
    "format_",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="How to print it.",
)

rule_files = click.option(
    "--rules",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="Rules of your own, a TOML file; may be given more than once.  [default: none]",
)

prefer = click.option(
    "--prefer",
    type=click.Choice(("stable", "clamp")),
    default="stable",
    show_default=True,
    help="Fix by the exact stable form, or by a clamp where there is one.",
)
eps = click.option(
    "--eps",
    type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    default=None,
    help="What to clamp with.  [default: the smallest that works in the dtype]",
)
