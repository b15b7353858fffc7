"""The Python interface: rewriting functions and modules, what a rewritten loss keeps, and what is refused."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import io
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nanguard
from nanguard.errors import NanguardError, NanguardWarning

EPS = 1.0


def skipgram(anchor, tag_p, tag_n, scale=1.0, *, reduction="mean"):
    """The loss this project began with."""
    sigmoid = torch.nn.functional.sigmoid
    loss_pos = -torch.log(sigmoid(torch.dot(anchor, tag_p)))
    loss_neg = -torch.log(1 - sigmoid(torch.dot(anchor, tag_n)))
    loss = scale * (loss_pos + loss_neg)
    return loss.mean() if reduction == "mean" else loss


def codes(loss: Callable) -> list[str]:
    return [replacement.code for replacement in loss.report()]


def test_the_skip_gram_loss() -> None:
    stable = nanguard.rewrite(skipgram)
    anchor = torch.tensor([200.0], requires_grad=True)
    minus, plus = torch.tensor([-1.0]), torch.tensor([1.0])
    value = stable(anchor, minus, plus)
    assert skipgram(anchor, minus, plus).item() == float("inf")
    assert value.item() == (-F.logsigmoid(-anchor.detach()) - F.logsigmoid(-anchor.detach())).item() == 400
    (gradient,) = torch.autograd.grad(value, anchor)
    assert gradient.item() == 2
    start = inspect.getsourcelines(skipgram)[1]
    assert [(r.code, r.line, r.before, r.after) for r in stable.report()] == [
        ("NG101", start + 3, "torch.log(sigmoid(torch.dot(anchor, tag_p)))",
         "F.logsigmoid(torch.dot(anchor, tag_p))"),
        ("NG102", start + 4, "torch.log(1 - sigmoid(torch.dot(anchor, tag_n)))",
         "F.logsigmoid(-torch.dot(anchor, tag_n))"),
    ]  # fmt: skip
    assert "log_sigmoid" in stable.code
    assert [node.op for node in stable.graph.nodes][:3] == ["placeholder"] * 3
    assert str(stable.report()[0]).startswith(f"{__file__}:{start + 3}:17: NG101 log-sigmoid: torch.log(")


def test_a_function_keeps_its_signature_and_takes_all_calls() -> None:
    stable = nanguard.rewrite(skipgram)
    assert inspect.signature(stable) == inspect.signature(skipgram)
    assert (stable.__name__, stable.__doc__) == ("skipgram", skipgram.__doc__)
    a, b, c = torch.randn(3, 4)
    assert torch.allclose(stable(a, tag_n=c, tag_p=b), skipgram(a, b, c))
    assert torch.allclose(stable(a, b, c, 2.5), skipgram(a, b, c, 2.5))
    assert torch.allclose(stable(a, b, c, 3, reduction="none"), skipgram(a, b, c, 3, reduction="none"))
    assert torch.allclose(stable(a, b, c, scale=a.sum()), skipgram(a, b, c, scale=a.sum()))
    assert stable(a.double(), b.double(), c.double()).dtype == torch.float64
    with pytest.raises(TypeError, match="missing 1 required"):
        stable(a, b)
    with pytest.raises(RuntimeError, match="1D tensors expected"):
        stable(torch.ones(2, 2), torch.ones(2, 2), torch.ones(2, 2))


def risky(x):
    return torch.log(torch.sigmoid(x))


def with_isinstance(x):
    return risky(x) if isinstance(x, torch.Tensor) else x * 0


def with_is_tensor(x):
    return risky(x) if torch.is_tensor(x) else x * 0


def with_dtype(x):
    return risky(x) if x.dtype is torch.float32 else x * 2


def with_no_grad(x):
    with torch.no_grad():
        weight = torch.sigmoid(x)
    return weight * risky(x)


def with_shapes(x):
    rows, columns = x.shape if x.dim() == 2 else (1, x.numel())
    assert x.shape == (rows, columns) or x.dim() != 2
    return risky(x).sum() / (rows * columns) * len(x)


def with_loop(x):
    return sum(risky(row).sum() * index for index, row in enumerate(x))


def with_mask(x):
    x = x * 1
    x[x > 0.5] = 0.5
    return risky(x)


def with_random(x):
    return risky(x + torch.randn_like(x)) * torch.rand(1)


def with_item(x):
    return risky(x) * x.max().item()


def with_dict(x):
    return {"loss": risky(x), "parts": (x, [risky(-x)])}


def with_distribution(x):
    return torch.distributions.Normal(x * 2, x.exp()).log_prob(x) + risky(x)


def with_many(*inputs, **options):
    return sum(risky(x) for x in inputs) * options.get("scale", 1.0)


def with_gradient_inside(x):
    return torch.autograd.grad(risky(x).sum(), x, create_graph=True)[0]


FAITHFUL = [
    with_isinstance, with_is_tensor, with_dtype, with_no_grad, with_shapes, with_loop, with_mask, with_random,
    with_item, with_dict, with_distribution, with_many, with_gradient_inside,
]  # fmt: skip


@pytest.mark.parametrize("loss", FAITHFUL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_a_plain_capture_gets_wrong_is_right(loss: Callable, dtype: torch.dtype) -> None:
    stable = nanguard.rewrite(loss)
    for shape in ((4, 3), (2, 2)):
        x = torch.linspace(-2, 2, shape[0] * shape[1], dtype=dtype).reshape(shape).requires_grad_()
        computed, expected = [], []
        for function, results in ((stable, computed), (loss, expected)):
            torch.manual_seed(5)
            value = function(x)
            leaves = value["parts"][1] + [value["loss"]] if isinstance(value, dict) else [value]
            for leaf in leaves:
                results += [leaf.detach(), *torch.autograd.grad(leaf.sum(), x, retain_graph=True)]
        for one, other in zip(computed, expected, strict=True):
            assert one.dtype == other.dtype
            assert torch.allclose(one, other, rtol=1e-5)
    assert "NG101" in codes(stable)


def with_control_flow(x):
    if x.sum() > 0:
        return risky(x)
    return x


def with_autocast(x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return risky(x @ x.T)


def with_print(x):
    print("loss", x.shape)
    return risky(x)


def with_float(x):
    return risky(x) * float(x.max())


def with_requires_grad(x):
    return risky(x) if x.requires_grad else x


def with_counter(x, counts={}):  # noqa: B006
    with_counter.calls = getattr(with_counter, "calls", 0) + 1
    return risky(x) * with_counter.calls


def never_runs(x):
    raise ValueError("not like this")


REFUSED = [
    (with_control_flow, 1, "control flow on the value of a tensor"),
    (with_autocast, 2, "autocast or inference mode is switched inside; move the `with` to the caller"),
    (with_print, 0, "it prints, which a captured graph would not do"),
    (with_float, 1, "takes the value of a tensor as a Python number"),
    (with_requires_grad, 1, "reads `.requires_grad` of a tensor"),
    (with_counter, 0, "cannot be captured: the values differ"),
    (never_runs, 0, "never_runs: no inputs were found on which it runs; the last raised ValueError: not like this"),
]


@pytest.mark.parametrize("loss, line, reason", REFUSED)
def test_what_cannot_be_proved_is_refused(loss: Callable, line: int, reason: str) -> None:
    first = inspect.getsourcelines(loss)[1]
    with pytest.raises(NanguardError) as caught:
        nanguard.rewrite(loss)
    assert str(caught.value).startswith(f"{__file__}:{first + line}: {reason}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("thing", [3, nn.Module, torch.log, "loss"])
def test_what_is_no_loss_is_refused(thing: object) -> None:
    with pytest.raises(NanguardError):
        nanguard.rewrite(thing)


def test_writes_in_place_stay() -> None:
    def loss(x):
        p = torch.sigmoid(x)
        p.clamp_(0.027, 0.973)
        return torch.log(p)

    stable = nanguard.rewrite(loss)
    assert codes(stable) == []
    assert stable(torch.tensor([-200.0])).item() == pytest.approx(-3.61, abs=0.005)


def test_an_argument_that_is_written_into() -> None:
    def loss(x):
        x.mul_(2)
        return risky(x)

    stable = nanguard.rewrite(loss)
    x = torch.ones(2)
    stable(x)
    assert codes(stable) == ["NG101"]
    assert x.tolist() == [2, 2]


def test_nothing_to_rewrite() -> None:
    stable = nanguard.rewrite(lambda x, y: F.logsigmoid(x) * y)
    x = torch.randn(3)
    assert stable.report() == ()
    assert torch.equal(stable(x, y=x), F.logsigmoid(x) * x)


def test_the_clamped_form() -> None:
    stable = nanguard.rewrite(risky, prefer="clamp", eps=1e-3)
    assert stable(torch.tensor([-200.0])).item() == pytest.approx(-6.9078, abs=1e-3)
    assert "NG101" in codes(stable)
    for wrong in ({"prefer": "best"}, {"prefer": "clamp", "eps": 1e-9}):
        with pytest.raises(NanguardError):
            nanguard.rewrite(risky, **wrong)


def test_what_a_loss_reads_from_outside_may_change(monkeypatch) -> None:
    factor = [1.0]
    criterion = nn.BCELoss()
    scale = 2.0

    def loss(x, target):
        return criterion(torch.sigmoid(x), target) * EPS * scale + risky(x).mean()

    stable = nanguard.rewrite(loss)
    x, target = torch.randn(4), torch.rand(4)

    def same() -> bool:
        return torch.allclose(stable(x, target), loss(x, target), rtol=1e-5)

    assert set(codes(stable)) == {"NG101", "NG106"}
    assert same()
    monkeypatch.setitem(globals(), "EPS", 3.0)
    assert same()
    criterion.reduction = "sum"
    assert same()
    scale = 5.0
    assert same()
    monkeypatch.setitem(globals(), "risky", lambda x: x)
    assert same()
    assert factor == [1.0]


def test_a_call_that_cannot_be_captured_runs_as_it_was_written() -> None:
    def loss(x, check=False):
        if check and x.sum() > 0:
            return x
        return risky(x)

    stable = nanguard.rewrite(loss)
    x = torch.ones(3)
    with pytest.warns(NanguardWarning, match="control flow on the value of a tensor; it runs as it was written"):
        assert torch.equal(stable(x, True), x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(stable(-x, check=True), risky(-x))
        assert torch.equal(stable(-x), F.logsigmoid(-x))


def test_contexts_of_the_caller() -> None:
    stable = nanguard.rewrite(with_no_grad)
    x = torch.randn(3, requires_grad=True)
    with torch.no_grad():
        assert not stable(x).requires_grad
        assert not torch.is_grad_enabled()
    assert stable(x).requires_grad
    product = nanguard.rewrite(lambda x: risky(x @ x.T))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product(torch.ones(2, 3)).dtype == risky(torch.ones(2, 3) @ torch.ones(3, 2)).dtype
    with pytest.raises(RuntimeError):
        stable(torch.ones(2).to("meta") @ torch.ones(3).to("meta"))
    assert torch.is_grad_enabled()


def test_an_error_inside_leaves_the_grad_mode_alone() -> None:
    def loss(x, y):
        with torch.no_grad():
            weight = torch.dot(x, y)
        return risky(x) * weight

    stable = nanguard.rewrite(loss)
    with pytest.raises(RuntimeError):
        stable(torch.ones(2), torch.ones(3))
    assert torch.is_grad_enabled()


def test_function_transforms_and_compile() -> None:
    stable = nanguard.rewrite(lambda x: risky(x).sum())
    x = torch.tensor([-200.0, 0.5])
    assert torch.allclose(torch.func.grad(stable)(x), torch.sigmoid(-x))
    assert torch.allclose(torch.func.vmap(stable)(x[:, None]), F.logsigmoid(x))
    assert stable(x.clone().requires_grad_()).requires_grad


def test_compile_takes_the_rewritten_function() -> None:
    stable = nanguard.rewrite(risky)
    x = torch.tensor([-200.0, 0.5])
    assert torch.equal(torch.compile(stable, backend="eager", fullgraph=True)(x), F.logsigmoid(x))
    torch._dynamo.reset()


def test_inputs_that_are_given() -> None:
    def loss(x, index):
        assert index.dtype == torch.int64
        return risky(x.reshape(7, 2)).gather(1, index)

    x, index = torch.randn(14), torch.zeros(7, 1, dtype=torch.int64)
    for given in ((x, index), {"x": x, "index": index}):
        stable = nanguard.rewrite(loss, example_inputs=given)
        assert codes(stable) == ["NG101"]
        assert torch.allclose(stable(x, index), loss(x, index))
    with pytest.raises(NanguardError, match="does not run on the example_inputs; the last raised RuntimeError"):
        nanguard.rewrite(loss, example_inputs=(torch.randn(3), index))
    with pytest.raises(NanguardError, match="do not fit its signature: missing a required argument"):
        nanguard.rewrite(loss, example_inputs=(x,))


def test_the_rules_that_are_wanted() -> None:
    def loss(x, y):
        return risky(x) + torch.log(1 - torch.sigmoid(y))

    assert codes(nanguard.rewrite(loss)) == ["NG101", "NG102"]
    assert codes(nanguard.rewrite(loss, ignore="NG101")) == ["NG102"]
    assert codes(nanguard.rewrite(loss, select=["log-sigmoid"])) == ["NG101"]
    with pytest.raises(NanguardError, match="no rule 'NG999'"):
        nanguard.rewrite(loss, select=["NG999"])


def test_without_strict_the_original_comes_back_with_a_warning() -> None:
    with pytest.warns(NanguardWarning, match="control flow on the value of a tensor; it stays as it was written"):
        assert nanguard.rewrite(with_control_flow, strict=False) is with_control_flow


def test_a_list_that_a_loss_fills_is_left_alone() -> None:
    history: list[object] = []

    def loss(x):
        history.append(x)
        return risky(x)

    with pytest.raises(NanguardError, match="it changes `history`, which a captured graph would not do"):
        nanguard.rewrite(loss)
    assert history == []


def test_a_rewritten_function_can_be_pickled() -> None:
    again = pickle.loads(pickle.dumps(nanguard.rewrite(risky)))
    x = torch.tensor([-200.0])
    assert torch.equal(again(x), F.logsigmoid(x))


class Loss(nn.Module):
    """A loss with a layer, a parameter, a buffer, options and a training mode."""

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma
        self.layer = nn.Linear(3, 3)
        self.sigmoid = nn.Sigmoid()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("scale", torch.ones(3))
        self.plain = torch.tensor(2.0)

    def forward(self, x, target, reduction="mean"):
        p = self.sigmoid(self.layer(x))
        loss = -torch.log(p) * target - torch.log(1 - p) * (1 - target)
        loss = loss * self.weight * self.scale * self.plain
        if self.training:
            loss = loss * self.gamma
        return loss.mean() if reduction == "mean" else loss.sum()


@pytest.fixture
def pair() -> tuple[Loss, Loss]:
    torch.manual_seed(0)
    loss = Loss()
    return loss, nanguard.rewrite(loss)


INPUTS = torch.linspace(-2, 2, 12).reshape(4, 3), torch.linspace(0, 1, 12).reshape(4, 3)


def agree(one: Callable, other: Callable, **options: object) -> bool:
    return torch.allclose(one(*INPUTS, **options), other(*INPUTS, **options), rtol=1e-5)


def test_a_module_stays_a_module_of_its_class(pair) -> None:
    loss, stable = pair
    assert type(stable) is Loss
    assert stable.state_dict().keys() == loss.state_dict().keys()
    assert stable.weight is loss.weight
    assert inspect.signature(stable.forward) == inspect.signature(loss.forward)
    assert codes(stable) == ["NG101", "NG102"]
    far = INPUTS[0] * 1000, INPUTS[1]
    assert not loss(*far).isfinite()
    assert stable(*far).isfinite()
    assert agree(stable, loss)
    assert agree(stable, loss, reduction="sum")
    assert "forward" not in vars(loss)


def test_a_module_follows_its_attributes(pair) -> None:
    loss, stable = pair
    loss.eval()
    stable.eval()
    assert agree(stable, loss)
    loss.train()
    stable.train()
    loss.gamma = stable.gamma = 3.0
    assert agree(stable, loss)
    loss.plain = stable.plain = torch.tensor(5.0)
    assert agree(stable, loss)
    loss.plain.fill_(7.0)
    assert agree(stable, loss)
    with torch.no_grad():
        loss.weight.mul_(2)
        loss.scale.mul_(3)
    assert agree(stable, loss)
    loss.load_state_dict({name: value + 0.1 for name, value in loss.state_dict().items()})
    assert agree(stable, loss)


def test_copies_of_a_module_have_their_own_parameters(pair) -> None:
    loss, stable = pair
    for other in (copy.deepcopy(stable), pickle.loads(pickle.dumps(stable))):
        assert agree(other, loss)
        assert codes(other) == ["NG101", "NG102"]
        with torch.no_grad():
            other.weight.mul_(2)
            other.layer.weight.mul_(-1)
        assert not agree(other, loss)
        assert agree(stable, loss)
        reference = Loss()
        reference.load_state_dict(other.state_dict())
        assert agree(other, reference)


def test_a_saved_module(pair) -> None:
    loss, stable = pair
    file = io.BytesIO()
    torch.save(stable, file)
    file.seek(0)
    assert agree(torch.load(file, weights_only=False), loss)


def test_hooks_and_dtypes_of_a_module(pair) -> None:
    _, stable = pair
    seen: list[str] = []
    stable.register_forward_hook(lambda *_: seen.append("root"))
    stable.layer.register_forward_hook(lambda *_: seen.append("layer"))
    stable(*INPUTS)
    assert seen == ["layer", "root"]
    stable.double()
    assert stable(*(x.double() for x in INPUTS)).dtype == torch.float64


def test_the_parameters_get_their_gradients(pair) -> None:
    loss, stable = pair
    gradients = [torch.autograd.grad(function(*INPUTS), list(function.parameters())) for function in (loss, stable)]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-7)


def test_a_module_with_a_state_that_its_forward_changes_is_refused() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return risky(x)

    loss = Counting()
    with pytest.raises(NanguardError, match="it assigns `calls`, which a captured graph would not do"):
        nanguard.rewrite(loss)
    assert loss.calls == 0


def test_layers_with_a_state() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)
            self.dropout = nn.Dropout(0.5)

        def forward(self, x):
            return risky(self.dropout(self.norm(x)))

    loss = Normed()
    before = copy.deepcopy(loss.state_dict())
    stable = nanguard.rewrite(loss)
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())
    reference = copy.deepcopy(loss)
    x = torch.randn(4, 3)
    for mode in (True, False):
        stable.train(mode)
        reference.train(mode)
        torch.manual_seed(1)
        computed = stable(x)
        torch.manual_seed(1)
        assert torch.allclose(computed, reference(x), rtol=1e-5)
    assert torch.equal(stable.norm.running_mean, reference.norm.running_mean)


def test_a_bound_method() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.scale = 2.0

        def loss(self, x):
            return risky(x) * self.scale

    trainer = Trainer()
    stable = nanguard.rewrite(trainer.loss)
    x = torch.randn(3)
    assert torch.allclose(stable(x), trainer.loss(x))
    trainer.scale = 3.0
    assert torch.allclose(stable(x), trainer.loss(x))
    method = nanguard.rewrite(Loss().forward)
    assert codes(method) == ["NG101", "NG102"]


def test_check_reads_the_source() -> None:
    report = nanguard.check(skipgram)
    start = inspect.getsourcelines(skipgram)[1]
    assert [(f.code, f.span.line, f.confirmed) for f in report.findings] == [
        ("NG101", start + 3, True),
        ("NG102", start + 4, True),
    ]
    assert not report.ok
    assert nanguard.check(lambda x: F.logsigmoid(x)).ok


def test_check_of_a_module_and_of_a_nested_function() -> None:
    assert {finding.code for finding in nanguard.check(Loss()).findings} >= {"NG101", "NG102"}

    def nested(x):
        return torch.log(torch.sigmoid(x))

    assert [finding.code for finding in nanguard.check(nested).findings] == ["NG101"]


def test_check_without_source_traces() -> None:
    names: dict[str, object] = {"torch": torch}
    exec("def loss(x):\n    return torch.log(torch.sigmoid(x))\n", names)
    (finding,) = nanguard.check(names["loss"]).findings
    assert (finding.code, finding.span.line, finding.confirmed) == ("NG101", 2, True)
    (finding,) = nanguard.check(lambda x: torch.log(torch.sigmoid(x))).findings
    assert finding.expression == "torch.log(torch.sigmoid(x))"
    with pytest.raises(NanguardError):
        nanguard.check(3)


def imports_torch(code: str) -> bool:
    run = subprocess.run([sys.executable, "-c", f"{code}\nimport sys\nsys.exit('torch' in sys.modules)"])
    return run.returncode == 1


def test_importing_nanguard_does_not_import_torch() -> None:
    assert not imports_torch("import nanguard; nanguard.rewrite; nanguard.check")
    assert imports_torch("import nanguard; nanguard.rewrite(lambda x: x)")


CONFIGURED = """
import torch

