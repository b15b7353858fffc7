"""Tracing: terms, exact places, names, what is understood of shapes and contexts, and what is refused."""

from __future__ import annotations

import ast
import importlib
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from nanguard.lazy import load_torch
from nanguard.reading import discover
from nanguard.term import UNKNOWN, show, walk
from nanguard.tracing.deadline import OutOfTime, within, worked
from nanguard.tracing.load import load_module
from nanguard.tracing.trace import Trace, TraceError, trace, trace_target

torch = load_torch()
nn = torch.nn

HEAD = """\
import math
import torch
import torch.nn.functional as F
from torch import nn
from torch import log as ln

"""


def traced(path: Path, text: str, name: str = "loss", **arguments: object) -> Trace:
    """The trace of `name` in a file with this text after the imports of HEAD."""
    source = HEAD + dedent(text)
    path.write_text(source, encoding="utf-8")
    module = load_module(str(path), source)
    found = {target.name: target for target in discover.targets(str(path), ast.parse(source))}
    if arguments:
        return trace(getattr(module, name), arguments=arguments)
    return trace_target(module, found[name if name in found else f"{name}.forward"])[0]  # type: ignore[return-value]


def result(found: Trace) -> str:
    """The term of what a graph returns, as text."""
    output = next(node for node in found.graph.nodes if node.op == "output")
    return show(found.terms[output.args[0]])


SPELLINGS = [
    ("return torch.log(torch.sigmoid(x))", "log(sigmoid(x))"),
    ("return x.sigmoid().log()", "log(sigmoid(x))"),
    ("return ln(F.sigmoid(x))", "log(sigmoid(x))"),
    ("return nn.Sigmoid()(x).log()", "log(sigmoid(x))"),
    ("return torch.special.expit(input=x)", "sigmoid(x)"),
    ("sig = torch.sigmoid\n    return sig(x)", "sigmoid(x)"),
    ("return torch.rsub(x, 1)", "1 - x"),
    ("return x.neg().add(1)", "-x + 1"),
    ("return torch.add(x, y, alpha=2)", "x + 2 * y"),
    ("return 2 ** x - 1 / y", "2 ** x - 1 / y"),
    ("return torch.ones_like(x) - x", "ones(size=?) - x"),
    ("return x.clamp(min=1e-8)", "clamp(x, 1e-08, None)"),
    ("return F.softplus(x, beta=2.0)", "softplus(2.0 * x) / 2.0"),
    ("return x.sum(0, keepdim=True)", "sum(x, dim=0, keepdim=True)"),
    ("return torch.mean(x, axis=1)", "mean(x, dim=1, keepdim=False)"),
    ("return x[0]", "index(x, key=0)"),
    ("return x[..., None, 1:3]", "index(x, key=('...', None, ('slice', 1, 3, None)))"),
    ("return x[x > 0]", "masked_select(x, x > 0)"),
    ("return x.max(1)[0]", "amax(x, dim=1, keepdim=False)"),
    ("return x.max(dim=1).values", "amax(x, dim=1, keepdim=False)"),
    ("return torch.max(x, y)", "maximum(x, y)"),
    ("return torch.cat([x, y], dim=1)", "stack(x, y)"),
    ("return x.T @ y", "matmul(t(x), y)"),
    ("return torch.where(x > 0, x, 0.5)", "where(x > 0, x, 0.5)"),
    ("return x.masked_fill(y > 0, 0.5)", "where(y > 0, 0.5, x)"),
    ("return -abs(x)", "-abs(x)"),
    ("return x * math.pi", "x * 3.141592653589793"),
    ("return nn.Softmax(dim=-1)(x)", "softmax(x, dim=-1)"),
    ("return x.relu_() + x", "relu(x) + relu(x)"),
    ("return x.zero_()", "0.0"),
    ("return torch.tensor(2.0) * x", "to(2.0) * x"),
    ("return torch.distributions.Normal(x, y.exp()).scale.log()", "log(exp(y))"),
]


@pytest.mark.parametrize("body, expected", SPELLINGS)
def test_terms(tmp_path: Path, body: str, expected: str) -> None:
    assert result(traced(tmp_path / "m.py", f"def loss(x, y):\n    {body}\n")) == expected


