"""The three ways to the stable form of a rule agree: the rewritten graph, the guard, and the replacement as source."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch

import nanguard
from nanguard.analyse import scan
from nanguard.finding import Finding
from nanguard.matching import rules
from nanguard.matching.rules import Rule
from nanguard.proof import prove
from nanguard.runtime.mode import under_mode
from nanguard.settings import Settings

ROWS = torch.tensor([[0.3, 0.9, 0.1], [0.6, 0.2, 0.7]])
SWEEP = [ROWS, 40 * ROWS - 20, 300 * ROWS - 150]
# The ways make the same calls in the same order, so that they agree bit for bit, but for these.
SHARED = {  # the source writes an operand twice of which the others have one value, whose gradient is one sum
    "NG133": "softplus(x) + 0.1 is the argument of two calls",
    "NG136": "x * y is the argument of two calls",
    "NG413": "x ** 2 is below the root and the divisor",
    "NG430": "x ** 2 is below both roots",
}
HALF = (torch.float16, torch.bfloat16)
SHARED_IN_HALF = {
    "NG107": "x / 0.1 is written twice, and each of the two rounds its gradient",
}
APART_IN_HALF = {
    "NG113": "the source takes the logarithm of a count in the dtype, the others that of a number that they know",
}
KEPT_BY_THE_MODE = {  # it tries values of both signs of what stands there, whatever the program makes of its inputs
    "NG316": "atan2 is in another quadrant for negative divisors",
}
UNCHECKED = {  # rewriting has no values on which it finds them the same
    "NG124": "a logarithm of a difference is nan for half of the entries of any two tensors that are drawn",
}
OTHER_IN_THE_MODE = {  # examples of rules that otherwise agree
    "torch.log(torch.exp(a) + torch.exp(b) + torch.exp(x))": "it adds up in the order in which things were computed",
    "torch.log(torch.sigmoid(x) - torch.sigmoid(y) + 1e-8)": "it keeps the nan of the logarithm of a negative number",
}
EXACT = [
    rule
    for rule in rules.load().rules
    if any(variant.stable is not None for variant in rule.variants)
    and rule.hazard != "misuse"  # what was meant is another value: no way puts it in the place of what is computed
    and rule.code not in UNCHECKED
    and any(example.bad is not None and example.dtype == "float32" for example in rule.examples)
]


def function(expression: str) -> tuple[Callable, dict[str, object]]:
    """The loss of an example, and the names of its module."""
    names: dict[str, object] = {}
    exec(compile(prove.program(expression), f"<{expression}>", "exec"), names)
    return names["loss"], names  # type: ignore[return-value]


def repaired(rule: Rule, text: str) -> str | None:
    """An example with the first finding of the rule repaired as the source would be."""
    return _edited(text, [finding for finding in prove.findings(text) if finding.code == rule.code and finding.fix])


def _edited(text: str, found: Sequence[Finding]) -> str | None:
    if not found or found[0].fix.kind != "stable" or not found[0].fix.edits:
        return None
    start, end = found[0].span.column - len("    return "), found[0].span.end_column - len("    return ")
    return text[:start] + found[0].fix.edits[0].text + text[end:]


def with_gradients(loss: Callable, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = loss(*leaves)
    found = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
    return [value.detach(), *(torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True))]


def same(one: list[torch.Tensor], other: list[torch.Tensor], units: int) -> bool:
    """Whether values and gradients agree, nan with nan: to the bit, or gradients to some units of their largest entry.

    The sign of a zero does not count.
    """
    for index, (a, b) in enumerate(zip(one, other, strict=True)):
        if index == 0 or not units:
            if not torch.allclose(a, b, rtol=0, atol=0, equal_nan=True):
                return False
            continue
        size = b[b.isfinite()].abs().max().item() if bool(b.isfinite().any()) else 0.0
        if not torch.allclose(a, b, rtol=0, atol=units * torch.finfo(b.dtype).eps * size, equal_nan=True):
            return False
    return True


def moded(guard: Callable, *inputs: torch.Tensor) -> torch.Tensor:
    """A guarded function under the mode."""
    return under_mode(guard._free, inputs, {})


def inputs_like(values: torch.Tensor) -> list[torch.Tensor]:
    """Values for the names of an example, a little apart from each other."""
    return [values + index / 64 for index in range(len(prove._NAMES))]


@pytest.mark.parametrize("rule", EXACT, ids=lambda rule: rule.code)
def test_the_ways_agree(rule: Rule) -> None:
    texts = [example.bad for example in rule.examples if example.bad is not None and example.dtype == "float32"]
    proved = None
    for text in texts:
        source = repaired(rule, text)
        if source is not None and compared(rule, text, source, (torch.float32, torch.float64, *HALF)):
            proved = text
            break
    assert proved is not None, "no example of the rule is repaired in all ways"
    for text in texts:
        source = replaced(rule, text) if text != proved else None
        if source is not None:
            compared(rule, text, source, (torch.float32,))


def replaced(rule: Rule, text: str) -> str | None:
    """An example with the first match of the rule replaced, without a proof, which takes most of the time."""
    program = prove.program(text)
    scanned = scan("example.py", program, ast.parse(program), Settings(static=True), None)
    return _edited(text, [finding for finding in scanned.unproved if finding.code == rule.code and finding.fix])


def compared(rule: Rule, text: str, source: str, dtypes: Sequence[torch.dtype]) -> bool:
    """Compare the ways on a sweep; whether they could be compared on this example."""
    naive, by_source = function(text)[0], function(source)[0]
    inputs = inputs_like(SWEEP[0])
    try:
        with_gradients(naive, [SWEEP[0].clone() for _ in inputs])
    except (RuntimeError, TypeError, IndexError):
        return False  # it wants labels, or other shapes
    guard = nanguard.guard(naive)
    first = guard(*inputs)
    assert torch.allclose(first, naive(*inputs), rtol=1e-2, atol=1e-3, equal_nan=True)
    if [replacement.code for replacement in guard.report()] != [rule.code]:
        return False  # another rule is about the expression around it
    for dtype in dtypes:
        if dtype in HALF and rule.code in APART_IN_HALF:
            continue
        units = 2 if rule.code in SHARED or (dtype in HALF and rule.code in SHARED_IN_HALF) else 0
        for values in SWEEP:
            inputs = inputs_like(values.to(dtype))
            try:
                with_gradients(naive, inputs)
                expected = with_gradients(by_source, inputs)
            except RuntimeError:
                continue  # torch wants probabilities
            assert same(with_gradients(guard, inputs), expected, units)
            if rule.code not in KEPT_BY_THE_MODE and text not in OTHER_IN_THE_MODE:
                assert same(with_gradients(partial(moded, guard), inputs), expected, units)
    return True


GUARDS = [
    "torch.log1p(torch.exp(x.clamp(max=10)))",  # the clamp does its work, and takes the gradient
    "torch.log(1 + torch.exp(torch.clamp(x, -3e38, 80.0)).sum(dim=1))",
    "torch.log1p(torch.exp(x.clamp(max=100)))",  # this one does not
    "torch.log(1 + torch.exp(x).clamp(max=1e30))",
    "torch.clamp(torch.log(1 + torch.exp(x)), max=80)",
]


@pytest.mark.parametrize("text", GUARDS)
def test_the_ways_leave_out_the_same_guards(text: str) -> None:
    (rule,) = (rule for rule in EXACT if rule.code == "NG105")
    source = repaired(rule, text)
    assert source is not None
    assert compared(rule, text, source, (torch.float32, *HALF))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("torch.log(torch.softmax(x, dim=1)[:, 0])", "NG103"),  # an index is a method that writes nothing
        ("F.binary_cross_entropy(torch.sigmoid(x), y)", "NG106"),  # it does not take targets of both signs
        ("torch.log(1 - torch.exp(-torch.abs(x)))", "NG111"),  # finite for negative values of an operand alone
        ("torch.cosh(x - y).log()", "NG116"),  # the replacement takes x - y and x and y
        ("torch.special.entr(torch.softmax(x, dim=1)).sum()", "NG309"),  # and here p and what p is made of
        ("(x * y).sum(dim=1) / (x.norm(dim=1) * y.norm(dim=1))", "NG313"),  # norm hands on its default as p
        ("(2 - 2 * (F.normalize(x, dim=1) * F.normalize(y, dim=1)).sum(1)) ** 0.5", "NG410"),  # for unit vectors alone
    ],
)
def test_what_the_mode_replaces(text: str, code: str) -> None:
    guard = nanguard.guard(function(text)[0])
    moded(guard, *inputs_like(SWEEP[0]))
    assert code in [replacement.code for replacement in guard.report()]
