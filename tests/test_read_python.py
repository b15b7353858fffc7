"""Reading: every way in which Python lets a loss be put together is followed, and conditions on the way are used."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from test_read import codes, reading

from nanguard.reading.discover import targets
from nanguard.reading.read import read
from nanguard.term import walk

# ruff: noqa: E501 (a loss on one line is easier to compare than one that is broken up)
# Each computes log(sigmoid(x)) at some place, in a way of its own.
FOLLOWED = {
    "decorator unknown": "@weighted_loss\ndef f(x): return torch.log(torch.sigmoid(x))",
    "decorator guard": "import nanguard\n@nanguard.guard\ndef f(x): return torch.log(torch.sigmoid(x))",
    "jit": "@torch.jit.script\ndef f(x): return torch.log(torch.sigmoid(x))",
    "decorated helper": "@deco\ndef g(v): return torch.sigmoid(v)\ndef f(x): return torch.log(g(x))",
    "decorated nested": "def f(x):\n    @deco\n    def g(v): return torch.log(torch.sigmoid(v))\n    return g(x)",
    "nested uncalled": "def make():\n    def inner(v):\n        return torch.log(torch.sigmoid(v))\n    return inner",
    "nested uncalled closure": "def make(act):\n    s = torch.sigmoid\n    def inner(v):\n        return torch.log(s(v))\n    return inner",
    "lambda module": "f = lambda v: torch.log(torch.sigmoid(v))",
    "lambda default": "def f(x, g=lambda v: torch.log(torch.sigmoid(v))): return g(x)",
    "lambda in dict": "T = {'a': lambda v: torch.log(torch.sigmoid(v))}",
    "lambda in call": "def f(xs): return list(map(lambda v: torch.log(torch.sigmoid(v)), xs))",
    "lambda uncalled": "def f():\n    return lambda v: torch.log(torch.sigmoid(v))",
    "class attr lambda": "class A:\n    act = lambda self, v: torch.log(torch.sigmoid(v))",
    "set comp": "def f(xs): return {torch.log(torch.sigmoid(x)) for x in xs}",
    "dict comp": "def f(xs): return {k: torch.log(torch.sigmoid(x)) for k, x in xs.items()}",
    "async method": "class A:\n    async def f(self, x):\n        return torch.log(torch.sigmoid(await x))",
    "async for": "async def f(xs):\n    async for x in xs:\n        t = torch.log(torch.sigmoid(x))\n    return t",
    "async with": "async def f(x):\n    async with lock:\n        return torch.log(torch.sigmoid(x))",
    "match bound": "def f(x):\n    match x:\n        case (a, b):\n            return torch.log(torch.sigmoid(a))\n        case y:\n            return y",
    "match option": "def f(x, kind='a'):\n    match kind:\n        case 'a':\n            p = torch.sigmoid(x)\n        case _:\n            p = x\n    return torch.log(p)",
    "star args": "def g(a, b): return torch.log(a)\ndef f(x): return g(*[torch.sigmoid(x), x])",
    "star kwargs": "def g(a=None, b=None): return torch.log(b)\ndef f(x): return g(**{'b': torch.sigmoid(x)})",
    "var args": "def f(*xs): return torch.log(torch.sigmoid(xs[0]))",
    "kwargs item": "def f(**kw): return torch.log(torch.sigmoid(kw['x']))",
    "aug add": "def f(x):\n    t = 0\n    t += torch.log(torch.sigmoid(x))\n    return t",
    "aug div": "def f(x):\n    p = 1\n    p /= 1 + torch.exp(-x)\n    return p.log()",
    "nested tuple": "def f(x):\n    (a, (b, c)) = x, (torch.sigmoid(x), x)\n    return b.log()",
    "star target": "def f(x):\n    a, *b = torch.sigmoid(x), x\n    return a.log()",
    "with as": "def f(x):\n    with ctx() as c:\n        p = torch.sigmoid(x)\n    return p.log()",
    "try body": "def f(x):\n    try:\n        p = torch.sigmoid(x)\n    except ValueError as e:\n        p = x\n    else:\n        q = 1\n    finally:\n        r = 2\n    return p.log()",
    "try handler": "def f(x):\n    try:\n        p = g(x)\n    except ValueError:\n        p = torch.sigmoid(x)\n    return p.log()",
    "while loop": "def f(x, n):\n    i = 0\n    while i < n:\n        p = torch.sigmoid(x)\n        i += 1\n    return p.log()",
    "for else": "def f(xs):\n    for x in xs:\n        break\n    else:\n        return torch.log(torch.sigmoid(xs))\n    return x",
    "break": "def f(xs):\n    for x in xs:\n        p = torch.sigmoid(x)\n        if p is None:\n            break\n    return p.log()",
    "loop list": "def f(xs):\n    out = []\n    for x in xs:\n        out.append(torch.sigmoid(x))\n    return torch.log(out[0])",
    "loop stack": "def f(xs):\n    out = []\n    for x in xs:\n        out.append(torch.sigmoid(x))\n    return torch.log(torch.stack(out))",
    "loop cat": "def f(xs):\n    out = []\n    for x in xs:\n        out += [torch.sigmoid(x)]\n    return torch.log(torch.cat(out, dim=0))",
    "comp stack": "def f(xs):\n    return torch.log(torch.stack([torch.sigmoid(x) for x in xs]))",
    "early return": "def f(x, k=None):\n    if k is None:\n        return x\n    p = torch.sigmoid(x)\n    return p.log()",
    "elif": "def f(x, k='a'):\n    if k == 'a':\n        p = x\n    elif k == 'b':\n        p = torch.sigmoid(x)\n    else:\n        raise ValueError(k)\n    return p.log()",
    "unknown test": "def f(x, k):\n    if k > 3:\n        p = torch.sigmoid(x)\n    else:\n        p = x\n    return p.log()",
    "global const": "E = 1e-8\ndef f(x): return torch.log(torch.sigmoid(x) + E)",
    "class const": "class L(nn.Module):\n    E = 1e-8\n    def forward(self, x): return torch.log(torch.sigmoid(x) + self.E)",
    "class const by name": "class L(nn.Module):\n    E = 1e-8\n    def forward(self, x): return torch.log(torch.sigmoid(x) + L.E)",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass C:\n    eps: float = 1e-8\n    def f(self, x): return torch.log(torch.sigmoid(x) + self.eps)",
    "dataclass made": "from dataclasses import dataclass\n@dataclass\nclass C:\n    act: object\ndef f(x):\n    c = C(torch.sigmoid)\n    return torch.log(c.act(x))",
    "dataclass field()": "from dataclasses import dataclass, field\n@dataclass\nclass C:\n    eps: float = field(default=1e-8)\n    def f(self, x): return torch.log(torch.sigmoid(x) + self.eps)",
    "default None": "def f(x, eps=None):\n    if eps is None:\n        eps = 1e-8\n    return torch.log(torch.sigmoid(x) + eps)",
    "default or": "def f(x, eps=None):\n    eps = eps or 1e-8\n    return torch.log(torch.sigmoid(x) + eps)",
    "modulelist": "class L(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.acts = nn.ModuleList([nn.Sigmoid()])\n    def forward(self, x):\n        for a in self.acts:\n            x = a(x)\n        return x.log()",
    "moduledict": "class L(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.acts = nn.ModuleDict({'s': nn.Sigmoid()})\n    def forward(self, x):\n        return self.acts['s'](x).log()",
    "sequential ordered": "from collections import OrderedDict\nclass L(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.net = nn.Sequential(OrderedDict([('a', nn.Sigmoid())]))\n    def forward(self, x):\n        return self.net(x).log()",
    "submodule of the file": "class S(nn.Module):\n    def forward(self, x): return torch.sigmoid(x)\nclass L(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.s = S()\n    def forward(self, x): return self.s(x).log()",
    "attr function": "class L(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.s = torch.sigmoid\n    def forward(self, x): return self.s(x).log()",
    "option picks function": "class L(nn.Module):\n    def __init__(self, kind='a'):\n        super().__init__()\n        if kind == 'a':\n            self.s = torch.tanh\n        else:\n            self.s = torch.sigmoid\n    def forward(self, x): return self.s(x).log()",
    "table of functions": "T = {'s': torch.sigmoid}\ndef f(x): return T['s'](x).log()",
    "staticmethod": "class A:\n    @staticmethod\n    def s(x): return torch.sigmoid(x)\n    def f(self, x): return A.s(x).log()",
    "classmethod": "class A:\n    @classmethod\n    def s(cls, x): return torch.sigmoid(x)\n    def f(self, x): return self.s(x).log()",
    "classmethod by cls": "class A:\n    @classmethod\n    def s(cls, x): return torch.sigmoid(x)\n    @classmethod\n    def f(cls, x): return cls.s(x).log()",
    "unbound method": "class B(nn.Module):\n    def forward(self, x): return torch.sigmoid(x)\nclass A(B):\n    def forward(self, x): return B.forward(self, x).log()",
    "property value": "class A:\n    @property\n    def p(self): return torch.sigmoid(self.x)\n    def f(self): return self.p.log()",
    "partial kw": "def l(v, eps): return torch.log(v + eps)\ng = partial(l, eps=1e-8)\ndef f(x): return g(torch.sigmoid(x))",
    "conditional def": "try:\n    import foo\nexcept ImportError:\n    def f(x): return torch.log(torch.sigmoid(x))",
    "if main": "if True:\n    def f(x): return torch.log(torch.sigmoid(x))",
    "redefined": "def f(x): return torch.log(torch.sigmoid(x))\ndef f(x): return x",
    "overload": "from typing import overload\n@overload\ndef f(x: int): ...\n@overload\ndef f(x: str): ...\ndef f(x): return torch.log(torch.sigmoid(x))",
    "del": "def f(x):\n    s = torch.tanh\n    del s\n    return torch.log(torch.sigmoid(x))",
    "map": "def f(xs): return [torch.log(p) for p in map(torch.sigmoid, xs)]",
    "zip": "def f(xs, ys): return [torch.log(torch.sigmoid(a)) for a, b in zip(xs, ys)]",
    "enumerate": "def f(xs): return [torch.log(torch.sigmoid(a)) for i, a in enumerate(xs)]",
    "slice assign": "def f(x):\n    p = torch.zeros(3)\n    p[:2] = torch.log(torch.sigmoid(x))\n    return p",
    "out list index assign": "def f(x):\n    out = [None] * 3\n    out[0] = torch.sigmoid(x)\n    return out[0].log()",
    "dict store": "def f(x):\n    d = {}\n    d['p'] = torch.sigmoid(x)\n    return d['p'].log()",
    "cond import": "try:\n    from torch import sigmoid as sg\nexcept ImportError:\n    sg = None\ndef f(x): return torch.log(sg(x))",
    "recursion": "def f(x, n): return f(torch.log(torch.sigmoid(x)), n - 1) if n else x",
    "in-place chain": "def f(x): return x.sigmoid_().log_()",
    "subscript chain": "def f(b): return torch.log(torch.sigmoid(b['x'][0].y))",
    "ifexp": "def f(x, k): return torch.log(torch.sigmoid(x)) if k else x",
    "bool op value": "def f(x, k): return k and torch.log(torch.sigmoid(x))",
    "assert msg": "def f(x):\n    assert x is not None, 'a'\n    return torch.log(torch.sigmoid(x))",
    "isinstance": "def f(x):\n    if isinstance(x, tuple):\n        x = x[0]\n    return torch.log(torch.sigmoid(x))",
    "hasattr": "def f(self, x):\n    if hasattr(self, 'a'):\n        return torch.log(torch.sigmoid(x))\n    return x",
    "while true break": "def f(x):\n    while True:\n        p = torch.sigmoid(x)\n        break\n    return p.log()",
    "continue": "def f(xs):\n    t = 0\n    for x in xs:\n        if x is None:\n            continue\n        t = t + torch.log(torch.sigmoid(x))\n    return t",
    "numel loop": "def f(x):\n    for i in range(x.size(0)):\n        y = torch.log(torch.sigmoid(x[i]))\n    return y",
    "super init args": "class B(nn.Module):\n    def __init__(self, act):\n        super().__init__()\n        self.act = act\nclass L(B):\n    def __init__(self):\n        super().__init__(torch.sigmoid)\n    def forward(self, x): return self.act(x).log()",
    "old super": "class B(nn.Module):\n    def forward(self, x): return torch.sigmoid(x)\nclass L(B):\n    def forward(self, x): return super(L, self).forward(x).log()",
    "setattr": "class L(nn.Module):\n    def __init__(self):\n        super().__init__()\n        setattr(self, 'act', nn.Sigmoid())\n    def forward(self, x): return self.act(x).log()",
    "getattr torch": "def f(x): return torch.log(getattr(torch, 'sigmoid')(x))",
    "getattr F": "def f(x, name='sigmoid'): return torch.log(getattr(torch, name)(x))",
    "yield": "def f(xs):\n    for x in xs:\n        yield torch.log(torch.sigmoid(x))",
    "generator used": "def g(xs):\n    for x in xs:\n        yield torch.sigmoid(x)\ndef f(xs): return [torch.log(p) for p in g(xs)]",
    "return tuple": "def g(x): return torch.sigmoid(x), x\ndef f(x):\n    p, _ = g(x)\n    return p.log()",
    "return dict": "def g(x): return {'p': torch.sigmoid(x)}\ndef f(x): return g(x)['p'].log()",
    "namedtuple": "from typing import NamedTuple\nclass O(NamedTuple):\n    p: object\ndef g(x): return O(p=torch.sigmoid(x))\ndef f(x): return g(x).p.log()",
    "global stmt": "P = None\ndef f(x):\n    global P\n    P = torch.sigmoid(x)\n    return P.log()",
    "checkpoint": "from torch.utils.checkpoint import checkpoint\ndef f(x): return torch.log(checkpoint(torch.sigmoid, x))",
    "lambda immediately": "def f(x): return (lambda v: torch.log(v))(torch.sigmoid(x))",
    "method alias": "def f(x):\n    g = x.sigmoid\n    return g().log()",
    "class in function": "def f(x):\n    class A:\n        def m(self, v): return torch.log(torch.sigmoid(v))\n    return A().m(x)",
    "autograd function": "class G(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x): return torch.log(torch.sigmoid(x))\n    @staticmethod\n    def backward(ctx, g): return g",
    "pos only": "def f(x, /): return torch.log(torch.sigmoid(x))",
    "kw only": "def f(*, x): return torch.log(torch.sigmoid(x))",
    "moved model": "class N(nn.Module):\n    def forward(self, x): return torch.sigmoid(x)\ndef f(x, device):\n    n = N().to(device).eval()\n    return n(x).log()",
    "moved module of torch": "def f(x):\n    n = nn.Sequential(nn.Linear(3, 1), nn.Sigmoid()).cuda()\n    return n(x).log()",
    "wrapped model": "class N(nn.Module):\n    def forward(self, x): return torch.sigmoid(x)\ndef f(x):\n    n = nn.DataParallel(N())\n    return n(x).log()",
    "compiled copy": "import copy\nclass N(nn.Module):\n    def forward(self, x): return torch.sigmoid(x)\ndef f(x): return torch.compile(copy.deepcopy(N()))(x).log()",
    "list of layers": "class L(nn.Module):\n    def __init__(self, kind):\n        super().__init__()\n        layers = []\n        for n in kind:\n            layers.append(nn.Linear(n, n))\n        layers.append(nn.Sigmoid())\n        self.net = nn.Sequential(*layers)\n    def forward(self, x): return self.net(x).log()",
    "added module": "class L(nn.Module):\n    def __init__(self, kind):\n        super().__init__()\n        self.net = nn.Sequential()\n        self.net.add_module('a', nn.Linear(3, 1))\n        self.net.add_module('b', nn.Sigmoid())\n    def forward(self, x): return self.net(x).log()",
    "module added to a model": "class L(nn.Module):\n    def __init__(self, kind):\n        super().__init__()\n        self.add_module('act', nn.Sigmoid())\n    def forward(self, x): return self.act(x).log()",
    "module of a branch": "class L(nn.Module):\n    def __init__(self, kind):\n        super().__init__()\n        if kind == 'a':\n            self.act = nn.Sigmoid()\n        else:\n            self.act = nn.Identity()\n    def forward(self, x): return self.act(x).log()",
    "function of a branch": "def f(x, kind):\n    act = torch.sigmoid if kind else torch.tanh\n    return act(x).log()",
    "table and option": "T = {'s': torch.sigmoid, 't': torch.tanh}\ndef f(x, kind='s'): return T[kind](x).log()",
    "table and any key": "T = {'t': torch.tanh, 's': torch.sigmoid}\ndef f(x, kind): return T[kind](x).log()",
    "collections.namedtuple": "from collections import namedtuple\nO = namedtuple('O', ['p', 'x'])\ndef g(x): return O(p=torch.sigmoid(x), x=x)\ndef f(x): return g(x).p.log()",
    "unpacked namedtuple": "from collections import namedtuple\nO = namedtuple('O', 'p x')\ndef g(x): return O(torch.sigmoid(x), x)\ndef f(x):\n    p, _ = g(x)\n    return p.log()",
    "completed by an heir": "class B(nn.Module):\n    def p(self, x): raise NotImplementedError\n    def forward(self, x): return self.p(x).log()\nclass L(B):\n    def p(self, x): return torch.sigmoid(x)",
    "type: numpy": "def f(x): return torch.log(torch.sigmoid(torch.as_tensor(x)))",
}


@pytest.mark.parametrize("body", FOLLOWED.values(), ids=FOLLOWED.keys())
def test_the_construct_is_followed(body: str) -> None:
    assert "NG101" in codes(body)


# A divisor that is 0 only where the condition excludes it, or a logarithm of what the condition keeps from 0.
EXCLUDED = {
    "raise": "def f(x):\n    x = F.relu(x)\n    if x <= 0:\n        raise ValueError\n    return torch.log(x)",
    "item zero": "def f(a, b):\n    d = b.abs().sum()\n    if d.item() == 0:\n        return a\n    return a / d",
    "zero": "def f(a, b):\n    d = b.abs().sum()\n    if d == 0:\n        return a\n    return a / d",
    "not truth": "def f(a, b):\n    d = b.abs().sum()\n    if not d:\n        return a\n    return a / d",
    "truth": "def f(a, b):\n    d = b.abs().sum()\n    if d:\n        return a / d\n    return a",
    "nonzero ifexp": "def f(a, b):\n    d = b.abs().sum()\n    return a / d if d != 0 else a",
    "gt item": "def f(a, b):\n    d = b.abs().sum()\n    return a / d if d.item() > 0 else a",
    "scaled": "def f(x, tau):\n    p = F.relu(x)\n    if p / 2.0 > 1:\n        return torch.log(p)\n    return x",
    "any": "def f(x):\n    p = F.relu(x)\n    if (p <= 0).any():\n        raise ValueError\n    return torch.log(p)",
    "torch.any": "def f(x):\n    p = F.relu(x)\n    if torch.any(p <= 0):\n        raise ValueError\n    return torch.log(p)",
    "torch.all": "def f(x):\n    p = F.relu(x)\n    assert torch.all(p > 0)\n    return torch.log(p)",
    "mask name": "def f(x):\n    p = F.relu(x)\n    m = p > 0\n    return torch.log(p[m])",
    "and mask": "def f(x, y):\n    p = F.relu(x)\n    m = (p > 0) & (y > 2)\n    return torch.log(p[m])",
    "where": "def f(x):\n    p = F.relu(x)\n    return torch.log(torch.where(p > 0, p, torch.ones_like(p)))",
    "where eq": "def f(x):\n    p = F.relu(x)\n    return torch.log(torch.where(p == 0, torch.ones_like(p), p))",
    "assign mask": "def f(x):\n    p = F.relu(x)\n    p[p == 0] = 1.0\n    return torch.log(p)",
    "masked_fill": "def f(x):\n    p = F.relu(x)\n    return torch.log(p.masked_fill(p == 0, 1.0))",
    "min": "def f(x):\n    p = F.relu(x)\n    if p.min() <= 0:\n        raise ValueError\n    return torch.log(p)",
    "size zero": "def f(x, m):\n    return x / x.size(0)",
}


@pytest.mark.parametrize("body", EXCLUDED.values(), ids=EXCLUDED.keys())
def test_what_a_condition_excludes_is_not_reported(body: str) -> None:
    assert not {code for code in codes(body) if code.startswith("NG2")}


# The same with a condition that says nothing of the kind.
OPEN = {
    "another name": "def f(x, y):\n    p = F.relu(x)\n    if y <= 0:\n        raise ValueError\n    return torch.log(p)",
    "other side": "def f(x):\n    p = F.relu(x)\n    if p <= 0:\n        return torch.log(p)\n    return p",
    "not every entry": "def f(x):\n    p = F.relu(x)\n    if (p > 0).any():\n        return torch.log(p)\n    return x",
    "largest entry": "def f(x):\n    p = F.relu(x)\n    if p.max() <= 0:\n        raise ValueError\n    return torch.log(p)",
    "mask of another": "def f(x, y):\n    p = F.relu(x)\n    return torch.log(p[y > 0])",
    "closed end": "def f(x):\n    p = F.relu(x)\n    assert p.min() >= 0\n    return torch.log(p)",
    "no condition": "def f(a, b):\n    d = b.abs().sum()\n    return a / d",
}


@pytest.mark.parametrize("body", OPEN.values(), ids=OPEN.keys())
def test_a_condition_that_excludes_nothing_does_not_silence(body: str) -> None:
    assert {code for code in codes(body) if code.startswith("NG2")}


DECORATED = ["@torch.no_grad()", "@weighted_loss", "@registry.register('f')", "@torch.jit.script", "@a.b.c(1)(2)"]


@pytest.mark.parametrize("decorator", DECORATED)
def test_a_decorator_hides_no_function(decorator: str) -> None:
    found = reading(f"{decorator}\ndef f(x): return torch.log(torch.sigmoid(x))")
    assert "f" in {place.target for place in found.places}


def test_a_file_read_in_part_does_not_disturb_the_next_target() -> None:
    many = "\n".join(f"    if x[{i}] > {i}:\n        y = y + g(y, x[{i}])" for i in range(60))
    body = "def g(a, b): return torch.exp(a) * b if b > 0 else a\ndef f(x, y):\n" + many + "\n    return y\n"
    found = reading(body + "def h(x): return torch.log(torch.sigmoid(x))")
    assert "h" in {place.target for place in found.places}
    assert "h" not in found.failed


def test_a_package_beside_an_installed_one_is_somebody_elses(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    for package in ("mine", "theirs"):
        (site / package).mkdir(parents=True)
        (site / package / "__init__.py").write_text("")
        (site / package / "squash.py").write_text("def squash(v): return v.sigmoid()\n")
    for package, followed in (("mine", True), ("theirs", False)):
        source = f"import torch\nfrom {package}.squash import squash\ndef f(x): return torch.log(squash(x))"
        path, tree = str(site / "mine" / "loss.py"), ast.parse(source)
        places = read(path, source, tree, targets(path, tree)).places
        assert ("sigmoid" in {node.op for place in places for node in walk(place.term)}) is followed


def test_what_a_star_brings_is_followed_and_torch_is_called_torch(tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text("from more import *\n\ndef squash(v): return inner(v)\n")
    (tmp_path / "more.py").write_text("import torch\n\ndef inner(v): return torch.sigmoid(v)\n")
    for stars in (
        "from parts import *\nfrom fastai.basics import *",
        "from fastai.basics import *\nfrom parts import *",
    ):
        source = f"{stars}\ndef f(x): return torch.log(squash(x))\ndef g(x): return F.logsigmoid(x) + len(x)"
        path, tree = str(tmp_path / "loss.py"), ast.parse(source)
        found = {node.op for place in read(path, source, tree, targets(path, tree)).places for node in walk(place.term)}
        assert {"log", "sigmoid", "logsigmoid"} <= found


def test_a_name_that_nothing_brings_is_nobodys() -> None:
    found = {node.op for place in reading("def f(x): return nowhere.log(x)").places for node in walk(place.term)}
    assert "log" not in found
