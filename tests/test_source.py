"""Source: terms as Python, however much of them is shared."""

from __future__ import annotations

import pytest

from nanguard.repair.source import Unprintable, Words, inwards, source_of
from nanguard.term import make, show, symbol

X = symbol("x", "tensor")


def test_what_is_shared_at_every_level_is_left_unwritten_at_once() -> None:
    term = X
    for _ in range(100):  # written out it has 2 ** 100 operations
        term = make("add", (make("exp", (term,)), term))
    words = Words({X: "x"}, {})
    assert inwards(term, words) is term
    with pytest.raises(Unprintable):
        source_of(term, words)
    assert show(term) == "add(...)"


def test_a_part_that_has_a_name_may_be_of_any_length() -> None:
    term = X
    for _ in range(100):
        term = make("add", (make("exp", (term,)), term))
    assert source_of(make("neg", (term,)), Words({term: "y"}, {})) == "-y"
