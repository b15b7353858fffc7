"""Reading: however a loss is written, reading it gives the same term, at its exact place."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

from nanguard.analyse import scan
from nanguard.finding import Span
from nanguard.matching import match, rules
from nanguard.reading.discover import targets
from nanguard.reading.read import Reading, read
from nanguard.settings import Settings

# ruff: noqa: E501 (a loss on one line is easier to compare than one that is broken up)
HEAD = """
import math
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import log as ln
from torch.nn.functional import softmax as soft
from functools import partial
sig = torch.sigmoid
EPS = 1e-7
"""
MATCHER = match.matcher(rules.load())


def reading(body: str, path: str = "loss.py") -> Reading:
    source = HEAD + textwrap.dedent(body)
    tree = ast.parse(source)
    return read(path, source, tree, targets(path, tree))


def codes(body: str) -> set[str]:
    """The rules that match anywhere, before any proof; a match with an exact form hides the others of its place."""
    terms = (place.term for place in reading(body).places)
    bare = (term.args[0] if term.op == "detach" else term for term in terms)  # of what runs without a gradient
    return {found[0].rule.code for term in bare if (found := MATCHER.matches(term))}


LOG_SIGMOID = {
    "function": "def f(x): return torch.log(torch.sigmoid(x))",
    "method": "def f(x): return x.sigmoid().log()",
    "functional": "def f(x): return F.sigmoid(x).log()",
    "special": "def f(x): return torch.log(torch.special.expit(x))",
    "alias": "def f(x): return ln(sig(x))",
    "local alias": "def f(x):\n    s = torch.nn.functional.sigmoid\n    return torch.log(s(x))",
    "keyword": "def f(x): return torch.log(input=torch.sigmoid(input=x))",
    "statements": "def f(x):\n    p = torch.sigmoid(x)\n    q = p\n    return torch.log(q)",
    "helper": "def squash(v): return torch.sigmoid(v)\ndef f(x): return torch.log(squash(x))",
    "helper with a default": "def l(v, eps=1e-8): return torch.log(v + eps)\ndef f(x): return l(torch.sigmoid(x))",
    "nested helper": "def f(x):\n    def inner(v):\n        return torch.log(v)\n    return inner(torch.sigmoid(x))",
    "lambda": "def f(x):\n    l = lambda v: torch.log(v)\n    return l(torch.sigmoid(x))",
    "partial": "def f(x): return partial(torch.log)(torch.sigmoid(x))",
    "by hand": "def f(x): return torch.log(1 / (1 + torch.exp(-x)))",
    "walrus": "def f(x): return torch.log(p := torch.sigmoid(x))",
    "tuple": "def f(x):\n    p, q = torch.sigmoid(x), x\n    return p.log()",
    "if": "def f(x, flag=True):\n    if flag:\n        p = torch.sigmoid(x)\n    else:\n        p = x\n    return p.log()",
    "other side": "def f(x, flag=True):\n    if flag:\n        p = x\n    else:\n        p = torch.sigmoid(x)\n    return p.log()",
    "conditional": "def f(x, flag=True): return torch.log(torch.sigmoid(x) if flag else x)",
    "option": "def f(x, kind='a'):\n    if kind == 'a':\n        return x\n    return torch.sigmoid(x).log()",
    "loop": "def f(xs):\n    t = 0\n    for x in xs:\n        t = t + torch.log(torch.sigmoid(x))\n    return t",
    "while": "def f(x):\n    while True:\n        p = torch.sigmoid(x)\n        return p.log()",
    "comprehension": "def f(xs): return sum(torch.log(torch.sigmoid(x)) for x in xs)",
    "try": "def f(x):\n    try:\n        p = torch.sigmoid(x)\n    finally:\n        pass\n    return p.log()",
    "with": "def f(x):\n    with torch.autograd.set_detect_anomaly(True):\n        return torch.sigmoid(x).log()",
    "match": "def f(x, k):\n    match k:\n        case 1:\n            return torch.sigmoid(x).log()\n    return x",
    "augmented": "def f(x):\n    p = x\n    p += 0\n    return torch.log(torch.sigmoid(p))",
    "in place": "def f(x):\n    p = x.clone()\n    p.sigmoid_()\n    return p.log()",
    "async": "async def f(x): return torch.log(torch.sigmoid(x))",
    "gather": "def f(x, i): return torch.log(torch.sigmoid(x).gather(1, i))",
    "index": "def f(x): return torch.log(torch.sigmoid(x)[:, 0])",
    "cast": "def f(x): return torch.log(torch.sigmoid(x).float())",
    "module": """
        class L(nn.Module):
            def __init__(self):
                super().__init__()
                self.act = nn.Sigmoid()
            def forward(self, x):
                return torch.log(self.act(x))
        """,
    "module made in forward": """
        class L(nn.Module):
            def forward(self, x):
                return torch.log(nn.Sigmoid()(x))
        """,
    "sequential": """
        class L(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = nn.Sequential(nn.Linear(3, 1), nn.Sigmoid())
            def forward(self, x):
                return torch.log(self.net(x))
        """,
    "method of the class": """
        class L(nn.Module):
            def squash(self, x):
                return torch.sigmoid(x)
            def forward(self, x):
                return self.squash(x).log()
        """,
    "base class": """
        class Base(nn.Module):
            def __init__(self, eps=1e-8):
                super().__init__()
                self.eps = eps
        class L(Base):
            def __init__(self):
                super().__init__(eps=1e-9)
            def forward(self, x):
                return torch.log(torch.sigmoid(x) + self.eps)
        """,
    "super": """
        class Base(nn.Module):
            def forward(self, x):
                return torch.sigmoid(x)
        class L(Base):
            def forward(self, x):
                return super().forward(x).log()
        """,
    "property": """
        class L(nn.Module):
            @property
            def act(self):
                return torch.sigmoid
            def forward(self, x):
                return torch.log(self.act(x))
        """,
}


@pytest.mark.parametrize("body", LOG_SIGMOID.values(), ids=LOG_SIGMOID.keys())
def test_log_sigmoid_is_seen(body: str) -> None:
    assert "NG101" in codes(body)


UNSEEN = {
    "another function": "def f(x): return torch.log(torch.tanh(x))",
    "overwritten": "def f(x):\n    p = torch.sigmoid(x)\n    p = x\n    return torch.log(p)",
    "changed in place": "def f(x):\n    p = torch.sigmoid(x)\n    p.add_(2)\n    return torch.log(p)",
    "path that raises": "def f(x):\n    if x is None:\n        raise ValueError\n    return x",
    "shadowed": "def f(x):\n    sig = torch.tanh\n    return torch.log(sig(x))",
    "another's sigmoid": "import other\ndef f(x): return torch.log(other.sigmoid(x))",
    "decided by a constant": "def g(x, on):\n    return torch.sigmoid(x) if on else x + 2\ndef f(x): return torch.log(g(x, False))",
}


@pytest.mark.parametrize("body", UNSEEN.values(), ids=UNSEEN.keys())
def test_what_is_not_log_sigmoid_is_not_taken_for_it(body: str) -> None:
    assert "NG101" not in codes(body)


NARROWED = {
    "raise": "def f(x):\n    x = F.relu(x)\n    if x <= 0:\n        raise ValueError\n    return torch.log(x)",
    "assert": "def f(x):\n    p = F.relu(x)\n    assert (p > 0).all()\n    return torch.log(p)",
    "index": "def f(x):\n    p = F.relu(x)\n    return torch.log(p[p > 0])",
    "where": "def f(x):\n    p = F.relu(x)\n    return torch.log(torch.where(p > 0, p, 1.0))",
    "masked_fill": "def f(x):\n    p = F.relu(x)\n    return torch.log(p.masked_fill(p <= 0, 1.0))",
    "masked_fill, the function": (
        "def f(x):\n    p = torch.masked_fill(F.relu(x) - 1, F.relu(x) - 1 <= 0, 1.0)\n    return torch.log(p)"
    ),
    "where, by keywords": (
        "def f(x):\n    p = F.relu(x) - 1\n    return torch.log(torch.where(condition=p > 0, input=p, other=1.0))"
    ),
    "size": "def f(x): return torch.log(torch.tensor(x.size(0)))",
}


@pytest.mark.parametrize("body", NARROWED.values(), ids=NARROWED.keys())
def test_a_condition_on_the_way_narrows_the_range(body: str) -> None:
    assert "NG201" not in codes(body)


def test_the_span_is_the_expression_in_utf8_bytes() -> None:
    found = reading("def f(x):\n    ü = 'ß'; return -torch.log(torch.sigmoid(x))")
    (place,) = [place for place in found.places if place.term.op == "log"]
    site = found.site(place, caught=False)
    line = HEAD.count("\n") + 2
    assert site.span == Span("loss.py", line, 23, line, 50)
    assert site.text == "torch.log(torch.sigmoid(x))"


def test_the_words_of_the_program_are_kept() -> None:
    found = reading("def f(a, b):\n    score = torch.dot(a, b)\n    return torch.log(torch.sigmoid(score))")
    (place,) = [place for place in found.places if place.term.op == "log"]
    names = found.site(place, caught=False).names
    assert {text for term, text in names.items() if term.op == "dot"} == {"score"}


def test_other_files_of_the_project_are_followed(tmp_path: Path) -> None:
    package = tmp_path / "pkg" / "sub"
    package.mkdir(parents=True)
    for folder in (tmp_path / "pkg", package):
        (folder / "__init__.py").write_text("")
    (tmp_path / "pkg" / "squash.py").write_text(
        "import torch\nEPS = 1e-9\ndef squash(v):\n    return torch.sigmoid(v)\n"
    )
    (package / "base.py").write_text("class Base:\n    def act(self, v):\n        return v.sigmoid()\n")
    bodies = [
        "from ..squash import squash, EPS\ndef f(x): return torch.log(squash(x) + EPS)",
        "from .. import squash\ndef f(x): return torch.log(squash.squash(x))",
        "import pkg.squash\ndef f(x): return torch.log(pkg.squash.squash(x))",
        "from .base import Base\nclass L(Base):\n    def forward(self, x): return self.act(x).log()",
    ]
    for body in bodies:
        path = package / "loss.py"
        source = HEAD + body
        tree = ast.parse(source)
        found = read(str(path), source, tree, targets(str(path), tree))
        seen = {m.rule.code for place in found.places for m in MATCHER.matches(place.term)}
        assert "NG101" in seen, body


AWKWARD = {
    "recursion": "def f(x): return f(x - 1)",
    "mutual recursion": "def f(x): return g(x)\ndef g(x): return f(x)",
    "star arguments": "def g(*a, **k): return a[0]\ndef f(x): return g(*[x, x], **{'a': x})",
    "many branches": "def f(x, " + ", ".join(f"a{i}=None" for i in range(30)) + "):\n"
    + "".join(f"    if a{i} is not None:\n        x = x + a{i}\n" for i in range(30)) + "    return x",
    "deep nesting": "def f(x): return " + "torch.exp(" * 80 + "x" + ")" * 80,
    "del": "def f(x):\n    y = x\n    del y\n    return x",
    "global": "def f(x):\n    global T\n    T = x\n    return T",
    "yield": "def f(x):\n    yield torch.exp(x)\n    y = yield\n    return y",
    "star target": "def f(x):\n    a, *b = x\n    return b",
    "slices": "def f(x): return x[..., 1:-1:2, None, -1]",
    "class in a function": "def f(x):\n    class A:\n        def m(self): return x\n    return A().m()",
    "nonsense": "def f(x): return x.foo.bar[1](2)(3) @ None ** 'a'",
    "huge power": "def f(x): return 10 ** 10 ** 10",
    "type parameters": "def f(x: 'a.b[c]', /, y: int | None = None, *, z=...): return x",
}  # fmt: skip


@pytest.mark.parametrize("body", AWKWARD.values(), ids=AWKWARD.keys())
def test_valid_python_is_read_without_failing(body: str) -> None:
    assert reading(body) is not None


EINSUM = {
    "bik,bkj->bij": "matmul(a, b)",
    "bik,bjk->bij": "matmul(a, transpose(b, dim0=-2, dim1=-1))",
    "ij,ij->i": "sum(a * b, dim=-1, keepdim=False)",
    "ij,ij": "sum(a * b, dim=(-2, -1), keepdim=False)",
    "i,j->ij": "unsqueeze(a, dim=1) * unsqueeze(b, dim=0)",
    "bnd,bd->bn": "sum(a * unsqueeze(b, dim=1), dim=-1, keepdim=False)",
    "ij,ki->jk": "sum(unsqueeze(permute(a, dims=(1, 0)), dim=1) * unsqueeze(b, dim=0), dim=-1, keepdim=False)",
}


@pytest.mark.parametrize(("equation", "expected"), EINSUM.items(), ids=EINSUM.keys())
def test_an_equation_is_the_products_and_sums_that_it_is(equation: str, expected: str) -> None:
    read_as = {repr(place.term) for place in reading(f"def f(a, b): return torch.einsum({equation!r}, a, b)").places}
    assert expected in read_as


@pytest.mark.parametrize("equation", ["...i,i->...", "ii,i->i", "ij,jk,kl,lm->im", "ij"])
def test_an_equation_that_is_not_written_out_is_opaque(equation: str) -> None:
    assert reading(f"def f(a, b): return torch.einsum({equation!r}, a, b)").places == ()


MAXIMA = {
    "without gradient": "@torch.no_grad()\ndef f(x):\n    m, _ = x.max(dim=1, keepdim=True)\n    return (x - m).exp().sum(1)",
    "first of two": "@torch.no_grad()\ndef f(x):\n    return (x - x.max(dim=1, keepdim=True)[0]).exp().sum(1)",
    "of several values": "def f(x, y, k):\n    if k:\n        x = x + y\n    m, _ = x.max(1, keepdim=True)\n    return (x - m).exp().sum(1)",
}


@pytest.mark.parametrize("body", MAXIMA.values(), ids=MAXIMA.keys())
def test_a_maximum_comes_with_its_place_however_it_was_made(body: str) -> None:
    sums = [
        place.term
        for place in reading(body).places
        if isinstance(place.node, ast.Call) and "sum" in ast.unparse(place.node)[-6:]
    ]
    assert sums
    assert all(MATCHER.ranges.interval(total).low == 1 for total in sums)


SHOWN = {
    "printed": "print(torch.log10(e))",
    "logged": "self.log('psnr', -10 * torch.log10(e))",
    "in a text": "self.info(f'psnr {torch.log10(e).item():.2f}')",
    "under a name": "p = torch.log10(e)\n        writer.add_scalar('psnr', p, 1)",
}


@pytest.mark.parametrize("statement", SHOWN.values(), ids=SHOWN.keys())
def test_what_is_shown_and_no_more_is_no_suspect(statement: str) -> None:
    body = f"class L(nn.Module):\n    def forward(self, x, y, writer):\n        e = ((x - y) ** 2).mean()\n        {statement}\n"
    assert suspected(body + "        return e") == set()
    assert suspected(body.replace("forward", "loss") + "        return torch.log10(e)") == {"NG201"}
    assert suspected(body + "        torch.log10(e).backward()") == {"NG201"}


def suspected(body: str) -> set[str]:
    source = HEAD + body
    return {
        found.match.rule.code
        for found in scan("loss.py", source, ast.parse(source), Settings(static=True), None).suspects
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("probabilities in [0, 1]", {"NG201"}),
        ("probabilities,\n            between 0 and 1", {"NG201"}),
        ("log-probabilities of values in [0, 1]", set()),
        ("a weight in [0, 1]", set()),
        ("probabilities", set()),
    ],
)
def test_a_documented_probability_is_one(words: str, expected: set[str]) -> None:
    doc = f'"""Entropy.\n\n    Args:\n        p (Tensor): {words}\n        y: a label\n    """'
    assert codes(f"def f(p, y):\n    {doc}\n    return torch.log(p)") == expected
