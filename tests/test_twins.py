"""What real programs write that is safe is silent; beside each stands what looks alike and is not, which is found."""

from __future__ import annotations

import ast
import textwrap

import pytest

from nanguard.analyse import examine, scan
from nanguard.reading.read import segment, span
from nanguard.settings import Settings

HEAD = "import math\nimport numpy as np\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"


def found(body: str) -> set[str]:
    result = examine("loss.py", HEAD + textwrap.dedent(body), Settings(static=True), None)
    return {finding.code for finding in result.findings if finding.confirmed}


# what it is about: the safe program, its twin, and the rule that finds the twin
TWINS = {
    "a maximum that a function of somebody else takes": (
        """
        from other import rowmax
        def f(x):
            m = rowmax(x)
            return m + torch.log(torch.sum(torch.exp(x - m), 1))
        """,
        """
        from other import rowmax
        def f(x, y):
            m = rowmax(y)
            return m + torch.log(torch.sum(torch.exp(x - m), 1))
        """,
        "NG104",
    ),
    "a softmax over segments, with their maxima": (
        """
        def f(x, i, n):
            top = torch.zeros(n).scatter_reduce(0, i, x, reduce="amax", include_self=False)
            e = torch.exp(x - top[i])
            return e / torch.zeros(n).scatter_add(0, i, e)[i]
        """,
        """
        def f(x, i, n):
            e = torch.exp(x)
            return e / torch.zeros(n).scatter_add(0, i, e)[i]
        """,
        "NG202",
    ),
    "the entries up to a number that is not known": (
        "def f(x, n):\n    return F.logsigmoid(x[:, :n])",
        "def f(x, n):\n    return torch.log(torch.sigmoid(x[:, :n]))",
        "NG101",
    ),
    "a count with alternatives, each of which was tested": (
        """
        def f(x, y, strict):
            n = (x > 0).sum() if strict else (x >= y).sum()
            return x / n if n > 0 else x
        """,
        """
        def f(x, y, strict):
            n = (x > 0).sum() if strict else (x >= y).sum()
            return x / n if strict else x
        """,
        "NG208",
    ),
    "what a mask leaves out of a logarithm by a product": (
        """
        def f(x, y, other):
            d = torch.sigmoid(x) - torch.sigmoid(y)
            inside = (d > 1e-5).float()
            return inside * torch.log(torch.clamp(d, min=1e-12)) + (1 - inside) * other
        """,
        """
        def f(x, y, other):
            d = torch.sigmoid(x) - torch.sigmoid(y)
            inside = (other > 1e-5).float()
            return inside * torch.log(torch.clamp(d, min=1e-12)) + (1 - inside) * other
        """,
        "NG503",
    ),
    "data that noise is added to, and noise": (
        "def f(x):\n    return torch.log((x * 255 + torch.rand_like(x)) / 256)",
        "def f(x):\n    return torch.log((1e-30 + 255 * torch.rand_like(x)) / 256 - 1e-30)",
        "NG212",
    ),
    "a divergence of two Gaussians, and the part of it that cancels": (
        "def f(m, a, b):\n    return 0.5 * (-1 + b - a + torch.exp(a - b) + m ** 2 * torch.exp(-b))",
        "def f(m, a, b):\n    return 0.5 * (m ** 2 * torch.exp(-b) + (-1 + b - a + torch.exp(a - b)))",
        "NG407",
    ),
    "what is inside of an operand is a matter of its own": (
        "def f(x, y):\n    s = (x * y).clamp(1e-6).sqrt()\n    return 1 - (1 - torch.log1p(s)) ** 3",
        "def f(x, y):\n    s = (x * y).clamp(0).sqrt()\n    return 1 - (1 - torch.log1p(s)) ** 3",
        "NG301",
    ),
    "an exponential of some entries of a row": (
        "def f(x, m):\n    return torch.log(1 + torch.sum(torch.exp(-x[0][m == 1].abs())))",
        "def f(x, m):\n    return torch.log(1 + torch.sum(torch.exp(x[0][m == 1])))",
        "NG105",
    ),
    "the logarithm of an entropy, which the probability weighs": (
        "def f(x):\n    p = x.softmax(1)\n    return -(p * torch.log(p + 1e-6)).sum(1)",
        "def f(x, y):\n    p = x.softmax(1)\n    return -(y * torch.log(p + 1e-6)).sum(1)",
        "NG103",
    ),
    "probabilities of a row add up to 1, those of a column need not": (
        "def f(x):\n    p = x.softmax(1) ** 2\n    return p / p.sum(1, keepdim=True)",
        "def f(x):\n    p = x.softmax(1) ** 2\n    return p / p.sum(0, keepdim=True)",
        "NG208",
    ),
    "cosines by einsum over a temperature": (
        """
        def f(z, mask):
            z = F.normalize(z, dim=-1)
            a = torch.einsum("if, jf -> ij", z, z) / 0.1
            e = torch.exp(a - a.max(dim=1, keepdim=True)[0].detach())
            return torch.log(e / (e + torch.sum(e * mask, dim=1, keepdim=True)))
        """,
        """
        def f(z, mask):
            a = torch.einsum("if, jf -> ij", z, z) / 0.1
            e = torch.exp(a - a.max(dim=1, keepdim=True)[0].detach())
            return torch.log(e / (e + torch.sum(e * mask, dim=1, keepdim=True)))
        """,
        "NG108",
    ),
    "rows that were selected for their having an entry": (
        "def f(pos_mask, x):\n    i = pos_mask.sum(1) > 0\n    return x[i] / pos_mask[i].sum(1)",
        "def f(pos_mask, x):\n    i = pos_mask.sum(1) >= 0\n    return x[i] / pos_mask[i].sum(1)",
        "NG208",
    ),
    "the diagonal has an entry": (
        "def f(x):\n    m = torch.eye(x.shape[0])\n    return (x * m).sum() / m.sum()",
        "def f(x, mask):\n    return (x * mask).sum() / mask.sum()",
        "NG208",
    ),
    "noise that torch's distributions draw": (
        "from torch.distributions.utils import _standard_normal\n"
        "def f(n):\n    a = _standard_normal((n, 3), dtype=torch.float, device='cpu')\n    return a / a.norm(dim=-1)",
        "def f(a):\n    return a / a.norm(dim=-1)",
        "NG311",
    ),
    "a test under no_grad selects what it is a test of": (
        "def f(x):\n    with torch.no_grad():\n        d = x.abs()\n        return d / d[d > 0].min()",
        "def f(x):\n    with torch.no_grad():\n        d = x.abs()\n        return d / d[d >= 0].max()",
        "NG208",
    ),
    "the maximum along an axis that may be left out": (
        "def f(x, axis=None):\n    m = torch.max(x, axis)[0]\n    return torch.log((x - m).exp().sum(axis)) + m",
        "def f(x, axis=None):\n    return torch.log((x - x.mean(axis)).exp().sum(axis))",
        "NG104",
    ),
    "a filter that is worked out from settings": (
        """
        import filters
        class L(nn.Module):
            def __init__(self, n):
                super().__init__()
                self.f = filters.mel(n)
            def forward(self, x):
                power = (self.f * (x ** 2 + 1e-6)) ** 2
                return x / power.sum(dim=1, keepdim=True)
        """,
        """
        import filters
        class L(nn.Module):
            def forward(self, x, y):
                power = (filters.mel(y) * (x ** 2 + 1e-6)) ** 2
                return x / power.sum(dim=1, keepdim=True)
        """,
        "NG208",
    ),
    "a magnitude is 0 in silence, its logarithm is any number": (
        "def f(x, log_mag): return x / log_mag",
        "def f(x, x_mag): return x / x_mag",
        "NG202",
    ),
    "a mask that was worked out from one of several values, beside the value": (
        """
        def scaled(x, half):
            return x / 2 if half else x

        def f(x, half):
            d = torch.relu(1 - scaled(x, half))
            total = torch.cumsum(d, dim=0)
            safe = (d > 0) & (total > 0)
            out = torch.zeros_like(d)
            out[safe] = d[safe] / total[safe]
            return out
        """,
        """
        def scaled(x, half):
            return x / 2 if half else x

        def f(x, half):
            d = torch.relu(1 - scaled(x, half))
            total = torch.cumsum(d, dim=0)
            safe = x > 0
            out = torch.zeros_like(d)
            out[safe] = d[safe] / total[safe]
            return out
        """,
        "NG202",
    ),
    "a cosine is never 0 in floats, a sine is": (
        "def f(x): return x.cos().abs().log()",
        "def f(x): return x.sin().abs().log()",
        "NG201",
    ),
    "the length of random numbers": (
        "def f(n, m):\n    a = torch.randn(n, m)\n    return a / a.norm(dim=0)",
        "def f(a):\n    return a / a.norm(dim=0)",
        "NG311",
    ),
    "the logarithm of a test is -inf on purpose": (
        "def f(x, y): return (x <= y).all(dim=0).log()",
        "def f(x): return x.relu().log()",
        "NG201",
    ),
    "entries that are filled where a test holds of them": (
        "def f(x): return torch.log(1 - torch.erf(torch.masked_fill(x, torch.le(x, 0.0), -1.0).multiply(other=-0.5)))",
        "def f(x): return torch.log(1 - torch.erf(torch.masked_fill(x, torch.ge(x, 0.0), -1.0).multiply(other=-0.5)))",
        "NG129",
    ),
    "a root that is 0 nowhere in particular": (
        "def f(x, v): return x / torch.sqrt(1 + 0.4 * v)",
        "def f(x, v): return x / torch.sqrt(v ** 2)",
        "NG202",
    ),
    "a total of roots of products that hold an epsilon each": (
        """
        def f(p, y, eps: float = 1e-5):
            tp, tn = torch.sum(p * y) + eps, torch.sum((1 - p) * (1 - y)) + eps
            fp, fn = torch.sum(p * (1 - y)) + eps, torch.sum((1 - p) * y) + eps
            return (tp * tn - fp * fn).sum() / torch.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)).sum()
        """,
        "def f(p, y): return (p * y).sum() / torch.sqrt(y ** 2).sum()",
        "NG208",
    ),
    "a count has no gradient": (
        "def f(mask, out): return ((~(mask > 0)).sum() / out.shape[0]) ** 0.5",
        "def f(x, out): return (x.relu().sum() / out.shape[0]) ** 0.5",
        "NG301",
    ),
    "a bound from a table with an entry for each dtype": (
        """
        EPS = {torch.float32: 1e-4, torch.float64: 1e-7}
        def f(x, y): return torch.acos((x * y).sum(-1).clamp(-1 + EPS[x.dtype], 1 - EPS[x.dtype]))
        """,
        """
        EPS = {torch.float32: 1e-9, torch.float64: 1e-7}
        def f(x, y): return torch.acos((x * y).sum(-1).clamp(-1 + EPS[x.dtype], 1 - EPS[x.dtype]))
        """,
        "NG502",
    ),
    "an epsilon beside 1 - p": (
        "def f(p): return torch.log(1 - p + 1e-15)",
        "def f(p): return torch.log(1 + p)",
        "NG401",
    ),
    "a scale with a longer name": (
        "def f(x, reg_scale): return x / abs(reg_scale) + 1e-16",
        "def f(x, y): return x / abs(y) + 1e-16",
        "NG505",
    ),
    "numbers of Python raise": (
        "def f(x, y): return float(x.sum()) / float((y > 0).sum())",
        "def f(x, y): return x.sum() / (y > 0).sum()",
        "NG208",
    ),
    "a bound that is a tolerance": (
        """
        def f(v, e):
            if torch.any(v <= 1e-7 * e.abs().max()):
                raise ValueError
            return e / v.abs()
        """,
        """
        def f(v, e):
            if torch.any(v <= -1e-7 * e.abs().max()):
                raise ValueError
            return e / v.abs()
        """,
        "NG202",
    ),
    "the other entries of a test": (
        "def f(w):\n    kept = w >= 0\n    return w[~kept].abs().log()",
        "def f(w):\n    kept = w > 0\n    return w[~kept].abs().log()",
        "NG201",
    ),
    "a chain of comparisons": (
        """
        def f(counts, beta):
            if not 0.0 < beta < 1.0:
                raise ValueError
            return (1.0 - beta) / (1.0 - beta ** counts.clamp(min=1.0))
        """,
        """
        def f(counts):
            return 0.1 / (1.0 - 0.9 ** counts.clamp(min=0.0))
        """,
        "NG202",
    ),
    "what a constructor of a module works out": (
        """
        class L(nn.Module):
            def __init__(self, n):
                super().__init__()
                self.w = nn.Parameter(torch.sqrt(torch.rand(n)))
        """,
        "def f(x): return torch.sqrt(x.relu())",
        "NG301",
    ),
    "an autograd function says itself what its gradient is": (
        """
        class Root(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return torch.sqrt(x.relu())
            @staticmethod
            def backward(ctx, g):
                return g
        """,
        """
        class Root(nn.Module):
            def forward(self, x):
                return torch.sqrt(x.relu())
        """,
        "NG301",
    ),
    "where a value needs no gradient": (
        """
        def f(c, x):
            if c.requires_grad:
                return x
            return torch.sqrt(c.clamp_min(0)) * x
        """,
        """
        def f(c, x):
            if c.requires_grad:
                return torch.sqrt(c.clamp_min(0)) * x
            return x
        """,
        "NG301",
    ),
    "a default that decides between classes": (
        """
        def f(a, b, otherwise: float = 0.0):
            b = b.abs()
            if isinstance(otherwise, (float, int)):
                return torch.where(b > 0, a / torch.where(b > 0, b, 1.0), otherwise)
            return a / b
        """,
        """
        def f(a, b, otherwise: float = 0.0):
            b = b.abs()
            if isinstance(otherwise, (str, bytes)):
                return torch.where(b > 0, a / torch.where(b > 0, b, 1.0), otherwise)
            return a / b
        """,
        "NG202",
    ),
    "nan that is overwritten where there is one": (
        """
        def f(c):
            c = c.abs().detach()
            c = c / c.sum(dim=-1, keepdim=True)
            if c.isnan().any():
                c[c.isnan()] = 0
            return c * 2
        """,
        """
        def f(c):
            c = c.abs().detach()
            c = c / c.sum(dim=-1, keepdim=True)
            return c * 2
        """,
        "NG208",
    ),
    "two sizes are two numbers": (
        """
        def f(x):
            h, w = x.shape
            return x.sum().relu() / torch.sqrt(torch.tensor((h + 1.0) * w))
        """,
        "def f(x, h): return x.sum() / torch.sqrt(h * h)",
        "NG202",
    ),
    "what went wrong further inside": (
        "def f(a, x, k): return a / (torch.sqrt(k) * torch.log(2 + (x / k) ** 2)) ** 2",
        "def f(a, x): return a / (torch.log(1 + x ** 2)) ** 2",
        "NG202",
    ),
    "the exponential of a logarithm": (
        "def f(x):\n    d = (torch.var(x, dim=0) + 0.1).log()\n    return d.exp().mean(dim=-1, keepdim=True).log()",
        "def f(x):\n    return x.exp().mean(dim=-1, keepdim=True).log()",
        "NG113",
    ),
    "buffers that a schedule fills": (
        """
        class L(nn.Module):
            def __init__(self, schedule, steps: int):
                super().__init__()
                self.register_buffer("b", torch.sqrt(1.0 / torch.cumprod(1.0 - schedule(steps), dim=0) - 1))
            def forward(self, x, t): return x / self.b[t]
        """,
        """
        class L(nn.Module):
            def forward(self, x, b): return x / torch.sqrt((1.0 / torch.cumprod(1.0 - b, dim=0) - 1).relu())
        """,
        "NG229",
    ),
    "the gradient of a buffer": (
        """
        class L(nn.Module):
            def __init__(self, w=None):
                super().__init__()
                self.register_buffer("w", w)
            def forward(self, m): return m @ torch.sqrt(torch.clamp(self.w, min=0.0))
        """,
        """
        class L(nn.Module):
            def forward(self, m, w): return m @ torch.sqrt(torch.clamp(w, min=0.0))
        """,
        "NG301",
    ),
    "the support of a projection onto the simplex": (
        """
        def f(x):
            r = torch.arange(1, x.shape[-1] + 1)
            s = x.sort(dim=-1, descending=True)[0]
            c = s.cumsum(-1) - 1
            return c / (r * s > c).sum(dim=-1, keepdim=True)
        """,
        "def f(x, r): return x / (r > x).sum(dim=-1, keepdim=True)",
        "NG208",
    ),
    "complex numbers": (
        "def f(x, b): return torch.exp(-x) / (1 + b ** 2) * torch.exp(1j * 2 * torch.pi * b * x)",
        "def f(x, b): return torch.exp(-x) / (1 + b ** 2) * torch.exp(2 * torch.pi * b * x)",
        "NG118",
    ),
    "sizes that a constructor is given": (
        """
        class B(nn.Module):
            def __init__(self, dim):
                super().__init__()
                half = dim // 2
                self.f = torch.arange(half).float() / half
        class C(nn.Module):
            def __init__(self, other):
                super().__init__()
                self.b = B(other.dim)
        """,
        "def f(x, y): return x / torch.relu(y)",
        "NG202",
    ),
    "a number that may come as a text": (
        """
        def f(p: int | float | str):
            if isinstance(p, str):
                p = float(p)
            if math.isinf(p) and p > 0:
                raise ValueError
            return math.pow(2.0, 1 / p)
        """,
        "def f(x, p): return x / p.relu()",
        "NG202",
    ),
    "what is made to be filled": (
        """
        def f(parts):
            w = torch.zeros(len(parts), 1)
            for k, part in enumerate(parts):
                w[k] = part.size(0)
            return torch.log(w)
        """,
        """
        def f(x, y):
            w = torch.zeros(3, 1)
            w[x > 0] = y.abs()
            return torch.log(w)
        """,
        "NG201",
    ),
    "two objects of one class": (
        """
        class P(nn.Parameter):
            pass
        class L(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = P(torch.ones(3)), P(torch.ones(3))
            def forward(self): return torch.sqrt(self.a * self.b)
        """,
        """
        class P(nn.Parameter):
            pass
        class L(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = P(torch.ones(3)), P(torch.ones(3))
            def forward(self): return torch.sqrt(self.a * self.a)
        """,
        "NG301",
    ),
    "a buffer that may be a parameter": (
        """
        class L(nn.Module):
            def __init__(self, w):
                super().__init__()
                self.register_buffer("w", torch.tensor(w))
            def forward(self, x): return torch.logsumexp(x + torch.sqrt(torch.relu(self.w)), 1)
        """,
        """
        class L(nn.Module):
            def __init__(self, w, trained=True):
                super().__init__()
                if trained:
                    self.w = nn.Parameter(torch.tensor(w))
                else:
                    self.register_buffer("w", torch.tensor(w))
            def forward(self, x): return torch.logsumexp(x + torch.sqrt(torch.relu(self.w)), 1)
        """,
        "NG301",
    ),
}


