"""Fixes where something else may change what an expression means: they keep it, or are not made.

Effects of calls, names that are bound anew, storage that is written into, gradients that are cut, dtypes, scopes.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from inprocess import in_process

from nanguard.repair.fixing import fix_paths, save
from nanguard.settings import Settings

HEAD = "import torch\nimport torch.nn.functional as F\n\n"

# Programs by what is peculiar about them; `case` gives a tensor.
PROGRAMS: dict[str, str] = {
    "side effect operand": """
calls = []
def tick(x):
    calls.append(1)
    return x
def case(x, y):
    calls.clear()
    v = torch.log(torch.sigmoid(tick(x)))
    return v.sum() + len(calls) * 1000 + tick(y).sum()
""",
    "side effect twice": """
state = [0.0]
def bump(x):
    state[0] += 1.0
    return x * state[0]
def case(x, y):
    state[0] = 0.0
    a = torch.log(bump(x).exp().sum(1, keepdim=True))
    b = torch.exp(bump(x)) / torch.exp(bump(x)).sum(1, keepdim=True)
    return (a + b).sum() + state[0]
""",
    "shadow F": """
def case(x, y):
    F = 2.0
    return torch.log(torch.sigmoid(x)) * F
""",
    "comprehension scope": """
def case(x, y):
    x_ = [torch.log(torch.sigmoid(x)) for x in (x * 2, y)]
    z = torch.sigmoid(x)
    w = [z for z in (x, y)]
    return torch.log(z) + sum(w) + sum(x_)
""",
    "comprehension shadows operand": """
def case(x, y):
    p = torch.sigmoid(x)
    return sum(torch.log(p) for x in (y, y * 2)) + sum([torch.log(p) * x for x in (y, y * 2)])
""",
    "walrus inside": """
def case(x, y):
    a = torch.log(torch.sigmoid(z := x * 2))
    return a + z
""",
    "walrus rebinding before": """
def case(x, y):
    p = torch.sigmoid(x)
    return (x := y).sum() + torch.log(p)
""",
    "global rebinding": """
g = None
def setg(v):
    global g
    g = v
def case(x, y):
    global g
    g = x
    p = torch.sigmoid(g)
    setg(y)
    return torch.log(p) + g
""",
    "nonlocal rebinding": """
def case(x, y):
    z = x * 1
    def change():
        nonlocal z
        z = y
    p = torch.sigmoid(z)
    change()
    return torch.log(p) + z
""",
    "closure late": """
def case(x, y):
    p = torch.sigmoid(x)
    def late():
        return torch.log(p)
    x = y * 3
    return late() + x
""",
    "closure late p": """
def case(x, y):
    p = torch.sigmoid(x)
    late = lambda: torch.log(p)
    p = torch.sigmoid(y) + 1
    return late()
""",
    "redefined between": """
def case(x, y):
    p = torch.sigmoid(x)
    x = x + 1
    return torch.log(p) * x
""",
    "loop carried": """
def case(x, y):
    p = torch.sigmoid(x)
    total = 0
    for i in range(3):
        total = total + torch.log(p)
        x = x + 1
        p = torch.sigmoid(x * i)
    return total
""",
    "loop carried 2": """
def case(x, y):
    total = 0
    q = torch.softmax(x, 1)
    for z in (x, y):
        total = total + torch.log(q)
        q = torch.softmax(z, dim=1)
    return total + torch.log(q)
""",
    "branch rebinding": """
def case(x, y, flag=True):
    p = torch.sigmoid(x)
    if flag:
        x = y
    return torch.log(p) + x
""",
    "try finally": """
def case(x, y):
    p = torch.sigmoid(x)
    try:
        x = y * 2
        p.foo
    except AttributeError:
        r = torch.log(p)
    finally:
        x = x - 1
    return r + torch.log(p) + x
""",
    "try else": """
