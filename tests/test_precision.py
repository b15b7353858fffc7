"""What a program converts to half precision by itself is checked in it, where that does not hold a constant."""

from __future__ import annotations

import ast

import pytest

from nanguard.analyse import examine, scan
from nanguard.settings import Settings

HEAD = "import torch\nimport torch.nn.functional as F\n\n\n"


def found(body: str, *dtypes: str) -> list[tuple[int, str | None]]:
    """The lines of the findings in a function of `x` and `y`, with the dtypes of their witnesses."""
    source = HEAD + "def loss(x, y):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    result = examine("loss.py", source, Settings(static=True, dtypes=dtypes or ("float32",)), None)
    return [(finding.span.line - 5, finding.witness and finding.witness.dtype) for finding in result.findings]


@pytest.mark.parametrize(
    "body",
    [
        "x = x.half()\nreturn torch.log(x.relu() + 1e-8)",
        "x = x.to(torch.float16)\nreturn torch.log(x.relu() + 1e-8)",
        "x = x.to(dtype=torch.half)\nreturn torch.log(x.relu() + 1e-8)",
        "x = x.half()\nreturn y.half() / (x.abs() + 1e-9)",
        "p = x.half().tanh()\nreturn torch.atanh(p.clamp(-1 + 1e-5, 1 - 1e-5))",
    ],
)
def test_guard_that_half_precision_does_not_hold_is_found(body: str) -> None:
    assert found(body) == [(2, "float16")]
    assert found(body, "float32", "float16") == [(2, "float16")]


@pytest.mark.parametrize("first", [True, False])
def test_each_half_precision_of_a_program_is_checked(first: bool) -> None:
    lines = [
        "a = torch.log(x.half().relu() + 1e-8)",
        "b = torch.atanh(y.bfloat16().tanh().clamp(-1 + 1e-3, 1 - 1e-3))",
    ]
    places = {1: "float16", 2: "bfloat16"} if first else {1: "bfloat16", 2: "float16"}
    body = "\n".join([*(lines if first else lines[::-1]), "return a.float() + b.float()"])
    assert dict(found(body)) == places


@pytest.mark.parametrize(
    "body",
    [
        "x = x.half()\nreturn torch.log(x.float().relu() + 1e-8)",
        "x = x.half()\nreturn torch.log(x.relu() + y.abs() + 1e-8)",
        "x = x.half()\nreturn torch.log(x.relu() + 1e-4)",
        "x = x.bfloat16()\nreturn torch.log(x.relu() + 1e-8)",
        "x = x.half()\nreturn (x - y.half()) ** 2",
    ],
)
def test_what_is_wider_or_holds_its_constants_is_silent(body: str) -> None:
    assert found(body) == []


def test_run_without_torch_knows_of_it() -> None:
    source = HEAD + "def loss(x):\n    return torch.log(x.half().relu() + 1e-8)\n"
    scanned = scan("loss.py", source, ast.parse(source), Settings(static=True), None)
    assert scanned.candidates > 0
    assert [finding.span.line for finding in scanned.unproved] == [6]
