"""The three ways to the stable form of a rule agree: the rewritten graph, the guard, and the replacement as source."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

import nanguard
from nanguard.matching import rules
from nanguard.matching.rules import Rule
from nanguard.proof import prove
from nanguard.runtime.mode import under_mode

ROWS = torch.tensor([[0.3, 0.9, 0.1], [0.6, 0.2, 0.7]])
SWEEP = [ROWS, 40 * ROWS - 20, 300 * ROWS - 150]
# Expressions of which the mode replaces a part or nothing: it works on what is complete so far.
KEPT_BY_THE_MODE = ("NG106", "NG111", "NG309", "NG313", "NG316", "NG410", "NG419")
EXACT = [rule for rule in rules.load().rules if any(variant.stable is not None for variant in rule.variants)]


def function(expression: str) -> tuple[Callable, dict[str, object]]:
    """The loss of an example, and the names of its module."""
    names: dict[str, object] = {}
    exec(compile(prove.program(expression), f"<{expression}>", "exec"), names)
    return names["loss"], names  # type: ignore[return-value]


def repaired(rule: Rule, text: str) -> str | None:
    """An example with the first finding of the rule repaired as the source would be."""
    found = [finding for finding in prove.findings(text) if finding.code == rule.code and finding.fix]
    if not found or found[0].fix.kind != "stable" or not found[0].fix.edits:
        return None
    start, end = found[0].span.column - len("    return "), found[0].span.end_column - len("    return ")
    return text[:start] + found[0].fix.edits[0].text + text[end:]


def with_gradients(loss: Callable, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = loss(*leaves)
    found = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
    return [value.detach(), *(torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True))]


def close(one: list[torch.Tensor], other: list[torch.Tensor], units: int) -> bool:
    """Whether values and gradients agree to some units in the last place of their largest entry, nan with nan."""
    for a, b in zip(one, other, strict=True):
        size = b[b.isfinite()].abs().max().item() if bool(b.isfinite().any()) else 0.0
        if not torch.allclose(a, b, rtol=0, atol=units * torch.finfo(b.dtype).eps * size, equal_nan=True):
            return False
    return True


def moded(guard: Callable, *inputs: torch.Tensor) -> torch.Tensor:
    """A guarded function under the mode."""
    return under_mode(guard._free, inputs, {})


@pytest.mark.parametrize("rule", EXACT, ids=lambda rule: rule.code)
def test_the_ways_agree(rule: Rule) -> None:
    for example in rule.examples:
        if example.bad is None or example.dtype != "float32":
            continue
        source = repaired(rule, example.bad)
        if source is None:
            continue
        naive, by_source = function(example.bad)[0], function(source)[0]
        try:
            inputs = [SWEEP[0].clone() for _ in prove._NAMES]
            with_gradients(naive, inputs)
        except (RuntimeError, TypeError, IndexError):
            continue  # it wants labels, or other shapes
        guard = nanguard.guard(naive)
        first = guard(*inputs)
        assert torch.allclose(first, naive(*inputs), rtol=1e-2, atol=1e-3, equal_nan=True)
        if [replacement.code for replacement in guard.report()] != [rule.code]:
            continue  # another rule is about the expression around it
        for dtype in (torch.float32, torch.float64):
            for values in SWEEP:
                inputs = [values.to(dtype) + index / 64 for index in range(len(prove._NAMES))]
                try:
                    expected = with_gradients(by_source, inputs)
                except RuntimeError:
                    continue  # torch wants probabilities
                assert close(with_gradients(guard, inputs), expected, 2)
                if rule.code not in KEPT_BY_THE_MODE:
                    assert close(with_gradients(partial(moded, guard), inputs), expected, 8)
        return
    pytest.skip("no example of the rule runs on plain tensors of two rows")
