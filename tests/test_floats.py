"""Rounding, neighbours and limits of the formats, against torch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanguard.floats import FORMATS

DOUBLES = st.floats(allow_nan=False)


@pytest.mark.parametrize("name", FORMATS)
def test_limits(name: str) -> None:
    form, info = FORMATS[name], torch.finfo(getattr(torch, name))
    assert (form.eps, form.tiny, form.max) == (info.eps, info.tiny, info.max)
    assert form.smallest == math.ldexp(info.tiny, 1 - form.bits)


@pytest.mark.parametrize("name", FORMATS)
@given(value=DOUBLES)
def test_round(name: str, value: float) -> None:
    expected = torch.tensor(value, dtype=torch.float64).to(getattr(torch, name)).item()
    assert FORMATS[name].round(value) == expected


@pytest.mark.parametrize("name", FORMATS)
@given(value=DOUBLES)
def test_ordinals_count_the_floats(name: str, value: float) -> None:
    form = FORMATS[name]
    rounded = form.round(value)
    assert form.from_ordinal(form.ordinal(rounded)) == rounded
    if math.isfinite(form.above(rounded)):
        assert form.ordinal(form.above(rounded)) == form.ordinal(rounded) + 1
    assert form.below(form.above(rounded)) == rounded or rounded == math.inf
