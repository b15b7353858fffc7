"""Every way to write a hazard that is seen in the wild: each is matched by its own rule, and one of each is proved.

A line is an expression, or the statements of a function with its result last; what it uses and does not define are its
arguments.  All of them are one file, so that they are read together.
"""

from __future__ import annotations

import ast
import textwrap
from functools import cache

import pytest

from nanguard.analyse import examine, scan
from nanguard.settings import Settings

HEAD = """\
import math
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import logsumexp, sigmoid


def probability(logits):
    return torch.sigmoid(logits)


def exponentials(values):
    return values.exp()
"""
GIVEN = {"math", "torch", "nn", "F", "sigmoid", "logsumexp", "probability", "exponentials", "range", "float", "self"}

SPELLINGS: dict[str, tuple[str, ...]] = {
    "NG101": (
        "torch.log(torch.sigmoid(x))",
        "torch.sigmoid(x).log()",
        "x.sigmoid().log()",
        "torch.log(F.sigmoid(x))",
        "torch.log(nn.Sigmoid()(x))",
        "torch.log(sigmoid(x))",
        "torch.log(1 / (1 + torch.exp(-x)))",
        "torch.log(torch.exp(x) / (1 + torch.exp(x)))",
        "torch.log(torch.special.expit(x))",
        "torch.log2(torch.sigmoid(x))",
        "torch.log10(torch.sigmoid(x))",
        "torch.log(input=torch.sigmoid(input=x))",
        "p = torch.sigmoid(x)\nreturn torch.log(p)",
        "torch.log(torch.sigmoid(x) + 1e-8)",
        "torch.log(1e-10 + torch.sigmoid(x))",
        "torch.log(torch.sigmoid(x).clamp(min=1e-8))",
        "torch.log(torch.clamp(torch.sigmoid(x), 1e-6, 1 - 1e-6))",
        "torch.log(torch.clip(torch.sigmoid(x), min=1e-7))",
        "torch.log(torch.clamp_min(torch.sigmoid(x), 1e-7))",
        "torch.log(torch.sigmoid(x).clamp_(1e-7))",
        "torch.log(probability(x))",
        "torch.log(torch.sigmoid(x).mean(dim=1, keepdim=True) * 0 + torch.sigmoid(x))",
        "x.sigmoid_().log_()",
        "-torch.log(torch.sigmoid(x - y)).mean()",
        "torch.sigmoid(x)[:, 0].log()",
        "total = 0.0\nfor i in range(3):\n    total = total + torch.log(torch.sigmoid(x[i]))\nreturn total",
        "torch.log(torch.maximum(torch.sigmoid(x), torch.tensor(1e-7)))",
        "torch.log(0.5 * (1 + torch.tanh(0.5 * x)))",
        "torch.log((1 + torch.exp(-x)).reciprocal())",
        "torch.log((1 + torch.exp(-x)) ** -1)",
    ),
    "NG102": (
        "torch.log(1 - torch.sigmoid(x))",
        "torch.log1p(-torch.sigmoid(x))",
        "p = x.sigmoid()\nreturn (1 - p).log()",
        "torch.log(1 - 1 / (1 + torch.exp(-x)))",
        "torch.log(1 - torch.sigmoid(x) + 1e-8)",
        "torch.log(1 - torch.sigmoid(x).clamp(1e-6, 1 - 1e-6))",
        "torch.log((1 - torch.sigmoid(x)).clamp(min=1e-7))",
        "torch.log(torch.sub(1, torch.sigmoid(x)))",
        "torch.log(1.0 - probability(x))",
        "(-x.sigmoid()).log1p()",
        "torch.log(torch.rsub(torch.sigmoid(x), 1))",
        "torch.log2(1 - torch.sigmoid(x))",
        "torch.log(torch.ones_like(x) - torch.sigmoid(x))",
    ),
    "NG103": (
        "torch.log(torch.softmax(x, dim=1))",
        "torch.softmax(x, 1).log()",
        "F.softmax(x, dim=-1).log()",
        "torch.log(nn.Softmax(dim=1)(x))",
        "torch.log(torch.softmax(x, dim=1) + 1e-8)",
        "torch.log(torch.softmax(x, dim=1).clamp(min=1e-8))",
        "torch.log(torch.softmax(x, dim=1)).gather(1, i)",
        "torch.log(torch.softmax(x, dim=1).gather(1, i))",
        "torch.log(torch.exp(x) / torch.exp(x).sum(1, keepdim=True))",
        "-(y * torch.log(F.softmax(x, dim=1))).sum(1)",
        "q = F.softmax(x, dim=1)\nreturn q[:, 0].log()",
        "torch.log(x.softmax(dim=1))",
        "torch.log(torch.special.softmax(x, 1))",
        "torch.log(F.softmin(x, dim=1))",
        "torch.log2(torch.softmax(x, 1))",
        "torch.log(torch.softmax(x, axis=1))",
        "torch.log(torch.exp(F.log_softmax(x, dim=1)))",
    ),
    "NG104": (
        "torch.log(torch.sum(torch.exp(x), dim=1))",
        "x.exp().sum(1).log()",
        "torch.log(torch.exp(x).sum(dim=1, keepdim=True))",
        "torch.exp(x).sum(dim=-1, keepdim=True).log()",
        "torch.log(torch.exp(x).sum())",
        "torch.log(torch.exp(x).sum(1) + 1e-8)",
        "torch.log(exponentials(x).sum(1))",
        "(x / 0.5).exp().sum(1).log()",
        "torch.log(torch.sum(torch.exp(x), (1, 2)))",
        "e = torch.exp(x)\ns = e.sum(1)\nreturn torch.log(s)",
        "torch.log(torch.exp(x).sum(axis=1))",
    ),
    "NG105": (
        "torch.log(1 + torch.exp(x))",
        "torch.log1p(torch.exp(x))",
        "(1 + x.exp()).log()",
        "torch.log(torch.exp(x) + 1)",
        "torch.log(1 + torch.exp(-x))",
        "torch.log(1 + torch.exp(-y * x))",
        "x.exp().log1p()",
        "x.exp().add(1).log()",
        "torch.log(1.0 + exponentials(x))",
        "torch.log(1 + torch.exp(x).sum(1))",
        "2 * torch.log(1 + torch.exp(0.5 * x))",
        "-torch.log(1 / (1 + torch.exp(x)))",
        "torch.log(torch.ones_like(x) + torch.exp(x))",
    ),
    "NG106": (
        "F.binary_cross_entropy(torch.sigmoid(x), y)",
        "nn.BCELoss()(torch.sigmoid(x), y)",
        "nn.BCELoss(reduction='none')(x.sigmoid(), y)",
        "p = torch.sigmoid(x)\nreturn F.binary_cross_entropy(p, y)",
        "F.binary_cross_entropy(input=torch.sigmoid(x), target=y)",
        "F.binary_cross_entropy(torch.softmax(x, 1), y)",
        "p = torch.sigmoid(x)\nreturn -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()",
        "p = torch.sigmoid(x)\nreturn -(y * torch.log(p + 1e-8) + (1 - y) * torch.log(1 - p + 1e-8))",
        "p = torch.sigmoid(x)\nreturn torch.where(y == 1, -torch.log(p), -torch.log(1 - p))",
        "p = torch.sigmoid(x)\nreturn -y * p.log() - (1 - y) * (1 - p).log()",
        "F.binary_cross_entropy(torch.sigmoid(x), y, reduction='sum')",
        "F.binary_cross_entropy(probability(x), y)",
    ),
    "NG107": (
        "torch.exp(x) / torch.exp(x).sum(dim=1, keepdim=True)",
        "e = x.exp()\nreturn e / e.sum(1).unsqueeze(1)",
        "e = x.exp()\nreturn e / e.sum(1)[:, None]",
        "e = torch.exp(x)\nreturn e / (e.sum(1, keepdim=True) + 1e-8)",
        "torch.div(torch.exp(x), torch.sum(torch.exp(x), dim=-1, keepdim=True))",
        "e = torch.exp(x / 0.1)\nreturn e / e.sum(-1, keepdim=True)",
        "torch.exp(x) / torch.exp(x).sum()",
    ),
    "NG108": (
        "-torch.log(torch.exp(a) / torch.exp(x).sum(dim=1))",
        "pos = torch.exp(a)\nneg = torch.exp(x).sum(1)\nreturn -torch.log(pos / (pos + neg))",
        "-(a.exp() / x.exp().sum(1)).log()",
        "x - torch.log(torch.exp(x).sum(1, keepdim=True) + 1e-12)",
        "pos = torch.exp(a / 0.1)\n"
        "neg = torch.exp(x / 0.1).sum(dim=1)\nloss = -torch.log(pos / neg)\nreturn loss.mean()",
    ),
    "NG109": (
        "torch.log(1 - torch.tanh(x) ** 2)",
        "a = torch.tanh(x)\nreturn torch.log(1 - a.pow(2) + 1e-6)",
        "torch.log((1 - torch.tanh(x) ** 2).relu() + 1e-6)",
        "torch.log(2 * (1 - torch.tanh(x).pow(2)) + 1e-6)",
        "torch.log1p(-torch.tanh(x) ** 2)",
        "torch.log(torch.cosh(x) ** -2)",
        "(1 - x.tanh().square()).log()",
        "a = x.tanh()\nreturn torch.log(1 - a * a).sum(-1)",
    ),
    "NG110": (
        "torch.log(1 - torch.softmax(x, dim=1))",
        "p = F.softmax(x, 1)\nreturn torch.log((1 - p).clamp(min=1e-5))",
        "torch.log(1 - torch.exp(F.log_softmax(x, dim=1)))",
        "torch.log1p(-torch.softmax(x, 1))",
        "torch.log(1 - torch.softmax(x, 1).gather(1, i))",
        "lp = F.log_softmax(x, 1)\nreturn torch.log(1 - lp.exp())",
    ),
    "NG111": (
        "torch.log(1 - torch.exp(-x.abs()))",
        "torch.log1p(-torch.exp(-F.softplus(x)))",
        "torch.log(-torch.expm1(-x.abs()))",
        "q = torch.exp(F.logsigmoid(x).clamp(max=-1e-9))\nreturn torch.log(1 - q)",
        "(1 - (-x.relu()).exp()).log()",
    ),
    "NG112": (
        "torch.log(torch.exp(a) + torch.exp(b))",
        "torch.log(a.exp() + b.exp())",
        "torch.log(torch.exp(a) + torch.exp(b) + torch.exp(x))",
        "torch.log(torch.exp(a) + 3.0)",
    ),
    "NG113": (
        "torch.log(torch.mean(torch.exp(x), dim=1))",
        "x.exp().mean(1).log()",
        "torch.log(torch.exp(x).mean())",
        "torch.log(torch.exp(x).sum(1) / x.shape[1])",
        "torch.exp(x).mean(dim=0).log()",
    ),
    "NG114": (
        "torch.log((torch.softmax(y, 1) * torch.exp(x)).sum(1))",
        "torch.log((y.relu() * x.exp()).sum(1))",
        "torch.log(torch.sum(torch.exp(x) * torch.sigmoid(y), dim=1))",
    ),
    "NG115": (
        "1 / (1 + torch.exp(-x))",
        "torch.exp(x) / (1 + torch.exp(x))",
        "torch.exp(a) / (torch.exp(a) + torch.exp(b))",
        "(1 + torch.exp(-x)).reciprocal()",
        "(1 + torch.exp(-x)) ** -1",
        "1.0 / (torch.exp(-x) + 1.0)",
        "torch.reciprocal(1 + torch.exp(-x))",
        "(1 + (-x).exp()).pow(-1)",
    ),
    "NG116": (
        "torch.log(torch.cosh(x))",
        "torch.cosh(x - y).log()",
        "torch.log((torch.exp(x) + torch.exp(-x)) / 2)",
        "torch.log(torch.exp(x) + torch.exp(-x)) - math.log(2)",
        "torch.log(torch.cosh(x + 1e-12))",
        "torch.mean(torch.log(torch.cosh(x - y)))",
    ),
    "NG117": (
        "torch.sqrt(torch.exp(x))",
        "x.exp().sqrt()",
        "torch.exp(x) ** 0.5",
        "torch.exp(x).pow(0.5)",
        "torch.exp(x).rsqrt()",
        "torch.exp(x) ** -0.5",
        "1 / torch.sqrt(torch.exp(x))",
    ),
    "NG118": (
        "torch.exp(a) / torch.exp(b)",
        "a.exp() / b.exp()",
        "torch.exp(a) * torch.exp(-b)",
        "torch.exp(a) * torch.exp(b)",
        "torch.div(torch.exp(a), torch.exp(b))",
    ),
    "NG119": (
        "torch.log(torch.exp(x))",
        "x.exp().log()",
        "torch.log(torch.exp(x) * 3.0)",
        "std = torch.exp(x)\nreturn torch.log(std)",
        "torch.log(torch.exp(x) * y.relu())",
        "torch.log(torch.exp(x) ** 2)",
    ),
    "NG120": (
        "torch.log(torch.prod(torch.sigmoid(x), dim=1))",
        "torch.sigmoid(x).prod(1).log()",
        "torch.log(torch.cumprod(torch.sigmoid(x), dim=1))",
        "torch.log(torch.sigmoid(x) * torch.sigmoid(y))",
    ),
    "NG122": ("torch.log(x ** 4)", "torch.log(x.pow(4))", "(x * x * x * x).log()"),
    "NG123": ("torch.log(torch.exp(x) - 1)", "torch.log(torch.expm1(x))", "x.expm1().log()", "(x.exp() - 1).log()"),
    "NG124": (
        "torch.log(torch.exp(a) - torch.exp(b))",
        "(a.exp() - b.exp()).log()",
        "torch.log(torch.sub(a.exp(), b.exp()))",
    ),
    "NG125": (
        "p = torch.sigmoid(x)\nreturn torch.log(p / (1 - p))",
        "torch.logit(torch.sigmoid(x))",
        "p = torch.sigmoid(x)\nreturn torch.log(p) - torch.log(1 - p)",
        "torch.special.logit(x.sigmoid())",
        "-torch.log(1 / torch.sigmoid(x) - 1)",
    ),
    "NG126": ("p = torch.sigmoid(x)\nreturn p / (1 - p)", "p = torch.sigmoid(x)\nreturn (1 - p) / p"),
    "NG127": (
        "p = torch.sigmoid(x)\nreturn torch.log(p * (1 - p))",
        "p = torch.sigmoid(x)\nreturn torch.log(p) + torch.log(1 - p)",
        "p = torch.sigmoid(x)\nreturn torch.log(p - p ** 2)",
    ),
    "NG128": (
        "torch.log(0.5 * (1 + torch.erf(x / math.sqrt(2))))",
        "torch.log(torch.special.ndtr(x))",
        "torch.log(0.5 * torch.erfc(-x / math.sqrt(2)))",
        "torch.log(0.5 + 0.5 * torch.erf(x / 2 ** 0.5))",
    ),
    "NG129": ("torch.log(torch.erfc(x))", "torch.log(1 - torch.erf(x))", "torch.special.erfc(x).log()"),
    "NG130": (
        "0.5 * torch.log((1 + x) / (1 - x))",
        "0.5 * (torch.log(1 + x) - torch.log(1 - x))",
        "torch.log((1 + x) / (1 - x)) / 2",
    ),
    "NG131": (
        "(torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x))",
        "(1 - torch.exp(-2 * x)) / (1 + torch.exp(-2 * x))",
    ),
    "NG132": (
        "p = torch.sigmoid(x)\nreturn -(1 - p) ** 2 * torch.log(p)",
        "p = x.sigmoid()\nreturn -p ** 2 * torch.log(1 - p)",
        "p = torch.sigmoid(x)\nreturn -((1 - p).pow(2) * p.log()).mean()",
        "p = torch.softmax(x, 1)\nreturn -(1 - p) ** 2 * torch.log(p)",
    ),
    "NG133": ("torch.log(torch.sinh(F.softplus(x) + 0.1))", "(x.abs() + 1).sinh().log()"),
    "NG134": (
        "torch.log(F.softplus(x))",
        "F.softplus(x).log()",
        "torch.log(torch.log(1 + torch.exp(x)))",
        "torch.log(nn.Softplus()(x))",
    ),
    "NG201": (
        "torch.log(torch.relu(x))",
        "torch.log(F.mse_loss(x, y))",
        "torch.log(x.var(1))",
        "torch.log10(torch.relu(x))",
        "F.relu(x).log()",
        "torch.log2(x.clamp(min=0))",
        "torch.log(((x - y) ** 2).mean())",
        "torch.log((x > 0).sum())",
        "torch.log(torch.relu(x) / 2)",
    ),
    "NG202": (
        "y / torch.relu(x)",
        "torch.div(y, x.var(1))",
        "y * torch.relu(x).reciprocal()",
        "y * torch.relu(x).pow(-1)",
        "y / (x.max() - x.min())",
        "y / x.abs()",
        "torch.true_divide(y, x.abs())",
    ),
    "NG203": ("torch.exp(x.clamp(max=100))", "torch.cosh(x.clamp(-100, 100))", "torch.expm1(torch.clamp(x, max=90.0))"),
    "NG204": (
        "r = torch.exp(x - y)\nreturn -torch.min(r * a, torch.clamp(r, 0.8, 1.2) * a).mean()",
        "r = (x - y).exp()\ns1 = r * a\ns2 = r.clamp(0.8, 1.2) * a\nreturn -torch.min(s1, s2)",
        "r = torch.exp(x - y)\nreturn torch.max(-a * r, -a * torch.clamp(r, 0.8, 1.2))",
        "r = torch.exp(x - y)\nreturn torch.minimum(a * r, a * torch.clamp(r, 1 - 0.2, 1 + 0.2)).mean()",
    ),
    "NG205": (
        "p = torch.relu(x)\nreturn -(p * p.log()).sum()",
        "p = torch.softmax(x, 1)\nreturn -(p * torch.log(p)).sum(1)",
        "p = torch.sigmoid(x) * torch.sigmoid(y)\nreturn p * torch.log2(p)",
    ),
    "NG206": (
        "torch.sqrt((x ** 2).mean(1) - x.mean(1) ** 2)",
        "torch.sqrt(1 - torch.cos(x) ** 2)",
        "(1 - torch.tanh(x) ** 2 - 1e-3).sqrt()",
        "torch.sqrt(1 - F.cosine_similarity(x, y))",
    ),
    "NG207": ("torch.log(1 - torch.cos(x))", "torch.log1p(-torch.sigmoid(x) * torch.sigmoid(y))"),
    "NG208": (
        "x.relu() / x.relu().sum()",
        "(x * (y > 0)).sum() / (y > 0).sum()",
        "x.abs() / x.abs().max()",
        "w = torch.relu(x)\nreturn w / w.sum(-1, keepdim=True)",
        "m = (y != 0).float()\nreturn torch.sum(x * m) / torch.sum(m)",
        "x.relu() / x.relu().mean()",
    ),
    "NG209": (
        "torch.softmax(x.masked_fill(y == 0, float('-inf')), dim=1)",
        "torch.softmax(x.masked_fill(y == 0, -math.inf), 1)",
        "F.softmax(torch.where(y > 0, x, -torch.inf), dim=-1)",
        "F.log_softmax(x.masked_fill(y == 0, -float('inf')), dim=1)",
    ),
    "NG210": (
        "s = F.softplus(x)\nreturn (y - a) ** 2 / (2 * s ** 2) + torch.log(s)",
        "s = torch.relu(x)\nreturn 0.5 * ((y - a) / s) ** 2 + s.log()",
    ),
    "NG211": (
        "(x - x.mean()) / x.std()",
        "(x - x.mean(0)) / x.std(0)",
        "(x - x.mean()) / torch.sqrt(x.var())",
        "(x - x.mean()).div(x.std())",
        "m, s = x.mean(), x.std()\nreturn (x - m) / s",
    ),
    "NG212": (
        "-torch.log(-torch.log(torch.rand_like(x)))",
        "u = torch.rand(3)\nreturn x - torch.log(-torch.log(u))",
        "u = torch.rand_like(x)\nreturn torch.log(u) - torch.log(1 - u)",
        "u = torch.empty_like(x).uniform_()\nreturn x - torch.log(-torch.log(u))",
    ),
    "NG213": (
        "torch.acos(F.cosine_similarity(x, y))",
        "torch.acos((F.normalize(x, dim=1) * F.normalize(y, dim=1)).sum(1))",
        "F.cosine_similarity(x, y).arccos()",
    ),
    "NG214": ("i = (x * y).relu().sum()\nu = x.relu().sum() + y.relu().sum() - i\nreturn i / u",),
    "NG215": (
        "p = torch.sigmoid(x)\nreturn 1 - 2 * (p * y).sum() / (p.sum() + y.sum())",
        "p, t = torch.relu(x), torch.relu(y)\nreturn 2 * (p * t).sum() / (p.sum() + t.sum())",
    ),
    "NG217": ("torch.logit(torch.softmax(x, 1))", "p = torch.softmax(x, 1)\nreturn torch.log(p / (1 - p))"),
    "NG218": ("torch.atanh(torch.tanh(x))", "torch.atanh(torch.cos(x))", "torch.arctanh(torch.tanh(x))"),
    "NG219": ("torch.cos(x) ** 1.5", "torch.pow(torch.tanh(x), 1 / 3)", "torch.tanh(x).pow(0.7)"),
    "NG220": ("torch.log(x) * (x > 0)", "(x > 0).float() * torch.log(x)"),
    "NG221": ("F.binary_cross_entropy_with_logits(x.masked_fill(m, -math.inf), y)",),
    "NG222": (
        "F.softplus(x) - y * torch.log(F.softplus(x))",
        "F.poisson_nll_loss(x.clamp(max=100), y)",
        "nn.PoissonNLLLoss()(x.clamp(max=100), y)",
    ),
    "NG226": (
        "torch.lgamma(F.softplus(x))",
        "torch.digamma(x.exp())",
        "torch.special.gammaln(torch.relu(x))",
        "torch.special.digamma(torch.relu(x))",
        "x.relu().lgamma()",
    ),
    "NG227": (
        "torch.erfinv(2 * torch.rand_like(x) - 1)",
        "torch.special.ndtri(torch.sigmoid(x))",
        "torch.special.erfinv(torch.tanh(x))",
    ),
    "NG228": ("torch.acosh(x)", "torch.log(x + torch.sqrt(x ** 2 - 1))", "x.arccosh()"),
    "NG229": ("torch.rsqrt(torch.relu(x))", "x.relu().pow(-0.5)", "1 / torch.sqrt(torch.relu(x))", "x.abs() ** -0.5"),
    "NG301": (
        "torch.sqrt(F.mse_loss(x, y))",
        "F.mse_loss(x, y) ** 0.5",
        "nn.MSELoss()(x, y).sqrt()",
        "torch.relu(x).sqrt()",
        "torch.pow(F.mse_loss(x, y), 0.5)",
        "torch.sqrt(torch.mean((x - y) ** 2))",
        "((x - y) ** 2).mean().sqrt()",
        "torch.sqrt(x.clamp(min=0))",
        "torch.mean(torch.square(x - y)).pow(1 / 2)",
    ),
    "NG302": (
        "torch.sqrt((x ** 2).sum(1))",
        "(x * x).sum(-1).sqrt()",
        "x.pow(2).sum(1, keepdim=True).sqrt()",
        "((x - y) ** 2).sum(-1) ** 0.5",
        "torch.sqrt(torch.sum(torch.square(x - y)))",
        "d = (x - y).pow(2).sum(1)\nreturn d.sqrt()",
        "torch.sqrt(torch.sum(torch.pow(x, 2), dim=1))",
    ),
    "NG303": (
        "torch.where(x > 0, torch.log(x), 0.0)",
        "torch.where(y != 0, x / y, torch.zeros_like(x))",
        "torch.where(x < 10, torch.exp(x), x)",
        "torch.where(x > 20, x, torch.log1p(torch.exp(x)))",
        "torch.log(x).masked_fill(x <= 0, 0.0)",
        "r = torch.log(x)\nr[x <= 0] = 0.0\nreturn r",
        "torch.log(x).where(x > 0, 0.0)",
    ),
    "NG304": ("(torch.sqrt(x) * (x > 0)).sum()", "(x != 0).float() * x ** 0.3"),
    "NG305": (
        "x.var(1).sqrt()",
        "torch.sqrt(((x - x.mean()) ** 2).mean())",
        "torch.var(x) ** 0.5",
        "torch.sqrt(torch.var(x, dim=1, unbiased=False))",
    ),
    "NG306": ("torch.acos(x)", "torch.asin(torch.cos(x))", "torch.arccos(x)", "x.acos()"),
    "NG307": (
        "torch.clamp(torch.exp(x), max=10)",
        "x.exp().clamp(0, 1e4)",
        "torch.min(torch.exp(x), y)",
        "torch.exp(x).clamp_max(10.0)",
        "torch.exp(x).clip(max=5.0)",
    ),
    "NG308": ("torch.nan_to_num(torch.log(x))", "(x / y).nan_to_num(0.0)", "torch.exp(x).nan_to_num()"),
    "NG309": (
        "torch.special.entr(torch.softmax(x, 1))",
        "p = torch.softmax(x, 1)\nreturn torch.xlogy(p, p)",
        "torch.special.xlogy(y, torch.softmax(x, 1))",
    ),
    "NG310": (
        "torch.relu(x) ** 0.3",
        "x.abs() ** (1 / 2.2)",
        "torch.pow(torch.relu(x), 0.7)",
        "(x.abs() ** 3).mean(1) ** (1 / 3)",
    ),
    "NG311": (
        "x / x.norm(dim=1, keepdim=True)",
        "x / torch.norm(x, p=2, dim=1, keepdim=True)",
        "x / torch.linalg.norm(x, dim=1, keepdim=True)",
        "x / (x ** 2).sum(1, keepdim=True).sqrt()",
        "n = x.norm(2, -1, True)\nreturn x.div(n)",
        "x / torch.linalg.vector_norm(x)",
    ),
    "NG312": ("torch.logsumexp(x + torch.where(y > 0, 0.0, -math.inf), dim=1)",),
    "NG313": (
        "(x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))",
        "torch.dot(x, y) / (x.norm() * y.norm())",
        "(x * y).sum(-1) / x.norm(dim=-1) / y.norm(dim=-1)",
    ),
    "NG314": ("p = torch.sigmoid(x)\nreturn (1 - p) ** 0.5 * -F.logsigmoid(x)",),
    "NG315": ("((x.pow(2).sum(1).sqrt() - 1) ** 2).mean()",),
    "NG316": ("torch.atan(y / x)", "torch.arctan(x / y)", "(x / y).atan()"),
    "NG317": ("torch.hypot(x, y)", "torch.sqrt(x ** 2 + y ** 2)", "(x * x + y * y).sqrt()", "x.hypot(y)"),
    "NG318": ("torch.sin(x) / x", "torch.tanh(x) / x", "(torch.exp(x) - 1) / x", "torch.log1p(x) / x", "x / x.abs()"),
    "NG320": ("torch.exp(torch.sum(torch.log(torch.relu(x)), 1))", "torch.relu(x).log().mean().exp()"),
    "NG401": ("torch.log(1 + x)", "torch.log(x + 1)", "(1 + x).log()", "torch.log(1 + x.abs())", "(x + 1.0).log2()"),
    "NG402": ("torch.exp(x) - 1", "-1 + torch.exp(x)", "x.exp() - 1.0", "torch.exp(x).sub(1)", "x.exp().add(-1)"),
    "NG403": (
        "1 - torch.exp(-x)",
        "1.0 - (-x).exp()",
        "torch.sub(1, torch.exp(-x))",
        "1 - torch.exp(-x.relu() * y.relu())",
    ),
    "NG405": ("(x ** 2).mean(1) - x.mean(1) ** 2", "torch.mean(x * x, dim=0) - torch.mean(x, dim=0).pow(2)"),
    "NG406": (
        "((x ** 2).sum(1, keepdim=True) + (y ** 2).sum(1) - 2 * x @ y.t()).clamp(min=0)",
        "(torch.sum(x ** 2, 1)[:, None] - 2 * torch.matmul(x, y.T) + torch.sum(y ** 2, 1)).relu()",
    ),
    "NG407": (
        "torch.exp(x) - 1 - x",
        "(x.exp() - 1) - x",
        "r = x - y\nreturn torch.exp(r) - r - 1",
        "r = torch.exp(x - y)\nreturn (r - 1) - (x - y)",
    ),
    "NG410": (
        "torch.sqrt(1 - F.cosine_similarity(x, y))",
        "(2 - 2 * F.cosine_similarity(x, y, dim=-1)).sqrt()",
        "torch.sqrt(1 - nn.CosineSimilarity(dim=1)(x, y))",
    ),
    "NG412": ("y / (1 - torch.tanh(x) ** 2)", "a = torch.tanh(x)\nreturn torch.sqrt(1 - a * a)"),
    "NG413": ("1 / (torch.sqrt(1 + x ** 2) - 1)", "torch.log((1 + (x / 3.0) ** 2).sqrt() - 1)"),
    "NG414": ("y / torch.log(1 + x ** 2)", "torch.sqrt((1 + x * x).log())"),
    "NG415": ("torch.sqrt(1 - torch.cos(x))", "1 / (1 - x.cos())"),
    "NG416": ("1 - torch.erf(x)", "1 - torch.special.ndtr(x)", "1 - x.erf()"),
    "NG418": ("1 / (torch.exp(a) - torch.exp(b))", "2 / (a.exp() - b.exp())"),
    "NG419": ("1 - (1 - x) ** 5", "1 - torch.prod(1 - p, dim=1)", "1 - (1 - p).cumprod(1)"),
    "NG423": ("(torch.sigmoid(x) - 0.5) / x", "1 / (2 * torch.sigmoid(x) - 1)", "1 / (x.sigmoid() * 2 - 1)"),
    "NG426": ("torch.lgamma(x + y) - torch.lgamma(y) - torch.lgamma(x + 1)",),
    "NG427": ("torch.log(x.relu() + 1) - torch.log(x.relu() + 1 + y.relu())",),
    "NG428": ("torch.log(1 - torch.softmax(x, 1).cumsum(1)[:, :-1])",),
    "NG429": ("torch.log(torch.cumsum(torch.exp(x), 1))", "x.exp().cumsum(0).log()"),
    "NG503": ("torch.log((torch.softmax(x, 1) * torch.softmax(y, 1)).clamp(min=1e-7))",),
    "NG504": ("torch.log(torch.softmax(x, 1) * torch.softmax(y, 1) + 1e-8)",),
    "NG505": ("torch.sqrt(x.relu()) + 1e-8", "torch.log(x.relu()) + 1e-8"),
    "NG506": ("torch.log(1 + 1e-8 - torch.sigmoid(x) * torch.sigmoid(y))",),
    "NG507": ("torch.clamp(torch.log(x.relu()), min=-100)", "x.relu().log().clamp(min=-100)"),
    "NG511": (
        "torch.acos(x.clamp(-1, 1))",
        "torch.acos(torch.clamp(F.cosine_similarity(x, y), -1.0, 1.0))",
        "torch.asin(torch.clamp(x, -1, 1))",
    ),
    "NG513": (
        "y / (torch.tanh(x) + 1e-4)",
        "y / (torch.sin(x) + 1e-4)",
    ),
    "NG515": ("F.binary_cross_entropy(torch.sigmoid(x) * torch.sigmoid(y), a)",),
    "NG601": ("F.cross_entropy(torch.softmax(x, 1), i)", "nn.CrossEntropyLoss()(F.softmax(x, dim=1), i)"),
    "NG602": ("F.binary_cross_entropy_with_logits(torch.sigmoid(x), y)", "nn.BCEWithLogitsLoss()(x.sigmoid(), y)"),
    "NG603": ("F.nll_loss(torch.softmax(x, 1), i)", "nn.NLLLoss()(torch.softmax(x, 1), i)"),
    "NG604": ("F.nll_loss(nn.Linear(3, 2)(x), i)",),
    "NG605": ("F.kl_div(torch.softmax(x, 1), torch.softmax(y, 1))", "nn.KLDivLoss()(torch.softmax(x, 1), y)"),
    "NG606": ("F.kl_div(F.log_softmax(x, 1), F.log_softmax(y, 1), reduction='batchmean')",),
    "NG607": ("F.kl_div(F.log_softmax(x, 1), torch.softmax(y, 1))",),
    "NG609": (
        "torch.distributions.Categorical(torch.softmax(x, 1)).log_prob(i)",
        "d = torch.distributions.Categorical(probs=torch.softmax(x, dim=-1))\nreturn d.log_prob(i)",
        "torch.distributions.Bernoulli(torch.sigmoid(x)).log_prob(y)",
    ),
    "NG610": ("F.binary_cross_entropy(nn.Linear(3, 2)(x), y)",),
    "NG614": ("F.poisson_nll_loss(torch.exp(x), y)", "F.poisson_nll_loss(F.softplus(x), y)"),
    "NG615": ("torch.log(F.log_softmax(x, 1))", "torch.log(F.logsigmoid(x))"),
    "NG616": ("F.cross_entropy(torch.sigmoid(x), i)", "nn.CrossEntropyLoss()(torch.tanh(x), i)"),
}

