"""Reaching: a replacement takes a name from an earlier statement only where it still holds what it held there."""

from __future__ import annotations

import ast

import pytest

from nanguard.analyse import examine
from nanguard.repair.edits import Basis, placed
from nanguard.repair.ground import Ground
from nanguard.settings import Settings

HEAD = "import torch\nimport torch.nn.functional as F\n\n\ndef f(x, w, more):\n"


def kept(body: str) -> bool:
    """Whether ``torch.log(p)`` at the end of a function may become ``F.logsigmoid(x)``."""
    source = f"{HEAD}{body}\n    return torch.log(p)\n"
    ground = Ground(source, ast.parse(source))
    (place,) = (node for node in ast.walk(ground.tree) if isinstance(node, ast.expr) and ground.text(node) == LOG)
    return placed(ground.span("m.py", place), ground, "F.logsigmoid(x)", BASIS) is not None


BASIS = Basis(("torch", "F"), earlier=frozenset({"x"}))
LOG = "torch.log(p)"
P = "    p = torch.sigmoid(x)\n"

HOLDS = [
    "",
    "    y = x.view(-1) + 1\n    y.mul_(2)",
    "    y = x.clone()",
    "    w.mul_(2)",
    "    y = torch.stack([torch.exp(x), w])\n    y.mul_(2)",
    "    y = torch.cat([v * 2 for v in x])\n    y[0] = 0",
    "    y = torch.zeros(3).view(-1)\n    z = x.view(-1)\n    y.mul_(2)",
    "    if more:\n        w = w + 1",
    "    for i in range(2):\n        w = w + x",
]


@pytest.mark.parametrize("after", HOLDS)
def test_what_still_holds_is_taken(after: str) -> None:
    assert kept(P + after)


@pytest.mark.parametrize("before", ["    if more:\n        x = x + 1\n", "    for i in range(2):\n        x = x + i\n"])
def test_a_choice_before_both_is_the_same_for_both(before: str) -> None:
    assert kept(before + P)


CHANGED = [
    "    x = x + 1",
    "    x += 1",
    "    x, y = w, x",
    "    (x := x + 1)",
    "    if more:\n        x = x + 1",
    "    try:\n        x = x + 1\n    except ValueError:\n        pass",
    "    try:\n        pass\n    except ValueError as x:\n        pass",
    "    with torch.no_grad():\n        x = x + 1",
    "    with more as x:\n        pass",
    "    for x in w:\n        pass",
    "    while more:\n        x = x + 1",
    "    match more:\n        case [x]:\n            pass",
    "    import math as x",
    "    def x(): pass",
    "    del x",
    "    def g():\n        nonlocal x\n        x = w\n    g()",
    "    y = x\n    y += 1",
    "    y = x.view(-1)\n    y.mul_(2)",
    "    y = x.view(-1)\n    z = y[1:]\n    z[0] = 1",
    "    y = x[0]\n    y.zero_()",
    "    y = x.t().contiguous()\n    y.zero_()",
    "    y = x.to(w)\n    y.zero_()",
    "    y, z = x, w\n    y.zero_()",
    "    y = [x]\n    y[0].zero_()",
    "    y = {'x': x}\n    y['x'].zero_()",
    "    y = x if more else w\n    y.zero_()",
    "    for y in x:\n        y.zero_()",
    "    [y.zero_() for y in x]",
    "    for y, z in zip(x, w):\n        y.zero_()",
    "    y = more(x)\n    y.zero_()",
]


@pytest.mark.parametrize("after", CHANGED)
def test_what_may_have_changed_is_not_taken(after: str) -> None:
    assert not kept(P + after)


UNCLEAR = [
    "    p = w\n    if more:\n        p = torch.sigmoid(x)",
    "    p = torch.sigmoid(x)\n    for i in range(2):\n        p = p * 2",
    "    p = more(torch.sigmoid(x))",
    "    try:\n        p = torch.sigmoid(x)\n    except ValueError:\n        p = w",
    "    p = torch.sigmoid(x) if more else x",
    "    p, q = torch.sigmoid(x), w\n    def g():\n        nonlocal p\n        p = w\n    g()",
]


@pytest.mark.parametrize("body", UNCLEAR)
def test_a_value_with_several_origins_is_not_followed(body: str) -> None:
    assert not kept(body)


# what is written through the name itself has another value, as reading sees it
WRITTEN = [
    P + "    x.mul_(2)",
    P + "    x[0] = 1",
    P + "    x[0] += 1",
    P + "    x.data.zero_()",
    P + "    torch.relu_(x)",
    P + "    torch.add(x, 1, out=x)",
    P + "    F.relu(x, inplace=True)",
    P + "    with torch.no_grad():\n        x.zero_()",
    P + "    try:\n        x.zero_()\n    finally:\n        pass",
    P + "    def g():\n        x.zero_()\n    g()",
    "    p = torch.sigmoid(x)\n    p.mul_(2)",
    "    p = torch.sigmoid(x)\n    p += 1\n    p[0] = w",
]


@pytest.mark.parametrize("body", WRITTEN)
def test_what_was_written_in_place_is_another_value(body: str) -> None:
    source = f"{HEAD}{body}\n    return torch.log(p)\n"
    found = examine("m.py", source, Settings(static=True), None).findings
    assert not [finding for finding in found if finding.fix and finding.fix.replacement == "F.logsigmoid(x)"]


def test_the_form_is_written_where_nothing_was() -> None:
    found = examine("m.py", f"{HEAD}{P}    return torch.log(p)\n", Settings(static=True), None).findings
    assert [finding.fix and finding.fix.replacement for finding in found] == ["F.logsigmoid(x)"]
