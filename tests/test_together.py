"""Reading and proof together: what belongs together stays together, and what a program excludes is not reported."""

from __future__ import annotations

import textwrap

import pytest

from nanguard.analyse import examine
from nanguard.finding import Finding
from nanguard.settings import Settings

HEAD = "import math\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"


def found(body: str) -> tuple[Finding, ...]:
    result = examine("loss.py", HEAD + textwrap.dedent(body), Settings(static=True), None)
    return tuple(finding for finding in result.findings if finding.confirmed)


REPORTED = {
    "a sum over the turns of a loop, behind a clamp": (
        """
        def f(case, controls):
            total = 0.0
            for control in controls:
                total += torch.exp(torch.clamp(control - case, -3e38, 80.0))
            return torch.log(1.0 + total)
        """,
        ("NG105", "dead-gradient"),
    ),
    "an attribute that is None on one path through the constructor": (
        """
        class L(nn.Module):
            def __init__(self, w=None):
                super().__init__()
                if w is not None:
                    w = torch.Tensor(w)
                self.w = w
            def forward(self, y, z):
                weights = torch.ones_like(y) if self.w is None else self.w
                return torch.sqrt(torch.mean(weights * (y - z) ** 2))
        """,
        ("NG301", "gradient-nonfinite"),
    ),
    "a mixture of what layers give": (
        """
        class L(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(3, 2)
            def forward(self, x):
                g = self.c(x).softmax(-1)
                p = self.a(x).softmax(-1) * g[:, 0].unsqueeze(1) + self.b(x).softmax(-1) * g[:, 1].unsqueeze(1)
                return torch.log(p + 1e-8)
        """,
        ("NG504", "dead-gradient"),
    ),
    "a bound below all ordinary inputs": (
        "def f(y_pred, target): return -torch.log(torch.clamp(y_pred.gather(1, target), 1e-15, 1 - 1e-15))",
        ("NG503", "dead-gradient"),
    ),
    "either branch of a selection": (
        "def f(x): return torch.where(x > -math.log(2), torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))",
        ("NG303", "gradient-nonfinite"),
    ),
    "an overflow that the loss around it hides": (
        "def f(x, y): return (torch.exp(-2 * y * x - 2 * torch.log(1 + torch.exp(-1.0 * x))) * y).sum()",
        ("NG105", "gradient-nonfinite"),
    ),
    "what is left of a running sum": (
        """
        def f(x, i):
            total = x.sub(x.max(1)[0].view(-1, 1)).exp().cumsum(1)
            return (total[:, -1] - total.gather(1, i).view(-1)).relu().add(1e-7).log()
        """,
        ("NG428", "accuracy-loss"),
    ),
}


@pytest.mark.parametrize("body, wanted", REPORTED.values(), ids=REPORTED.keys())
def test_is_reported(body: str, wanted: tuple[str, str]) -> None:
    assert wanted in [(finding.code, finding.hazard) for finding in found(body)]


SILENT = {
    "the maximum of the same alternative": """
        def g(x): return torch.log((x - x.amax(1, keepdim=True)).exp().sum(1))
        def f(a, b, first): return g(a if first else b.sin())
        """,
    "a maximum put back by view": "def f(x): return x.sub(x.max(1)[0].view(-1, 1)).exp().sum(1).log()",
    "two parameters are two values": """
        class L(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
            def forward(self): return torch.sqrt((self.a - self.b) * (self.b - self.a))
        """,
    "nan is overwritten and nothing is differentiated": """
        def f(x):
            m = x.abs() / x.abs().max()
            m[torch.isnan(m)] = 0.0
            w = torch.clamp(m, 0.0, 1.0).detach()
            return (w * x).mean()
        """,
    "a Python number": "def f(scale): return math.log(abs(scale))",
    "the more accurate of two forms": """
        def f(x):
            x = x.clamp(max=-1e-6)
            return torch.where(x > -0.69, torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))
        """,
    "positions are whole numbers": "def f(y): return torch.exp(0.25 * (torch.arange(4) - y.unsqueeze(-1)).abs()) - 1",
    "a mask that does not keep from an edge": "def f(x, keep): return torch.exp(x).masked_fill(keep, 1.0)",
    "each of a few constants": """
        def both(values, ref): return tuple(torch.full((), v, dtype=ref.dtype) for v in values)
        def f(a, b):
            zero, one = both((0, 1), a)
            empty = b == zero
            return torch.where(empty, one, a / torch.where(empty, one, b.abs() + 0.1))
        """,
}


@pytest.mark.parametrize("body", SILENT.values(), ids=SILENT.keys())
def test_is_silent(body: str) -> None:
    assert [(finding.code, finding.expression) for finding in found(body)] == []


def test_what_an_input_is_called_is_short() -> None:
    inner = " + ".join(f"torch.sin(x) ** {power}" for power in range(2, 30))
    (finding,) = found(f"def f(x): return torch.log(torch.sigmoid(F.linear(x, {inner})))")
    assert finding.witness is not None
    assert all(len(name) <= 60 for name in finding.witness.inputs)