@pytest.mark.parametrize("unpacked", ["a, b = x.chunk(2, dim=1)", "a, b = x", "a, b = torch.split(x, 3, dim=-1)"])
def test_the_parts_of_a_tensor_are_values_of_their_own(unpacked: str) -> None:
    assert found(f"def f(x):\n    {unpacked}\n    return 1 / (a - b).abs()") == {"NG202"}
    assert found(f"def f(x):\n    {unpacked}\n    return torch.exp(a) / (torch.exp(a) + torch.exp(b))") != set()


def test_the_sides_of_a_box_are_differences() -> None:
    body = "def f(b):\n    x, y, w, h = b.unbind(-1)\n    return ((w - x) ** 2 + (h - y) ** 2).sqrt()"
    assert found(body) == {"NG317"}


def test_one_sum_has_one_finding() -> None:
    body = """
    class L(nn.Module):
        def __init__(self):
            super().__init__()
            self.mu, self.rho = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
        def forward(self, w=None):
            if w is None:
                w = self.mu * 2 + self.rho
            s = F.softplus(self.rho)
            return (-0.9 - torch.log(s) - (((w - self.mu) ** 2) / (2 * s ** 2)) - 0.5).sum()
    """
    result = examine("loss.py", HEAD + textwrap.dedent(body), Settings(static=True), None)
    assert [finding.code for finding in result.findings if finding.confirmed] == ["NG210"]


