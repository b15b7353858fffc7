"""Fixes in source: what --fix changes, what it leaves alone, and that what it writes is right."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from inprocess import in_process

from nanguard.repair.fixing import fix_paths, save
from nanguard.settings import Settings

HEAD = "import torch\nimport torch.nn.functional as F\n\n\n"


@pytest.fixture(autouse=True, scope="module")
def here() -> Iterator[None]:
    with in_process():
        yield


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """What safe fixes, all fixes, and all fixes twice make of every source here: one run for all."""
    folder = tmp_path_factory.mktemp("batch")
    for name, source in sources().items():
        (folder / f"{name}.py").write_bytes(source)
    after: dict[str, dict[str, bytes]] = {}
    for run, unsafe in (("safe", False), ("all", True), ("again", True)):
        outcome = fix_paths([str(folder)], Settings(static=True, quiet=True), unsafe)
        assert outcome.bugs == ()
        after[run] = {Path(file.path).stem: file.after for file in outcome.files}
        if run != "safe":
            assert not [note for note in save(outcome).report.notes if note.failed]
    return after


def sources() -> dict[str, bytes]:
    """The sources of the tables, by a name that is a file's."""
    found = {f"case{index}": f"{HEAD}{body}\n".encode() for index, (body, _, _) in enumerate(CASES.values())}
    found |= {f"unused{index}": f"{HEAD}def f(x):\n{body}\n".encode() for index, (body, _) in enumerate(UNUSED)}
    found |= {f"text{index}": source for index, source in enumerate(TEXTS)}
    found |= {
        f"top{index}": f"{top}def f(x):\n    return x.sigmoid().log()\n".encode() for index, (top, _) in enumerate(TOPS)
    }
    return found


# --- many losses: one run for all -----------------------------------------------------------------------------------

