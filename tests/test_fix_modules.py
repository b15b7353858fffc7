"""Fixes of what a module of torch computes: its settings are written as the module keeps them."""

from __future__ import annotations

import inspect
from functools import reduce

import pytest
import torch

from nanguard import ops
from nanguard.analyse import examine
from nanguard.settings import Settings

HEAD = "import torch\nimport torch.nn as nn\n\n\n"


def loss(built: str, parameters: str = "") -> str:
    return (
        f"{HEAD}class Loss(nn.Module):\n    def __init__(self{parameters}):\n        super().__init__()\n"
        f"        self.softmax = {built}\n\n    def forward(self, x):\n        return torch.log(self.softmax(x))\n"
    )


@pytest.mark.parametrize(
    ("built", "parameters"), [("nn.Softmax(dim=1)", ""), ("nn.Softmax(-1)", ""), ("nn.Softmax(dim)", ", dim=1")]
)
def test_the_dimension_of_a_softmax(built: str, parameters: str) -> None:
    (finding,) = examine("m.py", loss(built, parameters), Settings(static=True), None).findings
    assert finding.fix is not None
    assert finding.fix.kind == "stable"
    assert finding.fix.replacement == "nn.functional.log_softmax(x, dim=self.softmax.dim)"


def test_the_name_in_the_expression_is_taken() -> None:
    source = loss("nn.Softmax(dim=1)").replace("(self.softmax(x))", "(self.softmax(x)) + torch.log(x.softmax(dim=k))")
    source = source.replace("def forward(self, x)", "def forward(self, x, k=1)")
    found = examine("m.py", source, Settings(static=True), None).findings
    texts = sorted(finding.fix.replacement for finding in found if finding.fix is not None)
    assert texts == [f"nn.functional.log_softmax(x, dim={dim})" for dim in ("k", "self.softmax.dim")]


def kept() -> list[tuple[str, str]]:
    """The settings of modules that are attributes of their operations, by the names of both."""
    return [
        (spelling.name, key)
        for listed in ops.spellings().values()
        for spelling in listed
        if spelling.constructor is not None
        for key, _ in spelling.constructor.attrs
        if key in dict(ops.rows()[spelling.op].signature.attrs)
    ]


@pytest.mark.parametrize(("name", "key"), kept())
def test_modules_keep_their_settings_under_the_names_of_the_arguments(name: str, key: str) -> None:
    module = reduce(getattr, ops.full_name(name).split(".")[1:], torch)
    assert any(f"self.{key}" in inspect.getsource(base) for base in module.__mro__ if base is not object)