def test_what_goes_on_with_a_finding_is_none_on_another_path_either() -> None:
    body = """
    def f(x, v):
        if x.ndim > 2:
            x = x.flatten(1)
        xx = x @ x.t()
        rx = xx.diag().unsqueeze(0).expand_as(xx)
        d = rx.t() + rx - 2.0 * xx
        return torch.exp(-0.5 * d / v).mean()
    """
    result = examine("loss.py", HEAD + textwrap.dedent(body), Settings(static=True), None)
    assert [(finding.code, finding.span.line - HEAD.count("\n")) for finding in result.findings] == [("NG406", 7)]


@pytest.mark.parametrize(("module", "codes"), [("torch", ["NG302"]), ("numpy", [])])
def test_a_file_without_torch_has_no_gradients(module: str, codes: list[str]) -> None:
    body = "def f(x, y):\n    return ((x - y) ** 2).sum(-1) ** 0.5"
    result = examine("loss.py", f"import {module}\n\n{body}\n", Settings(static=True), None)
    assert [finding.code for finding in result.findings] == codes


def test_an_expression_that_a_backslash_continues_is_told_on_one_line() -> None:
    lines = [b"y = a / \\\n", b"    (2 * b)\n"]
    (statement,) = ast.parse(b"".join(lines)).body
    assert isinstance(statement, ast.Assign)
    assert segment(lines, statement.value) == "a / (2 * b)"


@pytest.mark.parametrize(("safe", "twin", "code"), TWINS.values(), ids=TWINS.keys())
def test_what_is_safe_is_silent_and_its_twin_is_found(safe: str, twin: str, code: str) -> None:
    assert found(safe) == set()
    assert code in found(twin)


def test_only_what_stands_at_the_spans_asked_for_is_matched() -> None:
    source = "import torch\n\ndef f(x, y):\n    return torch.log(torch.sigmoid(x)) + torch.log(torch.softmax(y, 1))\n"
    whole = scan("loss.py", source, ast.parse(source), Settings(static=True), None)
    spans = {suspect.match.rule.code: span("loss.py", suspect.place.node) for suspect in whole.suspects}
    part = scan("loss.py", source, ast.parse(source), Settings(static=True), None, {spans["NG103"]})
    assert "NG101" in spans
    assert {span("loss.py", suspect.place.node) for suspect in part.suspects} == {spans["NG103"]}
