"""Watching: the first operation that makes inf or nan is named, forward and backward, and nothing else is."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

import nanguard
from nanguard.errors import NanguardError, NanguardWarning


def naive(x):
    p = torch.sigmoid(x)
    return -torch.log(p).mean()


def norm(x):
    return torch.sqrt((x * x).sum())


def divided(x):
    total = x.sum()
    return (x / total).sum()


def masked(x):
    scores = x.masked_fill(x > 0, -torch.inf)
    return torch.softmax(scores, -1).sum() + torch.where(x > 0, 1.0, 0.0).sum()


def run(loss: Callable, x: torch.Tensor) -> None:
    value = loss(x.clone().requires_grad_())
    value.backward()


FOUND = [
    (naive, torch.tensor([-200.0, 1.0]), 2, "forward", "-inf", "NG101", "F.logsigmoid(x)", (0.0, 0.7310585975646973)),
    (norm, torch.zeros(3), 1, "backward", "inf", "NG301", None, (0.0, 0.0)),
    (divided, torch.zeros(3), 2, "forward", "nan", None, None, (0.0, 0.0)),
]


@pytest.mark.parametrize("loss, x, line, direction, value, code, replacement, interval", FOUND)
def test_the_first_operation_is_named(loss, x, line, direction, value, code, replacement, interval) -> None:
    with pytest.raises(NanguardError) as caught, nanguard.watch() as watch:
        run(loss, x)
    (cause,) = watch.found
    assert caught.value.cause is cause
    assert (cause.path, cause.line) == (__file__, inspect.getsourcelines(loss)[1] + line)
    assert (cause.direction, cause.value, cause.inputs[0]) == (direction, value, interval)
    if code is not None:
        assert cause.code == code
    if replacement is not None:
        assert cause.replacement == replacement
        assert str(cause).endswith(f"write `{replacement}`")


@pytest.mark.parametrize("loss", [naive, norm, divided, masked])
def test_what_is_finite_or_meant_is_let_through(loss: Callable) -> None:
    with nanguard.watch() as watch:
        run(loss, torch.tensor([-1.0, 2.0, 0.5]))
    assert watch.found == []


def test_the_gradient_is_looked_at_after_the_block_too() -> None:
    x = torch.zeros(2, requires_grad=True)
    with nanguard.watch():
        value = norm(x)
    with pytest.raises(NanguardError, match="has a gradient of inf"):
        value.backward()


def test_warnings_go_on_once_a_place() -> None:
    with warnings.catch_warnings(record=True) as caught, nanguard.watch("warn") as watch:
        warnings.simplefilter("always")
        for _ in range(3):
            assert naive(torch.tensor([-200.0])).item() == float("inf")
    assert [warning.category for warning in caught] == [NanguardWarning]
    assert len(watch.found) == 1


def test_sums_that_overflow_are_no_alarm() -> None:
    with nanguard.watch():
        assert (torch.full((4,), 6e4, dtype=torch.float16) * 1).isfinite().all()


def test_inside_a_transform_nothing_is_looked_at() -> None:
    with nanguard.watch():
        value = torch.func.vmap(lambda x: F.logsigmoid(x))(torch.ones(3))
    assert value.shape == (3,)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(NanguardError, match="'raise' or 'warn', not 'stop'"):
        nanguard.watch("stop")


def test_assert_stable() -> None:
    nanguard.assert_stable(lambda x: F.logsigmoid(x))
    nanguard.assert_stable(naive, ignore=["NG101", "NG201"])
    with pytest.raises(AssertionError, match=r"test_watch.py:\d+:13: NG101 \[\*\] log\(sigmoid\(x\)\) is -inf"):
        nanguard.assert_stable(naive)
