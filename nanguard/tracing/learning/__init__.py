"""Learning: from the exception that a run ended in to better guesses of its arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nanguard.tracing.clues import Clue
from nanguard.tracing.guesses import State
from nanguard.tracing.learning import kinds
from nanguard.tracing.learning.rules import RULES
from nanguard.tracing.plan import Plan
from nanguard.tracing.wishes import wish

__all__ = ["better"]


def better(clue: Clue, plan: Plan) -> Iterator[State]:
    """States that may get further, likeliest first."""
    if clue.test is not None:
        yield from wish(clue, clue.test, clue.wanted, plan)
    for pattern, rule in RULES:
        if match := re.search(pattern, f"{type(clue.error).__name__}: {clue.message}"):
            yield from rule(clue, match, plan)
    yield from kinds.mentioned(clue, plan)