def bounded(p):
    return torch.log(torch.sigmoid(p))

class Focal(torch.nn.Module):
    def forward(self, p):
        return torch.log(torch.sigmoid(p))

def other(p):
    return torch.log(p.sigmoid())
"""


def test_the_configuration_of_its_file_counts(tmp_path: Path) -> None:
    (tmp_path / "losses.py").write_text(CONFIGURED)
    spec = importlib.util.spec_from_file_location("configured_losses", tmp_path / "losses.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def found(loss: Callable) -> list[tuple[str, str | None]]:
        report = nanguard.check(loss)
        return [(one.code, one.witness.dtype if one.witness else None) for one in report.findings]

    def configure(text: str) -> None:
        (tmp_path / "nanguard.toml").write_text(text)

    assert found(module.bounded) == [("NG101", "float32")]
    assert found(module.Focal()) == [("NG101", "float32")]
    configure('dtype = "float16"\n[inputs]\n"losses.py::Focal" = { p = "-3 <= p <= 3" }')
    assert found(module.bounded) == [("NG101", "float16")]
    assert found(module.Focal()) == []
    configure('ignore = ["NG101"]')
    assert found(module.bounded) == [("NG201", "float32")]  # which is what the command says, too
    configure('ignore = ["NG101", "NG201"]')
    assert found(module.bounded) == []
    nanguard.assert_stable(module.bounded)
    with pytest.raises(AssertionError, match="NG101"):
        nanguard.assert_stable(module.bounded, ignore=[])
    configure('[per-file-ignores]\n"los*.py" = ["log-sigmoid"]')
    assert found(module.bounded) == []
    configure("")
    subprocess.run([sys.executable, "-m", "nanguard", "check", "--write-baseline=known.json", "losses.py::bounded"],
                   cwd=tmp_path, check=True, capture_output=True)  # fmt: skip
    configure('baseline = "known.json"')
    report = nanguard.check(module.bounded)
    assert report.ok
    assert [item.kind for item in report.suppressed] == ["baseline"]
    assert found(module.other) == [("NG101", "float32")]
    configure("dtyp = 'float16'")
    with pytest.raises(NanguardError, match="dtyp is no key of nanguard's; did you mean 'dtype'"):
        nanguard.check(module.bounded)