def case(x, y):
    try:
        p = torch.sigmoid(x)
        q = torch.log(p)
    except RuntimeError:
        q = torch.log(torch.sigmoid(y))
    else:
        q = q * 2
    return q
""",
    "deleted": """
def case(x, y):
    p = torch.sigmoid(x)
    del x
    return torch.log(p)
""",
    "star args": """
def case(x, y):
    args = (x,)
    return torch.log(torch.sigmoid(*args)) + torch.log(torch.softmax(*(x, 1)))
""",
    "star kwargs": """
def case(x, y):
    kw = dict(dim=1)
    return torch.log(torch.softmax(x, **kw)) + torch.log(torch.exp(x).sum(**dict(dim=1, keepdim=True)))
""",
    "keyword operands": """
def case(x, y):
    a = torch.log(input=torch.softmax(input=x, dim=-1))
    b = torch.log(torch.sum(input=torch.exp(input=x), dim=1, keepdim=True))
    c = torch.log(torch.softmax(x, dim=1, dtype=torch.float64))
    return a + b + c
""",
    "dtype float32": """
def case(x, y):
    c = torch.log(torch.softmax(x, dim=1, dtype=torch.float32))
    d = torch.log(torch.softmax(x.float(), dim=1).double())
    e = torch.log(torch.sum(torch.exp(x), dim=1, dtype=torch.float32))
    assert c.dtype == torch.float32 and d.dtype == torch.float64 and e.dtype == torch.float32
    return c.double() + d + e.double()[:, None]
""",
    "out": """
def case(x, y):
    buf = torch.empty_like(x)
    r = torch.log(torch.sigmoid(x.detach()), out=buf)
    s = torch.empty_like(x)
    q = torch.log(torch.sigmoid(y.detach(), out=s))
    return r + buf * 2 + q + s
""",
    "decorator": """
def twice(f):
    def g(*a):
        return f(*a) * 2
    return g
@twice
def case(x, y):
    p = torch.sigmoid(x)
    return torch.log(p)
""",
    "attribute changes by method": """
class Loss:
    def swap(self, y):
        self.z = y
    def go(self, x, y):
        self.z = x
        p = torch.sigmoid(self.z)
        self.swap(y)
        return torch.log(p) + self.z
def case(x, y):
    return Loss().go(x, y)
""",
    "property": """
class Loss:
    n = 0
    @property
    def z(self):
        self.n += 1
        return self.x * self.n
    def go(self, x):
        self.x = x
        p = torch.sigmoid(self.z)
        return torch.log(p) + self.z
def case(x, y):
    return Loss().go(x)
""",
    "async": """
import asyncio
async def get(x):
    return x
async def go(x, y):
    p = torch.sigmoid(await get(x))
    return torch.log(p) + torch.log(torch.sigmoid(await get(y)))
def case(x, y):
    return asyncio.run(go(x, y))
""",
    "generator": """
def gen(x):
    p = torch.sigmoid(x)
    x = yield torch.log(p)
    yield torch.log(p) + x
    yield torch.log(torch.sigmoid((yield x)))
def case(x, y):
    g = gen(x); a = next(g); b = g.send(y); c = next(g); d = g.send(y)
    return a + b + d
""",
    "lambda default": """
def case(x, y):
    p = torch.sigmoid(x)
    f = lambda q=p: torch.log(q)
    g = lambda x, q=torch.log(torch.sigmoid(x)): q + x
    x = y
    return f() + f(y.sigmoid()) + g(y)
""",
    "inplace between": """
def case(x, y):
    x = x * 1
    p = torch.sigmoid(x)
    x.add_(1)
    return torch.log(p) + x
""",
    "inplace p": """
def case(x, y):
    p = torch.sigmoid(x.detach())
    p.mul_(0.5)
    return torch.log(p)
""",
    "inplace alias": """
def case(x, y):
    x = x * 1
    z = x
    p = torch.sigmoid(x)
    z.add_(1)
    return torch.log(p) + x
""",
    "inplace view": """