def test_places_are_exact_to_the_column(tmp_path: Path) -> None:
    text = """
    def helper(z):
        return torch.sigmoid( z )

    def loss(x, y):
        ünï = helper(x)
        # ä comment
        total = (torch.log(ünï)
                 .mul(y)
                 .sum(
                     dim=0))
        total += 1.0
        return -total.exp(), x.T
    """
    found = traced(tmp_path / "m.py", text)
    lines = (HEAD + dedent(text)).encode().split(b"\n")
    for site in found.sites:
        span = site.span
        inside = lines[span.line - 1 : span.end_line]
        inside[-1] = inside[-1][: span.end_column]
        inside[0] = inside[0][span.column :]
        assert site.text == " ".join(b"\n".join(inside).decode().split())
    assert [site.text for site in found.sites] == [
        "torch.sigmoid( z )",
        "torch.log(ünï)",
        "torch.log(ünï) .mul(y)",
        "torch.log(ünï) .mul(y) .sum( dim=0)",
        "total += 1.0",
        "total.exp()",
        "-total.exp()",
        "x.T",
    ]
    first = found.sites[0].span
    assert (first.path, first.line, first.column) == (str(tmp_path / "m.py"), 8 + 1, 11)


def test_places_inside_modules_are_the_users(tmp_path: Path) -> None:
    text = """
    class Loss(nn.Module):
        def __init__(self, weight=0.5):
            super().__init__()
            self.sigmoid = nn.Sigmoid()
            self.bce = nn.BCELoss(reduction="sum")
            self.layers = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
            self.weight = weight

        def forward(self, x, target):
            p = self.sigmoid(self.layers(x))
            return self.weight * self.bce(p, target)
    """
    found = traced(tmp_path / "m.py", text, "Loss")
    assert found.name == "Loss.forward"
    texts = {site.text: site.term.op for site in found.sites}
    assert texts == {
        "self.layers(x)": "tanh",
        "self.sigmoid(self.layers(x))": "sigmoid",
        "self.bce(p, target)": "binary_cross_entropy",
        "self.weight * self.bce(p, target)": "mul",
    }
    last = found.sites[-1].term
    assert last.args[0].value == 0.5
    assert last.args[1].attr("reduction") == "sum"
    assert any(node.op == "opaque" and node.name == "layers_0" for node in walk(last))


def test_names_are_those_of_the_place(tmp_path: Path) -> None:
    text = """
    def helper(z):
        inner = z * 2
        return inner.log()

    def loss(x, y):
        p = torch.sigmoid(x + y)
        return helper(p)
    """
    found = traced(tmp_path / "m.py", text)
    names = {site.text: {show(term): name for term, name in site.names.items()} for site in found.sites}
    assert names["torch.sigmoid(x + y)"] == {"x": "x", "y": "y", "x + y": "x + y"}
    assert names["inner.log()"] == {"sigmoid(x + y)": "z", "sigmoid(x + y) * 2": "inner"}


def test_sites_whose_nan_is_caught(tmp_path: Path) -> None:
    text = """
    def loss(x, y):
        a = x.log()
        b = y.log()
        return torch.where(torch.isnan(a), 0.0, a * 2), b
    """
    found = traced(tmp_path / "m.py", text)
    assert {site.text: site.caught for site in found.sites if "log" in site.text} == {
        "x.log()": True,
        "y.log()": False,
    }


IN_PLACE = [
    ("p = x.sigmoid()\n    p.clamp_(0.1, 0.9)\n    return p.log()", "log(clamp(sigmoid(x), 0.1, 0.9))"),
    ("p = x.sigmoid()\n    q = p\n    q += 1\n    return p.log()", "log(sigmoid(x) + 1)"),
    ("p = x.sigmoid()\n    q = p.clone()\n    q.zero_()\n    return p.log()", "log(sigmoid(x))"),
    ("p = x.sigmoid()\n    torch.exp(y, out=p)\n    return p.log()", "log(exp(y))"),
    ("p = x.sigmoid()\n    p[y > 0] = 1\n    return p.log()", "log(overwrite(sigmoid(x), y > 0, 1))"),
    ("p = x.sigmoid()\n    p.copy_(y)\n    return p.log()", "log(y)"),
    ("return F.relu(x, inplace=True) + x", "relu(x) + relu(x)"),
]


@pytest.mark.parametrize("body, expected", IN_PLACE)
def test_a_write_in_place_is_seen_under_every_name(tmp_path: Path, body: str, expected: str) -> None:
    assert result(traced(tmp_path / "m.py", f"def loss(x, y):\n    {body}\n")) == expected


@pytest.mark.parametrize(
    "body",
    [
        "p = x.sigmoid()\n    p.view(-1).zero_()\n    return p.log()",
        "p = x.sigmoid()\n    p[0] = 1\n    return p.log()",
        "p = x.sigmoid()\n    q = p[0]\n    p.zero_()\n    return q.log()",
    ],
)
def test_a_write_through_a_view_leaves_an_unknown(tmp_path: Path, body: str) -> None:
    found = traced(tmp_path / "m.py", f"def loss(x, y):\n    {body}\n")
    assert result(found).startswith("log(opaque(")


