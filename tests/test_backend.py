"""The backend of torch.compile: what Dynamo captures is rewritten and handed on."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nanguard
from nanguard.errors import NanguardWarning
from nanguard.runtime import backend
from nanguard.runtime.graphs import rewritten_module

X = torch.tensor([-200.0, -1.0, 0.5, 200.0])
EAGER = {"inner": "eager"}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def risky(x):
    return torch.log(torch.sigmoid(x))


def breaking(x):
    value = torch.log(1 - torch.sigmoid(x))
    if value.sum() > 0:
        return value
    return -value


def test_it_is_found_by_its_name() -> None:
    assert "nanguard" in torch._dynamo.list_backends()


def test_values_and_gradients() -> None:
    compiled = torch.compile(risky, backend="nanguard", options={"inner": "aot_eager"}, fullgraph=True)
    x = X.clone().requires_grad_()
    value = compiled(x)
    value.sum().backward()
    assert torch.equal(value, F.logsigmoid(X))
    assert torch.allclose(x.grad, torch.sigmoid(-X), rtol=1e-6, atol=0)


def test_dynamic_shapes_and_graph_breaks() -> None:
    compiled = torch.compile(breaking, backend="nanguard", options=EAGER, dynamic=True)
    for size in (3, 5, 8):
        x = torch.linspace(-100, 100, size)
        assert torch.equal(compiled(x), -F.logsigmoid(-x))


def test_a_module_with_parameters() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid())
    compiled = torch.compile(lambda x: model(x).log(), backend="nanguard", options=EAGER)
    far = 1000 * X
    assert torch.allclose(compiled(far), F.logsigmoid(model[0](far)))


def test_options() -> None:
    clamped = torch.compile(risky, backend="nanguard", options={**EAGER, "prefer": "clamp", "eps": 1e-3})
    assert clamped(X)[0].item() == pytest.approx(-6.9078, abs=1e-3)
    torch._dynamo.reset()
    ignoring = torch.compile(risky, backend="nanguard", options={**EAGER, "ignore": ["NG101"]})
    assert ignoring(X)[0].item() == float("-inf")


@pytest.mark.parametrize(
    "options, message",
    [({"inner": "nope"}, "there is no backend 'nope'"), ({"iner": "eager"}, "has no option 'iner'"),
     ({"prefer": "best", **EAGER}, "'stable' or 'clamp', not 'best'")],
)  # fmt: skip
def test_wrong_options_are_told(options: dict[str, str], message: str) -> None:
    with pytest.raises(Exception, match=message):
        torch.compile(risky, backend="nanguard", options=options)(X)


def test_without_a_compiler_it_runs_eagerly_with_one_warning(monkeypatch) -> None:
    monkeypatch.setattr(backend, "_warned", False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.warns(NanguardWarning, match="no C\\+\\+ compiler"):
        assert torch.equal(torch.compile(risky, backend="nanguard")(X), F.logsigmoid(X))
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error", NanguardWarning)
        assert torch.equal(torch.compile(risky, backend="nanguard")(X), F.logsigmoid(X))


def test_a_graph_module_is_rewritten_as_a_graph_module() -> None:
    traced = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Softplus()))
    graph = torch.fx.symbolic_trace(risky)
    stable = nanguard.rewrite(graph)
    assert isinstance(stable, torch.fx.GraphModule)
    assert torch.equal(stable(X), F.logsigmoid(X))
    assert [replacement.code for replacement in stable.report()] == ["NG101"]
    assert "log_sigmoid" in stable.code
    assert graph(X)[0].item() == float("-inf")
    untouched = nanguard.rewrite(traced, example_inputs=(X,))
    assert untouched.state_dict().keys() == traced.state_dict().keys()
    assert torch.equal(untouched(X), traced(X))


def test_an_exported_program() -> None:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return -torch.log(1 - torch.sigmoid(self.layer(x))).mean()

    loss = Loss()
    module = torch.export.export(loss, (X,)).module()
    stable, done = rewritten_module(module, nanguard.runtime.captured.Options(), (X,))
    assert [replacement.code for replacement in done] == ["NG102"]
    far = 1000 * X
    assert torch.allclose(stable(far), -F.logsigmoid(-loss.layer(far)).mean())


def test_an_exported_program_with_a_dynamic_size() -> None:
    program = torch.export.export(Scaled(), (X,), dynamic_shapes={"x": {0: torch.export.Dim("n")}})
    stable = nanguard.rewrite(program)
    assert [replacement.code for replacement in stable.report()] == ["NG101"]
    x = torch.full((7,), -200.0)
    assert torch.equal(stable(x), torch.full((7,), -400.0))
    assert torch.equal(torch.export.export(stable, (x,)).module()(x), stable(x))
    assert torch.equal(torch.compile(stable, backend="eager", fullgraph=True)(x), stable(x))


class Scaled(nn.Module):
    """A loss with a parameter and a number of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.scale = 2.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * torch.log(torch.sigmoid(x * self.weight))


def test_a_rewritten_module_is_compiled_whole() -> None:
    stable = nanguard.rewrite(Scaled())
    compiled = torch.compile(stable, backend="eager", fullgraph=True)
    x = torch.tensor([-200.0, 1.0])
    value = compiled(x)
    assert torch.equal(value, 2 * F.logsigmoid(x))
    value.sum().backward()
    assert stable.weight.grad is not None
    stable.scale = 3.0  # what was rewritten is not true of it any more
    assert compiled(x)[1].item() == pytest.approx(3 * F.logsigmoid(x)[1].item())


def test_a_guarded_module_is_compiled_as_it_was_written() -> None:
    guarded = nanguard.guard(Scaled())
    x = torch.tensor([-1.0, 1.0])
    assert torch.equal(guarded(x), 2 * F.logsigmoid(x))
    compiled = torch.compile(guarded, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x), 2 * F.logsigmoid(x))


@pytest.mark.skipif(
    shutil.which("g++") is None, reason="inductor compiles for the CPU with a C++ compiler: none is here"
)
def test_inductor_gets_the_stable_graph() -> None:
    compiled = torch.compile(risky, backend="nanguard", options={"inner": "inductor"}, fullgraph=True)
    assert torch.allclose(compiled(X), F.logsigmoid(X), rtol=1e-6)  # without a gradient: half the compiling
