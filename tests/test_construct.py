"""Constructing: the callable of a dotted name, with an object of its class whatever its constructor needs."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from nanguard.lazy import load_torch
from nanguard.tracing.construct import resolve
from nanguard.tracing.load import load_module
from nanguard.tracing.tracer import TraceError

torch = load_torch()
nn = torch.nn

HEAD = """\
import abc
import functools
import torch
import torch.nn.functional as F
from torch import nn

"""


def resolved(path: Path, text: str, name: str) -> Any:
    """What `name` of a file with this text resolves to, as something that can be called."""
    source = HEAD + dedent(text)
    path.write_text(source, encoding="utf-8")
    resolved = resolve(load_module(str(path), source), name, "m.py:1")
    return getattr(resolved.found, resolved.method) if isinstance(resolved.found, nn.Module) else resolved.found


CONSTRUCTORS = [
    "num_classes, embedding_size",
    "margin, gamma, temperature, eps",
    "mode: str",
    "loss_fn, discriminator",
    "encoder: nn.Module, criterion: nn.Module",
    "class_weights: torch.Tensor",
    "in_channels: int, flag: bool, name: str",
    "config",
    "cfg, *, horizon",
    "device, dtype",
    "*args, reduction='mean', **kwargs",
]


@pytest.mark.parametrize("parameters", CONSTRUCTORS)
def test_required_arguments_are_made_up(tmp_path: Path, parameters: str) -> None:
    text = f"""
    class Loss(nn.Module):
        def __init__(self, {parameters}):
            super().__init__()

        def forward(self, x):
            return x.log()
    """
    call = resolved(tmp_path / "m.py", text, "Loss.forward")
    assert call(torch.ones(2)).sum() == 0
    assert type(call.__self__).__mro__[0].__name__ == "Loss"


BODIES = [
    ("num_classes, embedding_size", "self.w = nn.Parameter(torch.randn(num_classes, embedding_size))"),
    ("mode", "assert mode in ('binary', 'multiclass'), mode\nself.w = mode"),
    ("mode", "if mode not in {'a', 'b'}:\n    raise ValueError(mode)\nself.w = mode"),
    ("alpha, gamma", "self.w = torch.tensor([alpha, gamma])"),
    ("class_counts", "self.w = torch.as_tensor(class_counts).float().sum()"),
    ("model", "self.w = model.to('cpu').eval()"),
    ("criterion", "self.w = criterion(torch.ones(2), torch.ones(2))"),
    ("config", "self.w = config.loss.margin * config['embedding_size']"),
    ("weights", "self.w = {key: value * 2 for key, value in weights.items()}"),
    ("layers", "self.w = [nn.Linear(3, 3) for _ in layers]"),
    ("reduction", "if reduction not in ('mean', 'sum'):\n    raise ValueError(f'unknown {reduction}')\nself.w = 1"),
    ("n_out", "self.w = nn.Linear(4, n_out)"),
]


@pytest.mark.parametrize("parameters, body", BODIES)
def test_constructors_run(tmp_path: Path, parameters: str, body: str) -> None:
    body = body.replace("\n", "\n            ")
    text = f"""
    class Loss(nn.Module):
        def __init__(self, {parameters}):
            super().__init__()
            {body}
            self.done = True

        def forward(self, x):
            return x
    """
    built = resolved(tmp_path / "m.py", text, "Loss.forward").__self__
    assert vars(built)["done"] is True


def test_inherited_constructors_get_what_they_need(tmp_path: Path) -> None:
    text = """
    class Base(nn.Module):
        def __init__(self, num_classes, embedding_size):
            super().__init__()
            self.w = torch.randn(num_classes, embedding_size)

        def forward(self, x):
            return self.compute(x)

    class Loss(Base):
        def __init__(self, *args, margin=0.1, **kwargs):
            super().__init__(*args, **kwargs)
            self.done = True

        def compute(self, x):
            return x @ self.w.T
    """
    call = resolved(tmp_path / "m.py", text, "Loss")
    assert vars(call.__self__)["done"] is True
    assert call(torch.ones(2, 3)).shape == (2, 3)


def test_what_cannot_be_built_is_stood_in_for(tmp_path: Path) -> None:
    text = """
    class Loss(nn.Module):
        def __init__(self, path):
            super().__init__()
            self.margin = 0.25
            raise RuntimeError(f"no such file: {path}")
            self.encoder = nn.Linear(3, 3)

        def forward(self, x):
            return self.encoder(x) * self.margin / self.temperature + self.config.weight
    """
    call = resolved(tmp_path / "m.py", text, "Loss.forward")
    assert call(torch.ones(2)).shape == (2,)
    assert call.__self__.margin == 0.25


def test_nothing_is_fetched(tmp_path: Path) -> None:
    text = """
    import socket

    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = torch.hub.load_state_dict_from_url("http://127.0.0.1:9/weights.pt")

        def forward(self, x):
            return x * 2
    """
    call = resolved(tmp_path / "m.py", text, "Loss.forward")
    assert call(torch.ones(1)) == 2


CALLABLES = [
    ("def f(x):\n    return x", "f"),
    ("f = lambda x: x", "f"),
    ("def g(x, k):\n    return x\n\nf = functools.partial(g, k=2)", "f"),
    ("class C:\n    def __call__(self, x):\n        return x", "C"),
    ("class C:\n    def __call__(self, x):\n        return x", "C.__call__"),
    ("class C:\n    def loss(self, x):\n        return x", "C.loss"),
    ("class C:\n    def compute_loss(self, x):\n        return x", "C"),
    ("class C:\n    @staticmethod\n    def f(x):\n        return x", "C.f"),
    ("class C:\n    @classmethod\n    def f(cls, x):\n        return x", "C.f"),
    ("class C(nn.Module):\n    def loss(self, x):\n        return x", "C.loss"),
    ("class C(nn.Module):\n    def loss(self, x):\n        return x", "C"),
    ("class C(nn.Module):\n    def __call__(self, x):\n        return x", "C"),
    ("class B(nn.Module):\n    def forward(self, x):\n        return x\n\nclass C(B):\n    pass", "C"),
    (
        "class B(abc.ABC):\n    @abc.abstractmethod\n    def h(self, x): ...\n"
        "    def f(self, x):\n        return self.h(x)\n"
        "\nclass C(B):\n    def h(self, x):\n        return x",
        "B.f",
    ),
]


@pytest.mark.parametrize("text, name", CALLABLES)
def test_callables(tmp_path: Path, text: str, name: str) -> None:
    x = torch.ones(3)
    assert resolved(tmp_path / "m.py", text, name)(x) is x


def test_a_property_is_called(tmp_path: Path) -> None:
    text = "class C(nn.Module):\n    @property\n    def loss(self):\n        return torch.ones(2).sum()"
    assert resolved(tmp_path / "m.py", text, "C.loss")() == 2


FAILING = [
    ("def f(x):\n    def g(y):\n        return y\n    return g(x)", "f.g", "f.g is defined inside a function"),
    ("f = open('nowhere.txt')", "g", "g is not defined once the module is loaded"),
    ("class C:\n    def other(self):\n        pass", "C", "C has no method that it is called by"),
    ("f = 3", "f", "f is no function once the module is loaded"),
]


@pytest.mark.parametrize("text, name, reason", FAILING)
def test_what_cannot_be_reached_has_a_reason(tmp_path: Path, text: str, name: str, reason: str) -> None:
    with pytest.raises(TraceError, match=f"m.py:1: {reason}"):
        resolved(tmp_path / "m.py", text, name)
