"""Naming: a statement is put in where it changes nothing, and nowhere else."""

from __future__ import annotations

import ast
from typing import Any

import pytest
import torch

from nanguard.analyse import examine
from nanguard.repair.ground import Ground
from nanguard.repair.naming import Named, named
from nanguard.settings import Settings

HEAD = "import torch\n\n\ndef f(net, x, more):\n"


def put_in(body: str, operand: str = "net(x)") -> Named | None:
    """The file after ``operand`` has a name that holds at ``torch.log(p)``, None where it gets none."""
    source = HEAD + body
    ground = Ground(source, ast.parse(source))
    nodes = [node for node in ast.walk(ground.tree) if isinstance(node, ast.expr)]
    inner = next(node for node in nodes if ground.text(node) == operand)
    place = next(node for node in nodes if ground.text(node) == "torch.log(p)")
    return named(ground, ground.span("m.py", inner), ground.span("m.py", place))


LOG = "    return torch.log(p)\n"
PUT_IN = [
    ("    p = torch.sigmoid(net(x))\n", "    p_input = net(x)\n    p = torch.sigmoid(p_input)\n"),
    ("    p = net(x).sigmoid()[0]\n", "    p_input = net(x)\n    p = p_input.sigmoid()[0]\n"),
    ("    p = -torch.abs(x) * net(x)\n", "    p_input = net(x)\n    p = -torch.abs(x) * p_input\n"),
    (
        "    p = torch.sigmoid(net(x))\n    for i in range(3):\n        x = x + p\n",
        "    p_input = net(x)\n    p = torch.sigmoid(p_input)\n    for i in range(3):\n        x = x + p\n",
    ),
    (
        "    p = x\n    p = torch.sigmoid(net(x))\n",
        "    p = x\n    p_input_2 = net(x)\n    p = torch.sigmoid(p_input_2)\n",
    ),
    (
        "    p_input = x\n    p = torch.sigmoid(net(x))\n",
        "    p_input = x\n    p_input_2 = net(x)\n    p = torch.sigmoid(p_input_2)\n",
    ),
]


@pytest.mark.parametrize(("before", "after"), PUT_IN)
def test_what_is_put_in(before: str, after: str) -> None:
    found = put_in(before + LOG)
    assert found is not None
    assert found.ground.source.rstrip("\n") + "\n" == HEAD + after + LOG


@pytest.mark.parametrize("before", [body for body, _ in PUT_IN])
def test_what_is_put_in_computes_the_same(before: str) -> None:
    found = put_in(before + LOG)
    assert found is not None
    results = []
    for source in (HEAD + before + LOG, found.ground.source):
        calls: list[torch.Tensor] = []
        names: dict[str, Any] = {}
        exec(source, names)
        value = names["f"](lambda x, calls=calls: calls.append(x) or x - 0.5, torch.tensor([0.3, 0.9]), True)
        results.append((value.tolist(), len(calls)))
    assert repr(results[0]) == repr(results[1])


def test_the_message_says_what_is_put_in() -> None:
    source = f"{HEAD}    p = torch.softmax(net(x), dim=1)\n    return torch.log(p)\n"
    (finding,) = examine("m.py", source, Settings(static=True), None).findings
    words = "write `p_input = net(x)` before and `torch.nn.functional.log_softmax(p_input, dim=1)`"
    assert finding.message.endswith(words)


LEFT = [
    "    p = torch.sigmoid(net(x)) if more else x\n",  # it may not be computed
    "    p = more and torch.sigmoid(net(x))\n",
    "    p = [torch.sigmoid(net(x)) for x in more]\n",  # it is computed several times
    "    p = (lambda: torch.sigmoid(net(x)))()\n",
    "    p = (0 < net(x) < more)\n",
    "    p = more(x) + net(x)\n",  # somebody's function comes first
    "    p = torch.rand(3) + net(x)\n",  # so does a draw
    "    p = x.add_(1) + net(x)\n",  # and a write
    "    p = torch.sigmoid(net(x)) + (q := x)\n",
    "    p = q = torch.sigmoid(net(x))\n",
    "    p, q = torch.sigmoid(net(x)), x\n",
    "    p += torch.sigmoid(net(x))\n",
    "    x.p = torch.sigmoid(net(x))\n",
    "    if more:\n        p = torch.sigmoid(net(x))\n",  # there are ways around it
    "    for i in x:\n        p = torch.sigmoid(net(x))\n",
    "    try:\n        p = torch.sigmoid(net(x))\n    except ValueError:\n        p = x\n",
    "    q = x; p = torch.sigmoid(net(x))\n",
    "    p = f'{net(x)}'\n",
]


@pytest.mark.parametrize("body", LEFT)
def test_what_is_left_alone(body: str) -> None:
    assert put_in(body + LOG) is None


def test_what_comes_later_is_no_operand() -> None:
    assert put_in("    q = torch.log(p)\n    p = torch.sigmoid(net(x))\n    return q\n") is None