# body of a function, what safe fixes write, what unsafe ones write
CASES: dict[str, tuple[str, list[str], list[str] | None]] = {
    "plain": ("def f(x):\n    return torch.log(torch.sigmoid(x))", ["return F.logsigmoid(x)"], None),
    "power": (
        "def f(x):\n    return torch.log(1 + torch.exp(x)) ** 2",
        ["return (-F.logsigmoid(-x)) ** 2"],
        None,
    ),
    "method of the result": (
        "def f(x):\n    return torch.log(1 + torch.exp(x)).sum()",
        ["return (-F.logsigmoid(-x)).sum()"],
        None,
    ),
    "over statements": (
        "def f(x):\n    p = torch.sigmoid(x)\n    return p.mean() + torch.log(p)",
        ["return p.mean() + F.logsigmoid(x)"],
        None,
    ),
    "left without a use": (
        "def f(x):\n    p = torch.sigmoid(x - 1)\n    return torch.log(p)",
        ["return F.logsigmoid(x - 1)"],
        None,
    ),
    "through a gather": (
        "def f(x, i):\n    q = torch.softmax(x, dim=1)\n    p = q.gather(1, i[:, None])[:, 0]\n    return torch.log(p)",
        ["return F.log_softmax(x, dim=1).gather(1, i[:, None])[:, 0]"],
        None,
    ),
    "a difference the other way round": (
        "def f(a, b):\n    return torch.log(1 + torch.exp(-(a - b)))",
        ["return -F.logsigmoid(a - b)"],
        None,
    ),
    "what still overflows further inside takes no fix back": (
        "def f(x, w):\n    z = (x * w.exp()).sum(dim=-1, keepdim=True).log()\n    return torch.sqrt(z) * (z > 2)",
        [
            "return torch.sqrt(torch.where(z > 2, torch.log(torch.where(z > 2, "
            "torch.sum(x * torch.exp(w), dim=-1, keepdim=True), 1)), 1)) * (z > 2)"
        ],
        None,
    ),
    "a setting that is an exponent is kept": (
        "def f(x, y, gamma=2.0):\n    p = torch.sigmoid(x)\n    pt = torch.where(y == 1, p, 1 - p)\n"
        "    return -(1 - pt) ** gamma * torch.log(pt)",
        ["return -(torch.sigmoid(-torch.where(y == 1, x, -x)) ** gamma * F.logsigmoid(torch.where(y == 1, x, -x)))"],
        None,
    ),
    "another base": (
        "def f(x):\n    return torch.log10(x.abs())",
        [],
        ["return torch.log10(torch.clamp(x.abs(), 1e-08))"],
    ),
    "a setting whose default is 1 is kept": (
        "def f(x, t=1.0):\n    return torch.log(torch.sum(torch.exp(x / t), dim=1))",
        ["return torch.logsumexp(x / t, dim=1)"],
        None,
    ),
    "a factor whose default is 1 is kept": (
        "def f(x, beta=1.0):\n    return torch.log(1 + torch.exp(beta * x)) / beta",
        ["return -F.logsigmoid(-(beta * x)) / beta"],
        None,
    ),
    "a quotient of which the divisor may be a number is moved as a whole": (
        "def f(x, t):\n    e = torch.exp(x / t)\n    return (e.diag() / e.sum(1)).log()",
        ["return (x / t).diagonal() - torch.logsumexp(x / t, dim=1)"],
        None,
    ),
    "operands that are moved in the program": (
        "def f(x, t, m):\n    return torch.log(torch.sigmoid(x[m] * t[m]))",
        ["return F.logsigmoid(t[m] * x[m])"],
        None,
    ),
    "index changed in between": (
        "def f(x, i):\n    q = torch.softmax(x, dim=1)\n    p = q.gather(1, i[:, None])[:, 0]\n    i = i + 1\n"
        "    return torch.log(p), i",
        [],
        ["return torch.log(torch.clamp(p, 1.2e-38)), i"],
    ),
    "operand bound anew": (
        "def f(x):\n    p = torch.sigmoid(x)\n    x = x * 2\n    return torch.log(p) + x",
        ["p_input = x", "return F.logsigmoid(p_input) + x"],
        None,
    ),
    "written in place under another name": (
        "def f(x):\n    p = torch.sigmoid(x)\n    z = x.view(-1)\n    z.mul_(2)\n    return torch.log(p) + x",
        [],
        ["return torch.log(torch.clamp(p, 0.0001, 1 - 0.0001)) + x"],
    ),
    "one of two ways": (
        "def f(x, logits: bool = True):\n    p = torch.sigmoid(x) if logits else x\n    return torch.log(p)",
        [],
        [],
    ),
    "one of two branches": (
        "def f(x, logits: bool = True):\n    if logits:\n        x = torch.sigmoid(x)\n    return torch.log(x)",
        [],
        [],
    ),
    "both branches alike": (
        "def f(x, more: bool = True):\n    if more:\n        x = x + 1\n    p = torch.sigmoid(x)\n"
        "    return torch.log(p)",
        ["return F.logsigmoid(x)"],
        None,
    ),
    "bound by a loop": (
        "def f(x):\n    total = 0\n    for _ in range(3):\n        p = torch.sigmoid(x)\n        x = x + 1\n"
        "        total = total + torch.log(p)\n    return total",
        ["p_input = x", "total = total + F.logsigmoid(p_input)"],
        None,
    ),
    "alias bound anew": (
        "def f(F, x):\n    return torch.log(torch.sigmoid(x)) + F",
        ["return torch.nn.functional.logsigmoid(x) + F"],
        None,
    ),
    "alias bound by a comprehension": (
        "def f(xs):\n    return [torch.log(torch.sigmoid(F)) for F in xs]",
        ["return [torch.nn.functional.logsigmoid(F) for F in xs]"],
        None,
    ),
    "alias bound by a lambda": (
        "def f(xs):\n    return (lambda F: torch.log(torch.sigmoid(F)))(xs)",
        ["return (lambda F: torch.nn.functional.logsigmoid(F))(xs)"],
        None,
    ),
    "operand over lines": (
        "def f(x, y):\n    return torch.log(torch.sigmoid(x -  # the difference\n        y))",
        ["return F.logsigmoid(x -  # the difference", "y)"],
        None,
    ),
    "comment in what goes": (
        "def f(x):\n    return torch.log(  # of the probability\n        torch.sigmoid(x))",
        [],
        ["return F.logsigmoid(x)"],
    ),
    "epsilon": ("def f(x):\n    return torch.log(torch.sigmoid(x) + 1e-10)", [], ["return F.logsigmoid(x)"]),
    "a walrus inside of the operand": (
        "def f(x):\n    return torch.log(torch.sigmoid(y := x + 1)) + y",
        [],
        ["return torch.log(torch.clamp(torch.sigmoid(y := x + 1), 0.0001, 1 - 0.0001)) + y"],
    ),
    "a walrus that would go": (
        "def f(x):\n    return torch.log((p := torch.sigmoid(x))) + p",
        [],
        [],
    ),
    "nested": (
        "def f(x):\n    return torch.log(torch.sigmoid(torch.log(torch.sigmoid(x))))",
        ["return F.logsigmoid(F.logsigmoid(x))"],
        None,
    ),
    "a dimension that has a name": (
        "def f(x, dim=1):\n    return torch.log(torch.softmax(x, dim=dim))",
        ["return F.log_softmax(x, dim=dim)"],
        None,
    ),
    "a number that comes of a default": (
        "def f(x, n=23, padding=2):\n    size = torch.exp(x) / (n - 2 * padding)\n    return torch.log(1 + size)",
        [],
        [],
    ),
    "numbers of Python": ("def f(x, n):\n    import math\n    return x / math.sqrt(n * n)", [], []),
    "a default that stands for something else": (
        "def f(x, scale=-1.0):\n    if scale == -1.0:\n        scale = float(x.abs().max()) / 1000\n"
        "    return 1.0 / scale * x",
        [],
        [],
    ),
    "a number that has a name": (
        "def f(theta, mu, eps=1e-8):\n    theta = torch.abs(theta)\n    mu = torch.abs(mu)\n"
        "    a = torch.log(theta + eps)\n    b = torch.log(theta + mu + eps)\n    return theta * (a - b)",
        [],
        ["return -theta * torch.log1p(mu / (theta + eps))"],
    ),
    "a branch before both": (
        "def f(x, flat: bool = True):\n    if flat:\n        x = x.reshape(-1)\n    p = torch.sigmoid(x)\n"
        "    q = p * 2\n    return torch.log(p) + q",
        ["return F.logsigmoid(x) + q"],
        None,
    ),
    "a divisor by its own name": (
        "def f(x, n=23, padding=2):\n    size = (x.max() - x.min()) / (n - 2 * padding)\n    return x / size",
        [],
        ["return x / torch.clamp(size, 1e-08)"],
    ),
    "numbers of another function": (
        "def f(x):\n    import math\n    return torch.log(torch.exp(x) + torch.exp(-x)) - math.log(2)",
        [
            "return torch.where(torch.abs(x) < 1, torch.log1p(2 * torch.square(torch.sinh(torch.clamp(x, -1, 1) / 2))),"
            " torch.abs(x) + torch.log1p(torch.exp(-2 * torch.abs(x))) - 0.6931471805599453)"
        ],
        None,
    ),
    "division in place": (
        "def f(x, y):\n    y /= x.norm()\n    return y",
        [],
        ["y /= torch.clamp(x.norm(), 1e-08)"],
    ),
    "two things that one helper makes of something unknown": (
        "class M:\n    def step(self):\n        self.users = self.means(1)\n        self.items = self.means(2)\n\n"
        "    def means(self, n):\n        found = Finder()\n        found.search(n)\n"
        "        return torch.Tensor(found.centres)\n\n"
        "    def loss(self, u, i):\n        a = torch.exp(u @ self.users.t())\n"
        "        b = torch.exp(i @ self.items.t())\n        return torch.log(a.sum(1)) + torch.log(b.sum(1))",
        [
            "return torch.logsumexp(torch.matmul(u, self.users.t()), dim=1) + "
            "torch.logsumexp(torch.matmul(i, self.items.t()), dim=1)"
        ],
        None,
    ),
    "one name for two things that one helper makes": (
        "class M:\n    def step(self):\n        self.users = self.means(1)\n        self.items = self.means(2)\n\n"
        "    def means(self, n):\n        found = Finder()\n        found.search(n)\n"
        "        return torch.Tensor(found.centres)\n\n"
        "    def loss(self, u, i):\n        a = torch.exp(u @ self.users.t())\n        b = a.mean(1)\n"
        "        a = torch.exp(i @ self.items.t())\n        return torch.log(a.sum(1)) + b",
        ["a_input_2 = i @ self.items.t()", "a = torch.exp(a_input_2)", "return torch.logsumexp(a_input_2, dim=1) + b"],
        None,
    ),
    "the same words for two things": (
        "def f(net, x):\n    p = torch.softmax(net(x), dim=1)\n    q = torch.softmax(net(x), dim=1)\n"
        "    return torch.log(p) + q, q.mean()",
        ["p_input = net(x)", "return F.log_softmax(p_input, dim=1) + q, q.mean()"],
        None,
    ),
    "an operand without a name": (
        "def f(net, x):\n    p = torch.softmax(net(x), dim=1)\n    return torch.log(p)",
        ["p_input = net(x)", "return F.log_softmax(p_input, dim=1)"],
        None,
    ),
    "an operand without a name, over lines": (
        "def f(net, x):\n    p = torch.sigmoid(\n        net(x)  # the net\n        - 1\n    )\n"
        "    return torch.log(p) + p",
        ["p_input = (net(x)  # the net", "- 1)", "p_input", "return F.logsigmoid(p_input) + p"],
        None,
    ),
    "an operand inside of a branch": (
        "def f(net, x, more: bool):\n    p = torch.softmax(net(x), dim=1)\n    if more:\n        return torch.log(p)\n"
        "    return p",
        ["p_input = net(x)", "p = torch.softmax(p_input, dim=1)", "return F.log_softmax(p_input, dim=1)"],
        None,
    ),
    "a movement of an operand without a name": (
        "def f(net, x, i):\n    p = torch.softmax(net(x), dim=1)[:, :-1].view(x.shape)\n"
        "    return torch.log(p[i] + 1e-8)",
        [],
        ["p_input = net(x)", "return F.log_softmax(p_input, dim=1)[:, :-1].view(x.shape)[i]"],
    ),
    "a clamp of what is bound anew": (
        "def f(y_pred, y_true, eps=1e-7):\n    y_pred = torch.clamp(y_pred, eps, 1.0 - eps)\n"
        "    return -y_true * torch.log(y_pred) + y_pred",
        [],
        [
            "y_pred_input = y_pred",
            "y_pred = torch.clamp(y_pred_input, eps, 1.0 - eps)",
            "return -y_true * torch.log(torch.clamp(y_pred_input, 1.2e-38)) + y_pred",
        ],
    ),
    "an operand that is written in place": (
        "def f(net, x):\n    p = torch.softmax(net(x), dim=1)\n    x.zero_()\n    return torch.log(p)",
        [],
        ["return torch.log(torch.clamp(p, 1.2e-38))"],
    ),
    "an operand beside a draw": (
        "def f(net, x):\n    p = torch.rand(3) * torch.softmax(net(x), dim=1)\n    return torch.log(p)",
        [],
        [],
    ),
    "an operand in one of two branches": (
        "def f(net, x, more: bool):\n    p = torch.softmax(x, dim=1)\n    if more:\n"
        "        p = torch.softmax(net(x), dim=1)\n    return torch.log(p)",
        [],
        ["return torch.log(torch.clamp(p, 1.2e-38))"],
    ),
    "an operand of one of two assignments on a line": (
        "def f(net, x):\n    x = x + 1; p = torch.softmax(net(x), dim=1)\n    return torch.log(p)",
        [],
        ["return torch.log(torch.clamp(p, 1.2e-38))"],
    ),
    "parameters or a buffer": (
        "class M(torch.nn.Module):\n    def __init__(self, n, trained=True):\n        super().__init__()\n"
        "        if trained:\n            self.w = torch.nn.Parameter(torch.zeros(n))\n        else:\n"
        "            self.register_buffer('w', torch.ones(n))\n\n    def forward(self, x):\n"
        "        p = torch.softmax(self.w, dim=0)\n        return torch.log(p) + x",
        ["return F.log_softmax(self.w, dim=0) + x"],
        None,
    ),
    "entries that are overwritten": (
        "def f(a):\n    found = a.log()\n    found[a <= 0] = -10000.0\n    return found",
        [],
        ["found = torch.where(a <= 0, -10000.0, torch.log(torch.where(a <= 0, 1, a)))"],
    ),
    "entries that are overwritten after a use": (
        "def f(a):\n    found = a.sqrt()\n    low = found.mean()\n    found[a <= 0] = 0\n    return found, low",
        [],
        ["found = torch.where(a <= 0, 0, torch.sqrt(torch.where(a <= 0, 1, a)))"],
    ),
    "entries of a quotient that are overwritten": (
        "def f(a, b):\n    found = a / b\n    found[b == 0] = 0\n    return found",
        [],
        ["found = torch.where(b == 0, 0, a / torch.where(b == 0, 1, b))"],
    ),
    "entries that are overwritten under two names": (
        "def f(a):\n    found = a.log()\n    same = found.view(-1)\n    found[a <= 0] = 0\n    return found, same",
        [],
        [],
    ),
    "entries that are overwritten by other entries": (
        "def f(a, b):\n    found = a.log()\n    found[a <= 0] = b\n    return found",
        [],
        [],
    ),
    "entries of an argument that are overwritten": (
        "def f(found, a):\n    found.log_()\n    found[a <= 0] = 0\n    return found",
        [],
        [],
    ),
    "a measure without a gradient, on two ways": (
        "def f(x, more: bool):\n    with torch.no_grad():\n        scale = 2.0 if more else 3.0\n"
        "        return torch.log(torch.sigmoid(scale * x)).mean()",
        ["return F.logsigmoid(scale * x).mean()"],
        None,
    ),
    "a measure of what has a gradient": (
        "def f(x):\n    p = torch.sigmoid(x)\n    with torch.no_grad():\n        found = torch.log(p).mean()\n"
        "    return p.mean(), found",
        ["found = F.logsigmoid(x).mean()"],
        None,
    ),
    "weights of a loss": (
        "def f(x, y, w=None):\n    return F.binary_cross_entropy(torch.sigmoid(x), y, weight=w)",
        [],
        ["return F.binary_cross_entropy_with_logits(x, y, w)"],
    ),
    "weights of a module of torch": (
        "def f(x, y, w):\n    return torch.nn.BCELoss(w, reduction='sum')(torch.sigmoid(x), y)",
        [],
        ["return F.binary_cross_entropy_with_logits(x, y, w, reduction='sum')"],
    ),
    "a divisor that ends at 0 by what is taken away": (
        "def f(evidence):\n    alpha = evidence + 1\n    s = torch.sum(alpha, dim=1, keepdim=True)\n"
        "    return alpha / (s - evidence.shape[1])",
        [],
        ["return alpha / torch.clamp(s - evidence.shape[1], 1e-08)"],
    ),
    "a mask with alternatives": (
        "def f(x, half: bool):\n    low = -0.7 if half else -0.5\n    small = low < x\n"
        "    return torch.where(small, (-x.expm1()).log(), (-x.exp()).log1p())",
        [
            "return torch.where(x > -0.6931471805599453, torch.log(-torch.expm1(torch.clamp(x, -0.6931471805599453))),"
            " torch.log1p(-torch.exp(torch.clamp(x, max=-0.6931471805599453))))"
        ],
        None,
    ),
    "an operand with a hazard of its own": (
        "def f(x):\n    n = torch.sqrt((x**2).sum(2))\n    return torch.sqrt(((n - n.mean()) ** 2).mean())",
        ["n = torch.linalg.vector_norm(x, dim=2)", "return torch.std(n, correction=0)"],
        None,
    ),
    "through a gather of torch": (
        "def f(y_pred, y_true):\n    p = torch.clamp(torch.gather(y_pred, 1, y_true), 1e-15, 1 - 1e-15)\n"
        "    return torch.log(p)",
        [],
        ["return torch.log(torch.clamp(torch.gather(y_pred, 1, y_true), 1.2e-38))"],
    ),
    "a logarithm of a probability that comes from elsewhere": (
        "def f(p, target):\n    return -(target * torch.log(p + 1e-8)).sum(1)",
        [],
        ["return -torch.sum(target * torch.log(torch.clamp(p, 1.2e-38)), dim=1)"],
    ),
    "a mixture that has underflowed at its witness": (
        "def f(x, y, t):\n    p = torch.softmax(x, 1) * torch.sigmoid(y) + torch.softmax(y, 1) * torch.sigmoid(-y)\n"
        "    return -(t * torch.log(p + 1e-8)).sum(1)",
        [],
        ["return -(t * torch.log(torch.clamp(p, 1.2e-38))).sum(1)"],
    ),
    "a share of what may be negative": (
        "def f(x, y):\n    power = (x * y).mean(dim=-1, keepdim=True)\n    return 1e7 * x / power",
        [],
        ["return 1e7 * x / torch.where(power == 0, 1, power)"],
    ),
    "a number by default": (
        "def f(x, a=1):\n    return torch.log(a + torch.exp(x))",
        [],
        [],
    ),
    "a factor by default": (
        "def f(x, y, c=0.5):\n    d = (x - y).abs()\n    return torch.log(1 + d[d < 1] / c)",
        [],
        [],
    ),
    "an exponent by default, in an earlier statement": (
        "def f(x, p=2):\n    q = x**p\n    return torch.sqrt(torch.sum(q))",
        [],
        ["return torch.sqrt(torch.clamp(torch.sum(q), 1e-08))"],
    ),
    "an exponent of a constructor": (
        "class M(torch.nn.Module):\n    def __init__(self, p=2):\n        super().__init__()\n        self.p = p\n\n"
        "    def forward(self, x):\n        return torch.sqrt(torch.sum(x**self.p))",
        [],
        ["return torch.sqrt(torch.clamp(torch.sum(x**self.p), 1e-08))"],
    ),
    "an epsilon of a class": (
        "class M(torch.nn.Module):\n    tiny = 1e-8\n\n    def forward(self, x):\n"
        "        p = torch.sigmoid(x)\n        return torch.log(p + self.tiny)",
        [],
        ["return F.logsigmoid(x)"],
    ),
    "an attribute": (
        "class M(torch.nn.Module):\n    def __init__(self, n):\n        super().__init__()\n"
        "        self.w = torch.nn.Parameter(torch.zeros(n))\n\n    def forward(self, x):\n"
        "        p = torch.softmax(self.w, dim=0)\n        return torch.log(p) + x",
        ["return F.log_softmax(self.w, dim=0) + x"],
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("run", ["safe", "all"])
@pytest.mark.parametrize("name", CASES)
def test_what_is_written(batch: dict[str, dict[str, bytes]], name: str, run: str) -> None:
    body, safe, every = CASES[name]
    before = f"{HEAD}{body}\n"
    now = batch[run].get(f"case{list(CASES).index(name)}", before.encode()).decode()
    written = [line.strip() for line in now.splitlines() if line not in before.splitlines()]
    assert written == (every if run == "all" and every is not None else safe)
    ast.parse(now)


def test_a_second_run_changes_nothing(batch: dict[str, dict[str, bytes]]) -> None:
    assert len(batch["all"]) > 20
    assert batch["again"] == {}


# --- statements that nothing uses any more --------------------------------------------------------------------------


UNUSED = [
    ("    p = torch.sigmoid(x)\n    return torch.log(p)", False),
    ("    e = torch.exp(x)\n    s = e.sum(1)\n    return torch.log(s)", False),
    ("    p = torch.sigmoid(x)  # of the class\n    return torch.log(p)", True),
    ("    p = torch.sigmoid(x); print(1)\n    return torch.log(p)", True),
    ("    p = torch.sigmoid(x)\n    return torch.log(p), locals()", True),
    ("    p = torch.sigmoid(x)\n    def g(): return p\n    return torch.log(p), g", True),
    ("    p = q = torch.sigmoid(x)\n    return torch.log(p), q", True),
]


@pytest.mark.parametrize("index", range(len(UNUSED)))
def test_an_assignment_without_a_use_goes(batch: dict[str, dict[str, bytes]], index: int) -> None:
    text = batch["safe"][f"unused{index}"].decode()
    assert "torch.log(" not in text
    assert ("torch.sigmoid(x)" in text or "torch.exp(x)" in text) == UNUSED[index][1]


# --- text -----------------------------------------------------------------------------------------------------------


TEXTS = [
    b"\xef\xbb\xbfimport torch\n\n\ndef f(x):\n    return torch.log(torch.sigmoid(x))  # \xc3\xa4\n",
    b"# -*- coding: latin-1 -*-\nimport torch\n\n\ndef f(\xe4):\n    return torch.log(torch.sigmoid(\xe4))  # \xfc\n",
    b"import torch\r\n\r\n\r\ndef f(x):\r\n    return torch.log(torch.sigmoid(x))\r\n",
    b"import torch\n\r\n\x0c\ndef f(x):\r    return torch.log(torch.sigmoid(x))\r\n# end",
    b"import torch\n\x0c\n\tdef\n".replace(b"\tdef\n", b"") + b"def f(x):\n\treturn torch.log(torch.sigmoid(x))",
    "import torch\n\n\ndef f(größe):\n    return 'ä', torch.log(torch.sigmoid(größe)), '😀'\n".encode(),
    b"import torch\r\n\r\n\r\ndef f(x, y):\r\n    return torch.log(torch.sigmoid(x -\n        y))\r\n",
]


@pytest.mark.parametrize("index", range(len(TEXTS)))
def test_nothing_else_of_the_text_changes(batch: dict[str, dict[str, bytes]], index: int) -> None:
    source = TEXTS[index]
    old = b"torch.log(torch.sigmoid("
    start = source.index(old)
    end = source.index(b"))", start)
    operand = source[start + len(old) : end]
    wanted = source[:start] + b"torch.nn.functional.logsigmoid(" + operand + source[end + 1 :]
    assert batch["safe"][f"text{index}"] == wanted


TOPS: list[tuple[str, str | None]] = [
    ("", "import torch\ndef f"),
    ("import math\n\n\n", "import math\nimport torch\n\n\ndef f"),
    ('"""Text."""\n', '"""Text."""\n\nimport torch\ndef f'),
    ('"""Text."""\nfrom __future__ import annotations\n', "annotations\nimport torch\ndef f"),
    ("#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n\n", "utf-8 -*-\nimport torch\n\ndef f"),
    ("from os import (\n    path,\n)\nimport re; a = [\n    1]\n", "    1]\nimport torch\ndef f"),
    ("torch = None\n", None),
    ("from torch import log, sigmoid\n", "import log, sigmoid\nimport torch\ndef f"),
    ("from torch.nn.functional import logsigmoid\n", "import logsigmoid\ndef f"),
]


@pytest.mark.parametrize("index", range(len(TOPS)))
def test_the_import_of_torch(batch: dict[str, dict[str, bytes]], index: int) -> None:
    wanted = TOPS[index][1]
    if wanted is None:
        assert f"top{index}" not in batch["all"]
        return
    text = batch["all"][f"top{index}"].decode()
    assert wanted in text
    assert "logsigmoid(x)" in text
    ast.parse(text)