# What a spelling is found under where another rule says more about it than its own.
ALSO: dict[str, str] = {
    "-torch.log(1 / (1 + torch.exp(x)))": "NG102",
    "torch.log(torch.cosh(x) ** -2)": "NG116",
    "p = torch.sigmoid(x)\nreturn -y * p.log() - (1 - y) * (1 - p).log()": "NG102",
    "torch.log1p(-torch.exp(-F.softplus(x)))": "NG102",
    "torch.log(-torch.expm1(-x.abs()))": "NG207",
    "q = torch.exp(F.logsigmoid(x).clamp(max=-1e-9))\nreturn torch.log(1 - q)": "NG102",
    "torch.log(torch.exp(x) * y.relu())": "NG120",
    "p = torch.sigmoid(x) * torch.sigmoid(y)\nreturn p * torch.log2(p)": "NG120",
    "torch.sqrt(1 - F.cosine_similarity(x, y))": "NG410",
    "torch.log(x.relu() + 1) - torch.log(x.relu() + 1 + y.relu())": "NG401",
    "torch.log(torch.cumsum(torch.exp(x), 1))": "NG104",
    "x.exp().cumsum(0).log()": "NG104",
}


def lines(text: str) -> str:
    """The statements of a spelling."""
    return text if "return " in text else f"return {text}"