def case(x, y):
    x = x * 1
    z = x[0]
    p = torch.sigmoid(x)
    z += 1
    return torch.log(p) + x
""",
    "inplace by function": """
def change(t):
    t.mul_(2)
def case(x, y):
    x = x * 1
    p = torch.sigmoid(x)
    change(x)
    return torch.log(p) + x
""",
    "inplace in loop": """
def case(x, y):
    x = x * 1
    p = torch.sigmoid(x)
    out = 0
    for i in range(3):
        out = out + torch.log(p)
        x += 1
    return out + x
""",
    "inplace out kw": """
def case(x, y):
    x = x.detach() * 1
    p = torch.sigmoid(x)
    torch.add(x, 1, out=x)
    return torch.log(p) + x
""",
    "data attr": """
def case(x, y):
    z = x.detach().clone()
    p = torch.sigmoid(z)
    z.data = y.detach()
    return torch.log(p) + z
""",
    "type comment": """
def case(x, y):
    # type: (torch.Tensor, torch.Tensor) -> torch.Tensor
    p = torch.sigmoid(x)  # type: torch.Tensor
    r = torch.log(p)  # type: torch.Tensor
    return r
""",
    "backslash": """
def case(x, y):
    p = \\
        torch.sigmoid(x)
    r = torch.log \\
        (p) + \\
        torch.log(torch.sigmoid( \\
            y))
    return r \\
        * 2
""",
    "semicolon x": """
def case(x, y):
    p = torch.sigmoid(x); x = y; r = torch.log(p); return r
""",
    "tabs": """
def case(x, y):
	p = torch.sigmoid(x)
	if p is not None:
		r = torch.log(p)
		return r
	return x
""",
    "generator argument": """
def case(x, y):
    first = sum(torch.log(torch.sigmoid(z)) for z in (x, y))
    return first + torch.stack(list(torch.log(p) for p in (torch.sigmoid(x), torch.sigmoid(y)))).sum(0)
""",
    "conditional expr": """
def case(x, y, f=True):
    chosen = torch.log(torch.sigmoid(x)) if f else torch.log(torch.softmax(y, 1))
    return chosen + torch.log(torch.sigmoid(x if f else y))
""",
    "default arg": """
def helper(x, p=torch.sigmoid(torch.ones(1))):
    return torch.log(p) + x
def case(x, y):
    return helper(x) + helper(y, torch.sigmoid(x))
""",
    "aug alias": """
def case(x, y):
    t = torch.exp(x.detach())
    u = t
    t /= t.sum(1, keepdim=True)
    return u + t
""",
    "mask assign alias": """
def case(x, y):
    z = torch.log(x.abs())
    u = z
    z[x < 0] = 0.0
    return u + z
""",
    "mask assign return view": """
def case(x, y):
    z = torch.log(x.abs())
    zs = z[0]
    z[x < 0] = 0.0
    return zs + z
""",
    "no_grad": """
def case(x, y):
    with torch.no_grad():
        p = torch.sigmoid(x)
    return torch.log(p) * y
""",
    "detached": """
def case(x, y):
    p = torch.sigmoid(x).detach()
    return torch.log(p) * y + torch.log(torch.sigmoid(y.detach()) * 1.0) * x
""",
    "swap": """
def case(x, y):
    p = torch.sigmoid(x)
    x, y = y, x
    return torch.log(p) + x
""",
    "for target": """
def case(x, y):
    p = torch.sigmoid(x)
    for x in [y]:
        pass
    return torch.log(p) + x
""",
    "except name": """
def case(x, y):
    p = torch.sigmoid(x)
    try:
        raise ValueError("1")
    except ValueError as x:
        r = torch.log(p)
    return r
""",
    "import rebinding": """
def case(x, y):
    p = torch.sigmoid(x)
    import math as x
    return torch.log(p) + x.pi
""",
    "dropout": """
