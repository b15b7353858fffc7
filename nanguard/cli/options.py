"""The options that several commands take, and the settings that come of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from nanguard.config.effective import Effective, Given, effective
from nanguard.config.keys import KEYS, option_of
from nanguard.config.load import configuration_for, configuration_in
from nanguard.errors import NanguardError


def settings_of(context: click.Context, paths: Sequence[str]) -> Effective:
    """The settings for some paths: from the options given, the environment, and the configuration of the paths.

    The options are taken by their names, which are those of the fields of `Settings`.
    """
    file, isolated = context.params.get("config"), context.params.get("isolated")
    if file is not None and isolated:
        raise NanguardError("--isolated reads no configuration, and --config names one; leave one of them out")
    configuration = None
    if not isolated:
        configuration = configuration_for(paths) if file is None else configuration_in(file)
    return effective(_given(context), configuration)


def _given(context: click.Context) -> Mapping[str, Given]:
    """What the command line and the environment say, by the names of the options."""
    found = dict(_of_environment())
    for option in context.command.params:
        name = option.name or ""
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            where = next((text for text in option.opts if text.startswith("--")), name)
            found[name] = Given(context.params[name], where, "command line")
    return found


def _of_environment() -> Iterator[tuple[str, Given]]:
    for key in KEYS:
        text = os.environ.get(key.variable or "")
        if key.variable is None or not text:
            continue
        from nanguard.config.values import Wrong, value_of

        try:
            value = value_of(key, text, os.getcwd())
        except Wrong as error:
            raise NanguardError(f"environment: {key.variable}{error}") from None
        yield option_of(key), Given(value, key.variable, f"environment: {key.variable}")


# --- what is written as one text -----------------------------------------------------------------------------


def codes(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Rules with commas between them."""
    return tuple(code.strip() for text in value for code in text.split(","))


def patterns(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Patterns of files, relative to the current folder, with commas between them."""
    if not value:
        return ()
    from nanguard.config.values import rebased

    return tuple(rebased(text, os.getcwd()) for listed in value for text in listed.split(",") if text)


def per_file(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> Mapping[str, tuple[str, ...]]:  # fmt: skip
    """Rules by patterns of files."""
    if not value:
        return {}
    from nanguard.config.values import rebased

    found: dict[str, tuple[str, ...]] = {}
    for text in value:
        pattern, mark, chosen = text.rpartition(":")
        if not mark or not pattern or not chosen:
            raise click.BadParameter(f"{text!r} has not the form GLOB:RULES, such as 'tests/*:NG4,NG501'")
        pattern = rebased(pattern, os.getcwd())
        found[pattern] = (*found.get(pattern, ()), *codes(context, parameter, (chosen,)))
    return found


def part(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """A part of the files, and how many parts there are."""
    if value is None:
        return None
    index, mark, count = value.partition("/")
    if not (mark and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise click.BadParameter(f"{value!r} has not the form I/N with I from 1 to N, such as 2/4")
    return int(index), int(count)


# --- options -------------------------------------------------------------------------------------------------

config = click.option(
    "--config",
    type=click.Path(),
    metavar="FILE",
    help="Configuration file to use, a TOML file.  [default: pyproject.toml or nanguard.toml of the nearest folder]",
)
isolated = click.option("--isolated", is_flag=True, help="Read no configuration file.  [default: off]")
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

cache_dir = click.option(
    "--cache-dir",
    type=click.Path(file_okay=False),
    default=None,
    metavar="FOLDER",
    help="Where the cache is.  [default: .nanguard_cache beside the configuration, in the git root, or here]",
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
    help="Fix by the exact stable form, or by a clamp where there is one.  [default: stable]",
)
eps = click.option(
    "--eps",
    type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    help="What to clamp with.  [default: the smallest that works in the dtype]",
)


def switch(name: str, short: str = "", *, help: str) -> Any:
    """An option that the configuration may turn on, so that it can be turned off as well."""
    return click.option(*filter(None, (short, f"--{name}/--no-{name}")), default=None, help=f"{help}  [default: off]")