def function(number: int, text: str) -> str:
    """A function of a spelling, its arguments the names that it does not define."""
    body = lines(text)
    tree = ast.parse(textwrap.dedent(body).replace("return ", "_ = "))
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    taken = dict.fromkeys(node.id for node in names if isinstance(node.ctx, ast.Load) and node.id not in made | GIVEN)
    return f"\n\ndef f{number}({', '.join(taken)}):\n{textwrap.indent(body, '    ')}\n"


ROWS = [(code, text) for code, listed in SPELLINGS.items() for text in listed]


@cache
def suspected() -> dict[str, frozenset[str]]:
    """The codes that are matched in each function."""
    source = HEAD + "".join(function(number, text) for number, (_, text) in enumerate(ROWS))
    codes: dict[str, set[str]] = {}
    for suspect in scan("spellings.py", source, ast.parse(source), Settings(), None).suspects:
        codes.setdefault(suspect.place.target, set()).add(suspect.match.rule.code)
    return {target: frozenset(held) for target, held in codes.items()}


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[f"{code} {text}" for code, text in ROWS])
def test_spelling_is_matched(number: int) -> None:
    code, text = ROWS[number]
    assert ALSO.get(text, code) in suspected().get(f"f{number}", frozenset())


@pytest.mark.parametrize("code", SPELLINGS)
def test_last_spelling_is_proved(code: str) -> None:
    text = SPELLINGS[code][-1]
    result = examine("spelling.py", HEAD + function(0, text), Settings(static=True), None)
    assert ALSO.get(text, code) in {finding.code for finding in result.findings if finding.confirmed}