def case(x, y):
    torch.manual_seed(3)
    return torch.log(F.dropout(torch.sigmoid(x), 0.5) + 1e-6) + torch.log(F.dropout(torch.softmax(x, 1), 0.0, False))
""",
    "torch.sigmoid_": """
def case(x, y):
    z = x.detach() * 1
    r = torch.log(torch.sigmoid_(z))
    return r + z
""",
    "inplace aliasing result": """
def case(x, y):
    z = x.detach() * 1
    w = z.exp_()
    p = torch.sigmoid(z)
    w.add_(1)
    return torch.log(p) + z
""",
    "relu inplace module": """
class M(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.act = torch.nn.ReLU(inplace=True)
    def forward(self, x):
        p = torch.sigmoid(x)
        z = self.act(x)
        return torch.log(p) + x + z
def case(x, y):
    return M()(x * 1)
""",
    "module subclass override": """
class A(torch.nn.Module):
    def prob(self, x):
        return torch.sigmoid(x)
    def forward(self, x):
        return torch.log(self.prob(x))
class B(A):
    def prob(self, x):
        return torch.softmax(x, 1)
def case(x, y):
    return A()(x) + B()(x)
""",
    "default number": """
def f(x, t=1.0, m=0.0):
    e = torch.exp(x / t - m)
    return torch.log(e.sum(1, keepdim=True)) * t + torch.log(1 + torch.exp(x * t)) / t
def case(x, y):
    return f(x) + f(y, 2.0, 0.5)
""",
    "reduction dict": """
def f(p, t, **kw):
    return F.binary_cross_entropy(torch.sigmoid(p), t, **kw)
def case(x, y):
    t = torch.sigmoid(y).detach().round()
    return f(x, t) + f(x, t, reduction="sum") + f(x, t, weight=y.detach().abs())
""",
    "soft targets": """
def case(x, y):
    t = torch.sigmoid(y)
    p = torch.sigmoid(x)
    pt = p * t + (1 - p) * (1 - t)
    return -(t * torch.log(p) + (1 - t) * torch.log(1 - p)) - torch.log(pt)
""",
    "two calls of user fn": """
import random
def noisy(x):
    return x + torch.rand(1, dtype=x.dtype)
def case(x, y):
    torch.manual_seed(0)
    a = torch.exp(noisy(x)) / torch.exp(noisy(x)).sum(1, keepdim=True)
    return a + torch.log(torch.sigmoid(noisy(x)))
""",
    "random operand": """
def case(x, y):
    torch.manual_seed(0)
    n = torch.randn_like(x)
    p = torch.sigmoid(x + torch.randn_like(x))
    q = torch.exp(torch.rand_like(x)) / torch.exp(torch.rand_like(x)).sum(1, keepdim=True)
    return torch.log(p) + n + q
""",
    "dict operand": """
def case(x, y):
    d = {"a": x}
    p = torch.sigmoid(d["a"])
    d["a"] = y
    return torch.log(p) + d["a"]
""",
    "list pop": """
def case(x, y):
    d = [x, y]
    a = torch.log(torch.sigmoid(d.pop()))
    b = torch.log(torch.sigmoid(d.pop()))
    return a * 2 + b + len(d)
""",
    "iterator next": """
def case(x, y):
    it = iter([x, y])
    p = torch.sigmoid(next(it))
    return torch.log(p) + torch.log(torch.sigmoid(next(it))) * 2
""",
    "index operand changes": """
def case(x, y):
    i = 0
    p = torch.sigmoid(x[i])
    i += 1
    return torch.log(p) + x[i]
""",
    "dim var": """
def case(x, y):
    d = 1
    q = torch.softmax(x, dim=d)
    d = 0
    return torch.log(q) + x.sum(d)
""",
    "print fn": """
out = []
def dbg(x, msg="a"):
    out.append(msg)
    return x
def case(x, y):
    out.clear()
    p = torch.sigmoid(dbg(x))
    r = torch.log(p)
    return r + len(out)
""",
    "logger": """
class Log:
    def __init__(self): self.n = 0
    def note(self, v): self.n += 1; return v
L = Log()
def case(x, y):
    L.n = 0
    p = torch.sigmoid(L.note(x))
    r = torch.log(p) + torch.log(torch.softmax(L.note(y), 1))
    return r + L.n
""",
    "cached attr": """
class M:
    def prob(self, x):
        self.last = torch.sigmoid(x)
        return self.last
    def go(self, x):
        r = torch.log(self.prob(x))
        return r + self.last
def case(x, y):
    return M().go(x)
""",
    "buffers": """
class M(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("c", torch.zeros(1, dtype=torch.float64))
    def forward(self, x):
        self.c += 1
        p = torch.sigmoid(x.detach() * self.c)
        self.c += 1
        return torch.log(p) + self.c
def case(x, y):
    return M()(x)
""",
    "param function": """
def go(x, f=torch.sigmoid):
    return torch.log(f(x))
def case(x, y):
    return go(x) + go(x, lambda z: z.exp() + 1)
""",
    "kw only": """
def go(x, /, *, t=1.0, dim=-1):
    q = torch.softmax(x / t, dim=dim)
    return torch.log(q)
def case(x, y):
    return go(x) + go(x, t=3.0, dim=0)
""",
    "varargs": """
def go(*xs, **kw):
    p = torch.sigmoid(xs[0])
    return torch.log(p) + torch.log(torch.softmax(xs[1], **kw))
def case(x, y):
    return go(x, y, dim=0)
""",
    "class in function": """
def case(x, y):
    p = torch.sigmoid(x)
    class K:
        x = 3.0
        v = torch.log(p)
    return K.v + K.x
""",
    "dict comp": """
def case(x, y):
    d = {k: torch.log(torch.sigmoid(v)) for k, v in {"a": x, "b": y}.items()}
    return d["a"] + 2 * d["b"]
""",
    "nested function": """
def case(x, y):
    def inner(x):
        p = torch.sigmoid(x)
        def deep():
            return torch.log(p)
        x = x + 1
        return deep() + x
    return inner(y)
""",
    "autocast": """
def case(x, y):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        p = torch.softmax(x.float(), 1)
        r = torch.log(p)
    assert r.dtype == torch.float32
    return r.double()
""",
    "alias via method": """
class K:
    def keep(self, t):
        self.t = t
    def bump(self):
        self.t.add_(1)
def case(x, y):
    x = x * 1
    k = K(); k.keep(x)
    p = torch.sigmoid(x)
    k.bump()
    return torch.log(p) + x
""",
    "alias via attr": """
class S: pass
def case(x, y):
    x = x * 1
    s = S()
    s.v = x
    p = torch.sigmoid(x)
    s.v.add_(1)
    return torch.log(p) + x
""",
    "alias detach": """
def case(x, y):
    x = x * 1
    d = x.detach()
    p = torch.sigmoid(x)
    d.add_(1)
    return torch.log(p).detach() + d
""",
    "comprehension walrus": """
def case(x, y):
    p = torch.sigmoid(x)
    vals = [x := t for t in (y, y * 2)]
    return torch.log(p) + x + vals[0]
""",
    "delattr": """
class M:
    def go(self, x, y):
        self.a = x
        p = torch.sigmoid(self.a)
        del self.a
        return torch.log(p)
def case(x, y):
    return M().go(x, y)
""",
    "vars update": """
class M:
    def go(self, x, y):
        self.a = x
        p = torch.sigmoid(self.a)
        self.__dict__.update(a=y)
        return torch.log(p) + self.a
def case(x, y):
    return M().go(x, y)
""",
    "sorted key": """
def case(x, y):
    ps = sorted([torch.sigmoid(x), torch.sigmoid(y)], key=lambda p: torch.log(p).sum().item())
    return torch.log(ps[0]) + ps[1]
""",
    "no_grad decorator": """
@torch.no_grad()
def prob(x):
    return torch.sigmoid(x)
def case(x, y):
    return torch.log(prob(x)) * y
""",
    "enable grad inside": """
def case(x, y):
    with torch.no_grad():
        with torch.enable_grad():
            p = torch.sigmoid(x)
        r = torch.log(p)
    return r * y
""",
    "with suppress": """
import contextlib
def case(x, y):
    p = torch.sigmoid(x)
    with contextlib.suppress(ZeroDivisionError):
        1 / 0
        x = y
    return torch.log(p) + x
""",
    "partial": """
from functools import partial
sm = partial(torch.softmax, dim=0)
def case(x, y):
    return torch.log(sm(x))
""",
    "map": """
def case(x, y):
    a, b = map(torch.sigmoid, (x, y))
    c, d = map(torch.log, (a, b))
    return torch.log(a) + c + d * 2
""",
    "float": """
def case(x, y):
    p = torch.sigmoid(x.sum())
    return float(torch.log(p)) * y + torch.log(torch.sigmoid(y.mean())).item() * x
""",
    "method patched": """
class Net:
    def act(self, x): return torch.sigmoid(x)
    def loss(self, x): return torch.log(self.act(x) + 1e-8)
def case(x, y):
    n = Net()
    n.act = torch.tanh
    return n.loss(x.abs()+.1)
""",
    "method patched in the class": """
class Net:
    def act(self, x): return torch.sigmoid(x)
    def loss(self, x):
        p = self.act(x)
        return torch.log(p)
def case(x, y):
    Net.act = lambda self, x: torch.exp(x) / 3
    return Net().loss(x)
""",
    "decorated operand": """
import functools
def scaled(fn):
    @functools.wraps(fn)
    def wrap(x, *a): return fn(x * 2, *a) + 1
    return wrap
@scaled
def act(x): return torch.sigmoid(x)
@scaled
def loss(x): return torch.log(act(x))
def case(x, y): return loss(x)
""",
    "decorated with a lambda": """
def twice(fn): return lambda x: fn(fn(x))
@twice
def act(x): return torch.sigmoid(x)
def case(x, y):
    p = act(x)
    return torch.log(p)
""",
    "context entered by a call": """
import contextlib
def case(x, y):
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        p = torch.sigmoid(x)
    with torch.set_grad_enabled(True):
        q = torch.softmax(y, 1)
        r = torch.log(q)
    return torch.log(p) + r + x.sum()
""",
    "factor of 1 by default": """
def f(x, t, reduction="mean", pos=1.0):
    loss = -(pos * t * torch.log(torch.sigmoid(x)) + (1 - t) * torch.log(1 - torch.sigmoid(x)))
    if reduction == "mean": return loss.mean()
    if reduction == "sum": return loss.sum()
    return loss
def case(x, y): return f(x, torch.sigmoid(y)) + f(x, torch.sigmoid(y), "none", 3.0) + f(x, torch.sigmoid(y), "sum")
""",
    "entry of a table": """
CFG = {"s": 1.0, "eps": 1e-8}
SCALE = 1.0
def f(x): return torch.log(CFG["s"] + torch.exp(x)) + torch.log(torch.sigmoid(x) + CFG["eps"])
def g(x): return torch.log(SCALE + torch.exp(x))
def case(x, y):
    global SCALE
    CFG["s"] = 2.0
    SCALE = 3.0
    return f(x) + g(y)
""",
    "constant of a class": """
class A:
    k = 1
    @classmethod
    def f(cls, x): return torch.log(cls.k + torch.exp(x))
    @staticmethod
    def g(x, p=0.5): return ((x ** 2).sum(1)) ** p
class B(A): k = 4
def case(x, y): return B.f(x) + A.f(y) + A.g(x).sum() + A.g(y, 1.0).sum()
""",
    "function by default": """
def loss(x, y, t=1.0, act=torch.sigmoid, k=0):
    p = act(x / t)
    return torch.log(p) + torch.log(1 + torch.exp(y * t + k))
def case(x, y):
    return loss(x, y, 2.0, torch.exp, 1) + loss(x, y)
""",
    "options of a constructor": """
class L(torch.nn.Module):
    def __init__(self, beta=1.0, power=2, mode="sig"):
        super().__init__()
        self.beta, self.power, self.mode = beta, power, mode
    def forward(self, x, y):
        p = torch.sigmoid(x) if self.mode == "sig" else torch.exp(x)
        q = torch.log(self.beta + torch.exp(y))
        return torch.log(p) * self.beta + q + torch.sqrt(((x - y) ** self.power).sum())
def case(x, y):
    return L(2.0, 4, "exp")(x, y) + L()(x, y)
""",
    "match": """
def f(x, mode="a"):
    match mode:
        case "a": p = torch.sigmoid(x)
        case "b": p = torch.softmax(x, 1)
        case _: p = x.exp()
    return torch.log(p)
def case(x, y): return f(x) + f(y, "b") + f(y, "c")
""",
    "constant of an heir": """
class A:
    eps = 1e-8
    scale = 1.0
    def f(self, x): return torch.log(self.scale + torch.exp(x)) + torch.log(torch.sigmoid(x) + self.eps)
class B(A):
    scale = 3.0
def case(x, y): return B().f(x) + A().f(y)
""",
    "dim by default": """
def loss(x, dim=1, keepdim=True):
    return torch.log(torch.exp(x).sum(dim=dim, keepdim=keepdim)) + torch.log(torch.softmax(x, dim))
def case(x, y):
    return loss(x).sum() + loss(x, 0).sum() + loss(x, 0, False).sum()
""",
    "reversed": """
def case(x, y):
    a, b = reversed([torch.sigmoid(x), torch.softmax(y, 1)])
    return torch.log(a) + 2 * torch.log(b)
""",
}


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What safe fixes make of each program, and all fixes, made once and again: one run for all."""
    folder = tmp_path_factory.mktemp("effects")
    files = {name: folder / f"program{index}.py" for index, name in enumerate(PROGRAMS)}
    for name, path in files.items():
        path.write_text(HEAD + PROGRAMS[name])
    found: dict[str, list[str]] = {name: [] for name in PROGRAMS}
    with in_process():
        for unsafe in (False, True, True):
            outcome = fix_paths([str(folder)], Settings(static=True, quiet=True), unsafe)
            assert outcome.bugs == ()
            after = {Path(file.path): file.after.decode() for file in outcome.files}
            if unsafe:
                save(outcome)
            for name, path in files.items():
                found[name].append(after.get(path, path.read_text()))
    return found


def measured(source: str) -> list[torch.Tensor]:
    """The value of a program, and its gradients, at ordinary inputs."""
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(source, "program.py", "exec"), names)
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(4, 3, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2)]
    value = names["case"](*inputs)
    slopes = torch.autograd.grad(value.sum(), inputs, allow_unused=True) if value.requires_grad else ()
    return [value.detach(), *(torch.zeros(()) if slope is None else slope for slope in slopes)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_fix_keeps_what_a_program_means(name: str, fixed: dict[str, list[str]]) -> None:
    safe, every, again = fixed[name]
    expected = measured(HEAD + PROGRAMS[name])
    for source in (safe, every):
        ast.parse(source)
        for now, before in zip(measured(source), expected, strict=True):
            assert now.dtype == before.dtype
            torch.testing.assert_close(
                now, before, rtol=1e-5, atol=1e-7, msg=lambda text, made=source: f"{text}\n{made}"
            )
    assert again == every


def test_most_of_these_programs_are_fixed(fixed: dict[str, list[str]]) -> None:
    left = [name for name, texts in fixed.items() if texts[1] == HEAD + PROGRAMS[name]]
    assert len(left) <= len(PROGRAMS) // 4, left