def test_equal_names_of_the_table_are_not_equal_values(tmp_path: Path) -> None:
    text = """
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x, y):
            u = F.linear(x, x), F.linear(x, y)
            r = torch.rand_like(x), torch.rand_like(x)
            s = x.size(0), x.size(1), x.shape[1]
            return self.a(x), self.b(x), *u, *r, *s
    """
    found = traced(tmp_path / "m.py", text, "Loss")
    output = next(node for node in found.graph.nodes if node.op == "output")
    a, b, u, v, r, q, n, m, k = (found.terms[node] for node in output.args[0])
    assert len({a, b, u, v, r, q, n, m}) == 8
    assert m is k
    assert m.attr("kind") == "size"


CONTEXTS = [
    ("if isinstance(x, torch.Tensor): return x.log()\n    return x", "log(x)"),
    ("if torch.is_tensor(x): return x.log()\n    return x", "log(x)"),
    ("if isinstance(x, (int, float)): return x\n    return x.log()", "log(x)"),
    ("if x.dtype is torch.float32: return x.log()\n    return x", "log(x)"),
    ("return x + torch.finfo(x.dtype).eps", "x + 1.1920928955078125e-07"),
    ("return x.to(y.device).log()", "log(to(x, dtype='cpu'))"),
    ("if x.is_floating_point(): return x.log()\n    return x", "log(x)"),
    ("if hasattr(x, 'no_such'): return x\n    return x.log()", "log(x)"),
    ("b, c = x.shape\n    return x.sum() / c", "sum(x, keepdim=False) / x.shape[1]"),
    ("if x.dim() > 9: return x\n    return x.log()", "log(x)"),
    ("assert x.shape == y.shape\n    return x.log()", "log(x)"),
    ("if len(x.shape) < 1 or x.size(0) > 99: return x\n    return x.log()", "log(x)"),
    ("for i in range(x.dim() - x.dim() + 1): x = x.exp()\n    return x", "exp(x)"),
    ("return x.mean() if reduction == 'mean' else x.sum()", "mean(x, keepdim=False)"),
    ("return x if weight is None else x * weight", "x"),
    ("i = torch.arange(2, 4).tolist()\n    return x * i[1]", "x * 3"),
]


@pytest.mark.parametrize("body, expected", CONTEXTS)
def test_what_symbols_alone_get_wrong(tmp_path: Path, body: str, expected: str) -> None:
    signature = "x, y=torch.ones(4), weight=None, *, reduction='mean'"
    found = traced(tmp_path / "m.py", f"def loss({signature}):\n    {body}\n")
    assert result(found).replace("x_1", "x") == expected


def test_what_was_read_of_the_inputs_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    x = torch.ones(2, 3)
    assert traced(path, "def loss(x):\n    return x.log()\n", x=x).reads == frozenset()
    assert traced(path, "def loss(x):\n    return x.sum() / x.size(0)\n", x=x).reads == frozenset()
    assert traced(path, "def loss(x):\n    return x.sum(x.dim() - 1)\n", x=x).reads == {"dim"}
    assert traced(path, "def loss(x):\n    return x if x.size(0) > 3 else x + 1\n", x=x).reads == {"shape"}
    assert traced(path, "def loss(x):\n    return x.new_zeros(1, device=x.device)\n", x=x).reads == {"device"}


def test_grad_mode_is_recorded() -> None:
    def loss(x):
        with torch.no_grad():
            weight = torch.sigmoid(x)
        return x * weight

    found = trace(loss)
    x = torch.tensor([0.5, -2.0], requires_grad=True)
    (expected,) = torch.autograd.grad(loss(x).sum(), x)
    (computed,) = torch.autograd.grad(found.module.forward(x).sum(), x)
    assert torch.equal(expected, computed)
    assert torch.is_grad_enabled()


REFUSED = [
    ("if x.sum() > 0:\n        return x\n    return -x", 8, "control flow on the value of a tensor"),
    ("y = 1\n    return x * float(x.max())", 9, "takes the value of a tensor as a Python number"),
    ("return x.tolist()", 8, "`.tolist` takes the entries of a tensor out of torch"),
    ("with torch.autocast('cpu'):\n        return x @ x", 9, "autocast or inference mode is switched inside"),
    ("return x if x.requires_grad else -x", 8, "reads `.requires_grad` of a tensor"),
    ("return torch.log(undefined)", 8, "NameError: name 'undefined' is not defined"),
    ("raise ValueError('two\\nlines')", 8, "ValueError: two"),
    ("return helper(x)", 12, "control flow on the value of a tensor"),
    ("KEPT.add_(1)\n    return x + KEPT", 8, "writes into a tensor that is neither an argument nor made here"),
]


