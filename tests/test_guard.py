"""Guards: each pitfall of replacing expressions at run time, on the graph and under the mode."""

from __future__ import annotations

import copy
import gc
import inspect
import os
import pickle
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import nanguard
from nanguard.errors import NanguardError

X = torch.tensor([-200.0, -1.0, 0.5, 200.0])
HERE = Path(__file__)


@nanguard.guard
def risky(x, scale=1.0):
    """A loss."""
    return torch.log(torch.sigmoid(x)) * scale


_calls: list[int] = []


def counting(x, scale=1.0):
    """The same, where no graph can be made."""
    _calls.append(1)
    return torch.log(torch.sigmoid(x)) * scale


def guarded() -> list[Callable]:
    """A guard that runs a graph, and one that runs under the mode."""
    return [nanguard.guard(lambda x, scale=1.0: torch.log(torch.sigmoid(x)) * scale), nanguard.guard(counting)]


WAYS = pytest.mark.parametrize("way", [0, 1], ids=["graph", "mode"])


@pytest.fixture
def loss(way: int) -> Callable:
    return guarded()[way]


def codes(target: Callable) -> list[str]:
    return [replacement.code for replacement in target.report()]


@WAYS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_and_gradients(loss: Callable, dtype: torch.dtype) -> None:
    x = X.to(dtype).clone().requires_grad_()
    value = loss(x)
    assert torch.equal(value, F.logsigmoid(x))
    (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    assert torch.allclose(gradient, torch.sigmoid(-x), rtol=1e-6, atol=0)
    (second,) = torch.autograd.grad(gradient.sum(), x)
    assert torch.allclose(second, -torch.sigmoid(x) * torch.sigmoid(-x), rtol=1e-5, atol=1e-30)
    assert codes(loss) == ["NG101"]
    assert loss.report()[0].path == __file__
    assert loss.report()[0].after == "F.logsigmoid(x)"


@WAYS
def test_options_of_the_call(loss: Callable) -> None:
    assert torch.equal(loss(X, scale=2.0), 2 * F.logsigmoid(X))
    assert torch.equal(loss(X, 3.0), 3 * F.logsigmoid(X))
    assert torch.equal(loss(scale=X, x=X), X * F.logsigmoid(X))
    with pytest.raises(TypeError, match="missing 1 required"):
        loss()


@WAYS
def test_transforms_at_the_first_call(loss: Callable) -> None:
    assert torch.equal(torch.func.vmap(loss)(X[:, None]), F.logsigmoid(X)[:, None])
    assert torch.allclose(torch.func.grad(lambda x: loss(x).sum())(X), torch.sigmoid(-X), rtol=1e-6, atol=0)
    hessian = torch.func.hessian(lambda x: loss(x).sum())(X[1:3])
    assert torch.allclose(hessian.diagonal(), -torch.sigmoid(X[1:3]) * torch.sigmoid(-X[1:3]))
    assert torch.equal(loss(X), F.logsigmoid(X))


@WAYS
def test_grad_mode_inference_mode_and_autocast(loss: Callable) -> None:
    x = X.clone().requires_grad_()
    with torch.no_grad():
        assert not loss(x).requires_grad
    with torch.inference_mode():
        assert torch.equal(loss(x), F.logsigmoid(X))
    assert loss(x).requires_grad
    product = nanguard.guard(lambda x, y: torch.log(torch.sigmoid(x @ y)))
    a, b = torch.randn(2, 3), torch.randn(3, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product(a, b).dtype == product.original(a, b).dtype
        assert loss(x.bfloat16()).dtype == loss.original(x.bfloat16()).dtype
    assert product(a, b).dtype == torch.float32


def in_place(x):
    p = torch.sigmoid(x)
    p.clamp_(0.027, 0.973)
    return torch.log(p)


def in_place_of_a_view(x):
    p = torch.sigmoid(x)
    p.view(-1)[:2].zero_().add_(0.5)
    return torch.log(p)


def in_place_behind_the_back(x):
    p = torch.sigmoid(x)
    p.data.fill_(0.5)
    return torch.log(p)


def argument_overwritten(x):
    x = x * 1
    p = torch.sigmoid(x)
    x.zero_()
    return torch.log(p)


@pytest.mark.parametrize("written", [in_place, in_place_of_a_view, in_place_behind_the_back, argument_overwritten])
@WAYS
def test_writes_in_place_stay(written: Callable, way: int) -> None:
    def branches(x):
        return written(x) if x.sum() < 1e9 else x

    loss = nanguard.guard((written, branches)[way])
    x = torch.tensor([-3.0, 0.5, 20.0])
    for _ in range(2):
        assert torch.allclose(loss(x), written(x), rtol=1e-6)


def test_no_branch_is_changed() -> None:
    taken = []

    @nanguard.guard
    def loss(x):
        value = -torch.log(torch.sigmoid(x)).mean()
        if not value.isfinite():
            taken.append("inf")
            return value * 0
        taken.append("finite")
        return value

    for _ in range(2):
        loss(X)
        loss(X[1:])
    assert taken == ["inf", "finite"] * 2


def test_effects_happen_once_a_call(capsys) -> None:
    history: list[float] = []
    seen = {"calls": 0}

    @nanguard.guard
    def loss(x):
        value = torch.log(torch.sigmoid(x))
        history.append(float(value.detach().mean()))
        seen["calls"] += 1
        print("loss")
        return value

    for _ in range(3):
        assert torch.equal(loss(X), F.logsigmoid(X))
    assert (len(history), seen["calls"], capsys.readouterr().out) == (3, 3, "loss\n" * 3)


def test_effects_alone_are_seen() -> None:
    history: list[torch.Tensor] = []

    @nanguard.guard
    def loss(x):
        history.append(x)
        return torch.log(torch.sigmoid(x))

    loss(X)
    loss(X)
    assert [type(item) for item in history] == [torch.Tensor] * 2


def test_random_numbers_are_those_of_the_program() -> None:
    def noisy(x):
        return torch.log(torch.sigmoid(x + torch.randn_like(x))) * torch.rand(1)

    loss = nanguard.guard(noisy)
    for _ in range(2):
        torch.manual_seed(3)
        expected = [noisy(X[1:3]) for _ in range(2)]
        torch.manual_seed(3)
        for value in expected:
            assert torch.allclose(loss(X[1:3]), value, rtol=1e-6)


def test_errors_are_those_of_the_program() -> None:
    @nanguard.guard
    def loss(x, y):
        return torch.log(torch.sigmoid(torch.dot(x, y)))

    assert torch.equal(loss(X, X), F.logsigmoid(torch.dot(X, X)))
    with pytest.raises(RuntimeError, match="1D tensors expected") as caught:
        loss(torch.ones(2, 2), torch.ones(2, 2))
    assert caught.traceback[-1].path == HERE

    @nanguard.guard
    def raising(x):
        raise ValueError("not like this")

    with pytest.raises(ValueError, match="not like this"):
        raising(X)


@pytest.mark.parametrize("reentrant", [False, True])
@WAYS
def test_checkpointing_at_the_first_call(loss: Callable, reentrant: bool) -> None:
    x = X.clone().requires_grad_()
    value = checkpoint(loss, x, use_reentrant=reentrant)
    value.sum().backward()
    assert torch.allclose(x.grad, torch.sigmoid(-X), rtol=1e-6, atol=0)


def test_compile_takes_a_guarded_function_whole() -> None:
    compiled = torch.compile(lambda x: risky(x).sum(), backend="eager", fullgraph=True)
    x = X[1:3]
    assert torch.allclose(compiled(x), F.logsigmoid(x).sum())
    assert torch.allclose(risky(x), F.logsigmoid(x))
    torch._dynamo.reset()


def test_compile_with_the_backend_of_nanguard_replaces() -> None:
    compiled = torch.compile(risky, backend="nanguard", options={"inner": "eager"}, fullgraph=True)
    assert torch.equal(compiled(X), F.logsigmoid(X))
    torch._dynamo.reset()


def test_a_guarded_function_is_still_that_function() -> None:
    assert (risky.__name__, risky.__doc__, risky.__module__) == ("risky", "A loss.", __name__)
    assert str(inspect.signature(risky)) == "(x, scale=1.0)"
    assert inspect.unwrap(risky) is risky.original
    assert pickle.loads(pickle.dumps(risky)) is risky
    assert copy.deepcopy(risky) is risky
    again = pickle.loads(pickle.dumps(nanguard.guard(counting)))
    assert torch.equal(again(X), F.logsigmoid(X))


class Trainer:
    """A plain class with a guarded method."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    @nanguard.guard(prefer="stable")
    def loss(self, x):
        return torch.log(torch.sigmoid(x)) * self.scale

    @staticmethod
    @nanguard.guard
    def static(x):
        return torch.log(torch.sigmoid(x))

    @nanguard.guard
    @classmethod
    def of_class(cls, x):
        return torch.log(torch.sigmoid(x))


def test_methods() -> None:
    one, other = Trainer(1.0), Trainer(2.0)
    for _ in range(2):
        assert torch.equal(one.loss(X), F.logsigmoid(X))
        assert torch.equal(other.loss(X), 2 * F.logsigmoid(X))
        assert torch.equal(Trainer.loss(other, X), 2 * F.logsigmoid(X))
    other.scale = 3.0
    assert torch.equal(other.loss(X), 3 * F.logsigmoid(X))
    assert torch.equal(Trainer.static(X), F.logsigmoid(X))
    assert torch.equal(Trainer.of_class(X), F.logsigmoid(X))
    assert torch.equal(nanguard.guard(one.loss.__func__.original.__get__(one))(X), F.logsigmoid(X))


def test_an_object_is_not_kept_alive() -> None:
    trainer = Trainer(1.0)
    trainer.loss(X)
    alive = weakref.ref(trainer)
    del trainer
    gc.collect()
    assert alive() is None


class Loss(nn.Module):
    """A loss with a layer and a training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        p = torch.sigmoid(self.layer(x))
        return -torch.log(p).mean() * (2 if self.training else 1)


@nanguard.guard
class Guarded(Loss):
    """The same, guarded as a class."""

    def forward(self, x):
        return super().forward(x) * 1


class Method(Loss):
    """The same, with a guarded method."""

    @nanguard.guard
    def forward(self, x):
        p = torch.sigmoid(self.layer(x))
        return -torch.log(p).mean() * (2 if self.training else 1)


@pytest.fixture(params=["instance", "class", "method"])
def module(request) -> nn.Module:
    torch.manual_seed(0)
    return {"instance": lambda: nanguard.guard(Loss()), "class": Guarded, "method": Method}[request.param]()


ROWS = torch.linspace(-300, 300, 12).reshape(4, 3)


def plain(module: nn.Module) -> Loss:
    """A loss of the same weights that is not guarded."""
    result = Loss()
    result.load_state_dict(module.state_dict())
    result.train(module.training)
    return result.double()


def right(module: nn.Module) -> bool:
    exact = -F.logsigmoid(plain(module).layer(ROWS.double())).mean() * (2 if module.training else 1)
    return torch.allclose(module(ROWS).double(), exact, rtol=1e-4)


def test_a_module_stays_what_it_is(module: nn.Module) -> None:
    assert isinstance(module, Loss)
    assert not isinstance(module, torch.fx.GraphModule)
    assert list(module.state_dict()) == list(Loss().state_dict())
    assert not plain(module).float()(ROWS).isfinite()
    assert right(module)
    module.eval()
    assert right(module)
    module.train()
    assert right(module)
    with torch.no_grad():
        module.layer.weight.mul_(-1)
    assert right(module)
    seen = []
    module.register_forward_hook(lambda *_: seen.append("root"))
    module.layer.register_forward_hook(lambda *_: seen.append("layer"))
    assert right(module)
    assert seen == ["layer", "root"]


def test_copies_of_a_module_are_guarded_and_their_own(module: nn.Module) -> None:
    module(ROWS)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        with torch.no_grad():
            other.layer.weight.mul_(3)
        assert right(other)
        assert right(module)
        assert other.layer.weight is not module.layer.weight


def test_data_parallel_training_of_two_processes(tmp_path: Path) -> None:
    script = tmp_path / "ddp.py"
    script.write_text(DDP)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=240, cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout.count("equal") == 2, done.stderr  # the two may write at the same time


DDP = """
import os, sys, torch, nanguard
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    @nanguard.guard
    def forward(self, x):
        return -torch.log(torch.sigmoid(self.layer(x))).mean()

class Stable(Model):
    def forward(self, x):
        return -F.logsigmoid(self.layer(x)).mean()

def main(rank, path):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    weights = []
    for kind in (Model, Stable):
        torch.manual_seed(0)
        model = DistributedDataParallel(kind())
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        for step in range(3):
            optimizer.zero_grad()
            model(torch.full((2, 3), -100.0 * (rank + 1) + step)).backward()
            optimizer.step()
        weights.append(model.module.layer.weight)
    same = torch.equal(*weights) and bool(weights[0].isfinite().all())
    print("equal" if same else f"differ {weights}", flush=True)
    dist.destroy_process_group()

if __name__ == "__main__":
    path = os.path.abspath("store")
    pids = []
    for rank in (0, 1):
        pid = os.fork()
        if pid == 0:
            main(rank, path)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
"""


def test_off_in_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("NANGUARD", "0")
    assert risky(X)[0].item() == float("-inf")
    module = nanguard.guard(Loss())
    assert not module(ROWS).isfinite()
    monkeypatch.setenv("NANGUARD", "1")
    assert module(ROWS).isfinite()


def test_an_argument_with_another_value_in_each_call_is_not_captured_each_time() -> None:
    loss = guarded()[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(40):
            assert torch.equal(loss(X, step / 7), F.logsigmoid(X) * (step / 7))
    assert len(next(iter(loss._all())).captures) <= 20


def test_selected_rules() -> None:
    loss = nanguard.guard(ignore=["NG101"])(counting)
    assert loss(X)[0].item() == float("-inf")
    clamped = nanguard.guard(prefer="clamp", eps=1e-3)(counting)
    assert clamped(X)[0].item() == pytest.approx(-6.9078, abs=1e-3)
    for wrong in ({"prefer": "best"}, {"ignore": ["NG999"]}, {"prefer": "clamp", "eps": 0.7}):
        with pytest.raises(NanguardError):
            nanguard.guard(**wrong)
    with pytest.raises(NanguardError, match="neither a function nor"):
        nanguard.guard(3)


def test_threads() -> None:
    loss = nanguard.guard(counting)
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(loss(X).shape == X.shape)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4
