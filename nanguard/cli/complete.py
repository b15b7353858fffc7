"""What the shell is offered while a command is typed."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def codes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For a list of codes: those of the rules, their names, and ALL, for the last one of the list."""
    before, comma, last = incomplete.rpartition(",")
    offered = [("ALL", "every rule"), *_rules()]
    return [CompletionItem(before + comma + text, help=about) for text, about in offered if text.startswith(last)]


def rule(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For one rule: the codes and the names."""
    return [CompletionItem(text, help=about) for text, about in _rules() if text.startswith(incomplete)]


def _rules() -> list[tuple[str, str]]:
    """The codes with their names, and the names with their codes."""
    from nanguard.matching.rules import listed

    rules = listed()
    return [*((rule.code, rule.name) for rule in rules), *((rule.name, rule.code) for rule in rules)]
