"""Thresholds: they are the first failing floats, in every dtype, however many are tried at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanguard.finding import DTYPES
from nanguard.floats import FORMATS
from nanguard.proof import prove
from nanguard.proof.thresholds import floats


@given(st.sampled_from(DTYPES), st.floats(allow_nan=False))
def test_floats_are_those_of_their_ordinals(dtype: str, value: float) -> None:
    form = FORMATS[dtype]
    ordinal = form.ordinal(form.round(value))
    assert floats(torch.tensor([ordinal, -ordinal]), dtype).tolist() == [
        form.from_ordinal(ordinal), form.from_ordinal(-ordinal)
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "expression", ["-torch.log(torch.sigmoid(x))", "torch.log(1 - torch.sigmoid(x))", "torch.log(1 + torch.exp(x))"]
)
def test_the_float_before_a_threshold_does_not_fail(expression: str, dtype: str) -> None:
    (finding,) = prove.findings(expression)
    form, first = FORMATS[dtype], float(str(finding.thresholds[dtype]))
    before = form.from_ordinal(form.ordinal(first) - (1 if first > 0 else -1))
    inputs = [torch.tensor(value, dtype=getattr(torch, dtype)) for value in (before, first)]
    assert [bool(eval(expression, {"torch": torch, "x": x}).isfinite()) for x in inputs] == [True, False]
