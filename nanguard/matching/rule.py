"""Rule: what one rule says, as plain data; identities and relations, which normal forms and ranges are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

from nanguard.matching.condition import Condition
from nanguard.term import Term


@dataclass(frozen=True, slots=True)
class Variant:
    """One pattern of a rule with what it needs and what to put in its place."""

    match: Term
    when: tuple[Condition, ...]
    stable: Term | None
    clamp: Term | None
    exact: Term | None  # what is meant, where that is neither the stable form nor the code as written
    safe: bool
    hazard: str
    untaken: str  # of a selection: the variable whose slope spoils the gradient, though it is not selected
    taken: str  # and the one that is
    logits: str = ""  # the variable that is taken for a probability, and shown to be wrong by the logits behind it


@dataclass(frozen=True, slots=True)
class Example:
    """Code that a rule must find (`bad`), with what to write instead, or must not find (`near`)."""

    bad: str | None
    good: str | None
    near: str | None
    hazard: str | None
    at: str | None = None  # the part of `bad` that the finding is about, where that is not all of it
    dtype: str = "float32"  # what it is checked in


class Examples(Sequence[Example]):
    """The examples of a rule, read when they are first looked at."""

    def __init__(self, read: Callable[[], tuple[Example, ...]]) -> None:
        self.read = read

    @cached_property
    def found(self) -> tuple[Example, ...]:
        """The examples."""
        return self.read()

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What the stable form of a rule keeps to, by dtype (what is not named is `default`)."""

    default: float
    given: Mapping[str, float] = field(default_factory=dict)

    def of(self, dtype: str) -> float:
        """The figure for one dtype."""
        return self.given.get(dtype, self.default)


@dataclass(frozen=True, slots=True)
class Rule:
    """A hazard: its patterns, its replacements and its words."""

    code: str
    name: str
    hazard: str
    also: tuple[str, ...]  # kinds of failure beside `hazard` that prove it
    guarded: tuple[str, ...]  # kinds that prove it behind a guard; without any, a guard is taken to work
    summary: str
    why: str
    references: tuple[str, ...]
    variants: tuple[Variant, ...]
    examples: Sequence[Example]
    ulps: Accuracy  # the largest error of the stable form, in units of finfo.eps times max(1, |exact|)
    slope_ulps: Accuracy  # and of its gradient
    reach: Accuracy  # the inputs up to which it keeps to that; beyond, it is no worse than the code as written
    least: Accuracy  # and those from which it does, beside 0
    scale: float  # errors are relative to the exact value or to this, whichever is larger
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Identity:
    """`source` may be read as `target`, where the conditions hold."""

    source: Term
    target: Term
    when: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """Whatever `source` matches lies between `low` and `high`, and where `within` does, where the conditions hold."""

    source: Term
    low: float
    high: float
    when: tuple[Condition, ...] = ()
    within: str | None = None  # a variable: the match is a mean of its entries, say