@pytest.mark.parametrize("body, line, reason", REFUSED)
def test_refused_with_the_line_and_the_reason(tmp_path: Path, body: str, line: int, reason: str) -> None:
    text = f"def loss(x):\n    {body}\nKEPT = torch.zeros(1)\n\ndef helper(x):\n    return 1 if x[0] else 2\n"
    path = tmp_path / "m.py"
    path.write_text(HEAD + text)
    loss = load_module(str(path), HEAD + text).loss
    with pytest.raises(TraceError) as caught:
        trace(loss)
    assert str(caught.value).startswith(f"{tmp_path / 'm.py'}:{line}: {reason}")
    assert "\n" not in str(caught.value)


TARGETS = [
    ("def loss(): return 1", "takes no tensor"),
    ("def loss(x): raise ValueError('no data')", "m.py:7: ValueError: no data"),
    ("def other(x):\n    def loss(y): return y\n    return loss(x)", "other.loss is defined inside a function"),
]


@pytest.mark.parametrize("text, reason", TARGETS)
def test_targets_that_cannot_be_made(tmp_path: Path, text: str, reason: str) -> None:
    name = "other.loss" if "other" in text else "loss"
    with pytest.raises(TraceError, match=reason):
        traced(tmp_path / "m.py", text, name)


def test_methods_of_other_classes(tmp_path: Path) -> None:
    text = """
    class Trainer:
        eps = 1e-8

        def loss(self, x):
            return torch.log(x + self.eps)

        @staticmethod
        def plain(x):
            return x.exp()

        @classmethod
        def of_class(cls, x):
            return x * cls.eps
    """
    assert result(traced(tmp_path / "m.py", text, "Trainer.loss")) == "log(x + 1e-08)"
    assert result(traced(tmp_path / "m.py", text, "Trainer.plain")) == "exp(x)"
    assert result(traced(tmp_path / "m.py", text, "Trainer.of_class")) == "x * 1e-08"


def test_tracing_leaves_a_module_as_it_was() -> None:
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)
            self.register_buffer("center", torch.zeros(3))
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            self.last = self.norm(x)
            self.center = self.center * 0.9 + self.last.mean(0)
            return self.last - self.center

    loss = Loss()
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    found = trace(loss, arguments={"x": torch.randn(4, 3)})
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())
    assert (loss.calls, hasattr(loss, "last")) == (0, False)
    assert set(found.effects) == {"it assigns `calls`", "it assigns `last`", "it assigns `center`"}


def test_tracing_does_not_touch_the_random_numbers_or_the_inputs() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    x = torch.ones(2)
    trace(lambda x: x.add_(torch.randn(2)), arguments={"x": x})
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(x, torch.ones(2))


def test_tensors_and_modules_of_elsewhere() -> None:
    scale, layer = torch.tensor([2.0]), nn.Linear(2, 2)

    def loss(x):
        return layer(x) * scale + torch.log(scale)

    found = trace(loss)
    x = torch.randn(3, 2)
    assert torch.equal(found.module.forward(x), loss(x))
    assert {id(value) for value in found.extra.values()} == {id(scale), id(layer)}


def test_the_graph_computes_what_the_callable_does() -> None:
    def loss(pair, scale=2.0, *more, **options):
        x, y = pair
        return {"value": x * y * scale + sum(more), "rest": options["z"]}

    x, y, z = torch.ones(2), torch.ones(2) * 3, torch.zeros(1)
    found = trace(loss, arguments={"pair": [x, y], "more": (x, y), "options": {"z": z}})
    assert found.arguments.names == ("pair_0", "pair_1", "more_0", "more_1", "options_0")
    computed = found.module.forward(x, y, x, y, z)
    assert torch.equal(computed["value"], loss([x, y], 2.0, x, y, z=z)["value"])
    assert torch.equal(computed["rest"], z)


def test_no_unknown_stands_for_two_tensors(tmp_path: Path) -> None:
    found = traced(tmp_path / "m.py", "def loss(x, i):\n    return x.gather(1, i)\n")
    (site,) = found.sites
    assert dict(site.term.attrs) == {"dim": 1, "index": UNKNOWN}


def test_an_import_is_not_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import time\nend = time.thread_time() + 0.5\nwhile time.thread_time() < end: pass\nwhole = True\n"
    (tmp_path / "takes_long.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run() -> None:
        with within(0.1):
            importlib.import_module("takes_long")
            time.sleep(30)

    with pytest.raises(OutOfTime):
        run()
    assert sys.modules.pop("takes_long").whole


def test_waiting_for_a_processor_is_no_work() -> None:
    began, clock = worked(), time.monotonic()
    time.sleep(0.2)
    assert 0.04 < worked() - began < 0.5 * (time.monotonic() - clock)
