"""Losses in random spellings, fixed: they keep their values and gradients, and a second run changes nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inprocess import in_process

from nanguard.repair.fixing import fix_paths, save
from nanguard.settings import Settings

OPERANDS = ["x", "x - y", "2 * x", "x.reshape(-1, 3)", "(x + y) / 2", "x[:, :]", "torch.stack([x, y]).sum(0)"]
INNER = ["torch.sigmoid({})", "({}).sigmoid()", "F.softmax({}, dim=1)", "torch.softmax({}, -1)", "torch.exp({})"]
OUTER = {
    "sigmoid": ["torch.log({})", "({}).log()", "torch.log({} + 1e-12)", "torch.log(1 - {})",
                "({}).clamp(min=1e-12).log()"],
    "softmax": ["torch.log({})", "({}).log()", "torch.log({}[:, 0])", "torch.log({} + 1e-12)"],
    "exp": ["torch.log(1 + {})", "torch.log1p({})", "torch.log(torch.sum({}, dim=1))",
            "torch.log({}.sum(1, keepdim=True))"],
}  # fmt: skip
AROUND = ["{}", "-{}", "({}).sum()", "{} ** 2", "{} * 3 - y.sum()", "torch.mean({}) / 2", "[{}][0]"]
HEADS = [
    "import torch\nimport torch.nn.functional as F\n",
    "import torch as t, torch\nfrom torch.nn import functional as F\n",
]


@st.composite
def losses(draw: st.DrawFn) -> str:
    """A function of x and y, in one expression or over statements."""
    inner = draw(st.sampled_from(INNER))
    kind = next(kind for kind in OUTER if kind in inner)
    operand, outer, around = (
        draw(st.sampled_from(OPERANDS)),
        draw(st.sampled_from(OUTER[kind])),
        draw(st.sampled_from(AROUND)),
    )
    lines = []
    if draw(st.booleans()):
        lines.append(f"z = {operand}")
        operand = "z"
    value = inner.format(operand)
    if draw(st.booleans()):
        lines.append(f"p = {value}" + draw(st.sampled_from(["", "  # of the class", "\n\n    q = x * 0"])))
        value = "p"
    if draw(st.booleans()):
        lines.append(f"loss = {outer.format(value)}")
        value = "loss"
    else:
        value = outer.format(value)
    lines.append(f"return {around.format(value)}")
    return "(x, y):\n    " + "\n    ".join(lines) + "\n"


def functions(source: str) -> dict[str, Callable[..., Any]]:
    names: dict[str, Any] = {}
    exec(compile(source, "<losses>", "exec"), names)
    return {name: value for name, value in names.items() if name.startswith("loss")}


def measured(loss: Callable[..., Any]) -> list[torch.Tensor]:
    """The value and the gradients at ordinary inputs."""
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(4, 3, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2)]
    value = loss(*inputs)
    slopes = torch.autograd.grad(value.sum(), inputs, allow_unused=True)
    return [value.detach(), *(torch.zeros(()) if slope is None else slope for slope in slopes)]


@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(losses(), min_size=12, max_size=12), st.sampled_from(HEADS))
def test_fixed_losses_keep_their_values(bodies: list[str], head: str) -> None:
    source = head + "".join(f"\n\ndef loss{index}{body}" for index, body in enumerate(bodies))
    with in_process(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.py"
        path.write_text(source)
        outcome = fix_paths([str(path)], Settings(static=True, quiet=True), unsafe=True)
        assert outcome.bugs == ()
        save(outcome)
        after = path.read_text()
        assert after.count("torch.log(") < source.count("torch.log(") + source.count(").log()")
        assert after.count("# of the class") == source.count("# of the class")
        assert fix_paths([str(path)], Settings(static=True, quiet=True), unsafe=True).files == ()
    old, new = functions(source), functions(after)
    for name, loss in old.items():
        for before, now in zip(measured(loss), measured(new[name]), strict=True):
            torch.testing.assert_close(
                now, before, rtol=1e-5, atol=1e-8, msg=lambda text, name=name: f"{name}: {text}\n{after}"
            )
