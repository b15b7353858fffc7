"""Reading and proof together: what belongs together stays together, and what a program excludes is not reported."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from nanguard.analyse import examine
from nanguard.finding import Finding
from nanguard.running.checking import check_paths
from nanguard.settings import Settings

HEAD = "import math\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"


def found(body: str) -> tuple[Finding, ...]:
    result = examine("loss.py", HEAD + textwrap.dedent(body), Settings(static=True), None)
    return tuple(finding for finding in result.findings if finding.confirmed)


REPORTED = {
    "a mixture with weights of which nothing is known": (
        "def f(logits, onehot): return -torch.log((logits.softmax(1) * onehot).sum(1).clamp(1e-12, 1.0))",
        ("NG503", "dead-gradient"),
    ),
    "a product of matrices that is added in place": (
        """
        def f(x):
            d = x.pow(2).sum(dim=1, keepdim=True)
            d = d + d.t()
            d.addmm_(x, x.t(), beta=1, alpha=-2)
            return d.clamp(min=1e-12).sqrt()
        """,
        ("NG406", "accuracy-loss"),
    ),
    "a vector in a table that is an argument": (
        "def f(table):\n    a = table['output'].flatten(1)\n    return a / a.norm(dim=1).unsqueeze(1)",
        ("NG311", "forward-nonfinite"),
    ),
    "a function that works in place": (
        "def f(x): return torch.log_(torch.relu(x))",
        ("NG201", "forward-nonfinite"),
    ),
    "a quotient of which the nans are overwritten": (
        "def f(a, b):\n    r = a / b\n    r[r != r] = 0.0\n    return r",
        ("NG308", "gradient-nonfinite"),
    ),
    "a function by hand, reported there and not where it is called with a factor": (
        """
        def atanh(x):
            return 0.5 * (torch.log(1 + x) - torch.log(1 - x))
        def f(x, c):
            return 2 * c * atanh(x.clamp(-0.9, 0.9))
        """,
        ("NG130", "accuracy-loss"),
    ),
    "a hand-written norm, whose eps is no second finding": (
        "def norm(x): return x / (torch.sqrt(torch.sum(x ** 2, dim=1, keepdim=True)) + 1e-7)\n"
        "def f(table): return norm(table['a']['b'])",
        ("NG302", "gradient-nonfinite"),
    ),
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
    "the same expression in two functions, inside of a larger one in one of them": (
        """
        def f(x, y):
            p = torch.sigmoid(x)
            return -(y * torch.log(p) + (1 - y) * torch.log(1 - p))
        def g(x, y): return torch.log(torch.sigmoid(x)), 1
        """,
        ("NG101", "forward-nonfinite"),
    ),
    "a value that has other uses than a comparison": (
        """
        def f(x, y):
            error = x / y.abs()
            return (error > 0.05).float().mean() + error.mean()
        """,
        ("NG202", "forward-nonfinite"),
    ),
    "a mask that is a test of the divisor and keeps its zero": (
        "def f(x, y): return x / torch.where(y < 0, torch.ones_like(y), y).relu()",
        ("NG202", "forward-nonfinite"),
    ),
    "a norm of what comes in": (
        """
        class L(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = nn.Parameter(torch.randn(3))
            def forward(self, x): return self.w * x / torch.sum(x ** 2)
        """,
        ("NG208", "forward-nonfinite"),
    ),
    "a scale that is worked out": (
        "def f(x, scale): return x / torch.relu(scale - 1)",
        ("NG202", "forward-nonfinite"),
    ),
    "a quotient that is not tested for nan": (
        "def f(v, u):\n    p = v / v.abs()\n    p[torch.isnan(u)] = 1\n    return p + u",
        ("NG318", "forward-nonfinite"),
    ),
    "a row that is masked by a text": (
        "def f(x, y): return torch.softmax(x.masked_fill(y == 0, float('-inf')), dim=1)",
        ("NG209", "forward-nonfinite"),
    ),
    "what is left of a running sum": (
        """
        def f(x, i):
            total = x.sub(x.max(1)[0].view(-1, 1)).exp().cumsum(1)
            return (total[:, -1] - total.gather(1, i).view(-1)).relu().add(1e-7).log()
        """,
        ("NG428", "accuracy-loss"),
    ),
    "large operands that cancel in a sum that goes on": (
        "def f(x, y): return (x * x).mean(1) - x.mean(1) ** 2 + y",
        ("NG405", "accuracy-loss"),
    ),
    "the beginning of a sum that is used elsewhere, too": (
        "def f(x, y):\n    k = torch.exp(x) - 1\n    return (k - y) * k",
        ("NG402", "accuracy-loss"),
    ),
    "a copy of an argument, which is no conversion": (
        "def f(x): return torch.log(x.clone() + 1)",
        ("NG401", "accuracy-loss"),
    ),
}


@pytest.mark.parametrize("body, wanted", REPORTED.values(), ids=REPORTED.keys())
def test_is_reported(body: str, wanted: tuple[str, str]) -> None:
    assert wanted in [(finding.code, finding.hazard) for finding in found(body)]


SILENT = {
    "a sum that goes on": "def f(x, y): return torch.exp(x) - 1 - y",
    "a bound below that is no guard: nothing is infinite there": (
        "def f(x): return torch.log(torch.sigmoid(x.clamp(min=1e-6)))"
    ),
    "a bound above that ordinary values meet": (
        "def f(x): return torch.log(torch.sigmoid(x.abs().sum(1).clamp(1e-6, 1)))"
    ),
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
    "a quotient that is only compared": """
        def f(x, y):
            error = (x - y).abs()
            return ((error > 3) & (error / y.abs() > 0.05)).float().mean()
        """,
    "a value that is meant to be infinite or nan": """
        from torch import inf
        def f(a):
            mode = (a - 2) / a
            mode[a <= 2] = inf
            return mode, torch.where(a > 1, 1 / (a - 1), torch.inf)
        """,
    "the log-determinant of a triangular factor": """
        def f(a, y):
            lu = torch.lu_solve(a, y)
            return torch.sum(torch.log(torch.abs(torch.diag(lu)))), torch.log(torch.abs(1 + torch.sum(a * y)))
        """,
    "parameters alone": """
        class L(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = nn.Parameter(torch.randn(3))
            def forward(self, x): return self.w / torch.sum(self.w ** 2) + x
        """,
    "a mask beside the divisor that puts 1 in its place": """
        def f(x, is_zero): return 2.0 / torch.where(is_zero, torch.ones_like(x), x).abs()
        """,
    "an argument that is compared with a number": """
        def f(x, p):
            if p == float("inf"): return x.abs().max()
            return x.abs().sum() / (p - 1) ** 2
        """,
    "an exponent": "def f(x, p): return torch.sum(x ** p) ** (1 / p)",
    "a tensor of numbers": """
        class L(nn.Module):
            def __init__(self, epsilon):
                super().__init__()
                self.bias = torch.log(torch.exp(torch.Tensor([1 - epsilon])) - 1)
            def forward(self, x): return x + self.bias
        """,
    "a scale that comes in": """
        class L:
            def __init__(self, loc, scale): self.loc, self.scale = together(loc, scale)
            def cdf(self, x): return torch.atan((x - self.loc) / self.scale)
            def entropy(self): return torch.log(self.scale ** 2)
        """,
    "a root of a number of Python": "def f(x, y): return (x - y).norm().item() ** 0.5",
    "what a test has computed before": """
        def f(x):
            if torch.abs(x) < 3.75:
                return x * x
            size = torch.abs(x)
            return torch.exp(-size) / torch.sqrt(size) + 3.75 / size
        """,
    "a schedule that the constructor sets": """
        class L(nn.Module):
            def __init__(self, config):
                super().__init__()
                self.betas = schedule(config)
                self.kept = torch.cumprod(1.0 - self.betas, dim=0)
                self.noise = torch.sqrt(1.0 - self.kept)
            def forward(self, x, y): return self.noise * x + y
        """,
    "a logarithm of a helper": """
        def helper(x): return torch.log(torch.abs(1 + x * torch.sin(x)))
        def f(x, total=0): return total - helper(x)
        """,
    "what is divided by a sigmoid": "def f(x, y): return y / torch.sigmoid(x)",
    "a value that passes from one function into a selection of another": """
        def tail(z):
            above = z > 0
            return torch.where(above, torch.special.erfcx(z.masked_fill(~above, 0)), z.masked_fill(above, 0))
        def f(x, mean, width): return tail(-(x - mean) / width)
        """,
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


def test_a_guard_is_called_as_it_is_written() -> None:
    (one,) = found("def f(x, n): return torch.log(1 + (x - helper(x, n)[0]).clamp(max=50).exp())")
    assert "opaque" not in one.message


def test_a_failure_all_along_the_way_has_no_first_input() -> None:
    (one,) = found("def f(logits, onehot): return -torch.log((logits.softmax(1) * onehot).sum(1).clamp(1e-12, 1.0))")
    assert "first at" not in one.message


def test_what_an_input_is_called_is_short() -> None:
    inner = " + ".join(f"torch.sin(x) ** {power}" for power in range(2, 30))
    (finding,) = found(f"def f(x): return torch.log(torch.sigmoid(F.linear(x, {inner})))")
    assert finding.witness is not None
    assert all(len(name) <= 60 for name in finding.witness.inputs)


FIXES = {
    "the program has another value in mind for what is nan": (
        "def f(v):\n    p = v / v.abs()\n    p[torch.isnan(p)] = 1\n    return p",
        ("torch.sign(v)", False),
    ),
    "the logarithm of a number is a number": (
        "def f(y): return y.exp() / (0.5 + torch.exp(y))",
        ("torch.sigmoid(y + 0.6931471805599453)", True),
    ),
    "probabilities of a model, behind an epsilon": (
        """
        class L(nn.Module):
            def __init__(self, n):
                super().__init__()
                self.net = nn.Sequential(nn.Linear(4, n), nn.Softmax(dim=-1))
            def forward(self, x, y):
                q = self.net(x)
                return -(y * torch.log(q + 1e-10)).sum()
        """,
        ("torch.log(torch.clamp(q, 1.2e-38))", False),
    ),
    "a property of a parameter that is bound anew": (
        """
        class L(nn.Module):
            def __init__(self, n):
                super().__init__()
                self._w = nn.Parameter(torch.zeros(n))
            @property
            def probs(self): return F.softmax(self._w, dim=-1)
            def forward(self, z): return (torch.log(self.probs) * z).sum()
            def shrink(self, v): self._w = nn.Parameter(v)
        """,
        ("torch.log(torch.clamp(self.probs, 1.2e-38))", False),
    ),
    "no two minus signs": (
        "def f(logits): return torch.log(1 + torch.exp(-1.0 * logits))",
        ("-F.logsigmoid(logits)", True),
    ),
    "numbers that have names": (
        "def f(x, gain: float = 10, cutoff: float = 0.5): return 1 / (1 + (gain * (cutoff - x)).exp())",
        ("torch.sigmoid(-(gain * (cutoff - x)))", True),
    ),
    "bounds by their names": (
        "def f(x): return torch.clamp(torch.exp(x), max=10)",
        ("torch.clamp(torch.exp(torch.clamp(x, max=80)), max=10)", False),
    ),
    "a small bound below": ("def f(x, y): return torch.sqrt(F.mse_loss(x, y))",
                            ("torch.sqrt(torch.clamp(F.mse_loss(x, y), 1e-08))", False)),
    "the argument of a branch": (
        "def f(x): return torch.log(x).masked_fill(x <= 0, 0.0)",
        ("torch.where(x <= 0, 0.0, torch.log(torch.where(x <= 0, 1, x)))", True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("body, wanted", FIXES.values(), ids=FIXES.keys())
def test_what_is_offered(body: str, wanted: tuple[str, bool]) -> None:
    fixes = [finding.fix for finding in found(body) if finding.fix is not None]
    assert wanted in [(fix.replacement, fix.safe) for fix in fixes]


def test_a_default_of_the_constructor_is_no_reason_for_a_fix() -> None:
    body = """
        class L(nn.Module):
            def __init__(self, power=1.0):
                super().__init__()
                self.power = power
            def forward(self, x): return x.pow(2).sum(-1).pow(self.power / 2.0)
    """
    (finding,) = found(body)
    assert finding.fix is None


def test_what_nothing_is_known_of_is_called_by_its_name() -> None:
    (finding,) = found("def f(x): return torch.log(torch.relu(backend(x)[0] + other.attribute))")
    assert finding.witness is not None
    assert not any("opaque" in name or "External" in name for name in finding.witness.inputs)


GOING_ON = (
    """
def f(x):
    q = torch.exp(x)
    width = q.shape[1]
    q /= q.sum()
    for _ in range(2):
        q /= width
    q *= width
    return q
""",
    """
def f(x, b):
    y = torch.exp(x)

    y = y / y.sum()
    for _ in range(3):
        y = y / b
        y = y / y.sum(1, keepdim=True)
    return y * b
""",
)


@pytest.mark.parametrize("program", GOING_ON, ids=["in place", "in a loop"])
@pytest.mark.parametrize("static", [True, False])
def test_what_goes_on_is_reported_where_it_begins(program: str, static: bool, tmp_path: Path) -> None:
    path = tmp_path / "loss.py"
    path.write_text(HEAD + program)
    report = check_paths([str(path)], Settings(static=static, quiet=True))
    assert [(finding.code, finding.span.line - HEAD.count("\n")) for finding in report.findings] == [("NG107", 5)]


def test_the_first_input_has_the_sign_of_the_entry_that_fails() -> None:
    body = """
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)
        def forward(self, x):
            a, b = torch.split(self.fc(x), 1, dim=-1)
            return 3 / F.softplus(b)
    """
    (one,) = found(body)
    assert one.witness is not None
    assert one.witness.inputs == {"self.fc(x)": [89.0, -89.0]}
    assert one.thresholds["float32"] == pytest.approx(-87.6, abs=0.1)  # where 3 / exp(x) is above the largest float


def test_what_callers_show_inside_of_a_finding_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("likelihood.py").write_text(
        HEAD + "def score(x, p):\n    return x * torch.log(p + 1e-10) + (1 - x) * torch.log(1 - p + 1e-10)\n"
    )
    for name in ("sigmoid", "softmax"):
        given = "z" if name == "sigmoid" else "z, dim=1"
        Path(f"{name}.py").write_text(
            HEAD + f"from likelihood import score\n\n\ndef loss(x, z):\n    return score(x, torch.{name}({given}))\n"
        )
    report = check_paths(["."], Settings(static=True))
    assert [(item.span.path, item.span.line) for item in report.findings] == [("likelihood.py", 6)]
