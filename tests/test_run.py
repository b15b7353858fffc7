"""Terms run as the program runs them: dtypes, numbers beside tensors, attributes, gradients."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import pytest

from nanguard import ops
from nanguard.errors import NanguardError
from nanguard.lazy import load_torch
from nanguard.proof.run import NotEvaluable, gradient, run
from nanguard.term import UNKNOWN, Term, const, make, substitute, symbol, var

torch = load_torch()
LEAVES = {name: symbol(name) for name in ("x", "y", "c")}
X, Y, C = LEAVES.values()


def term(text: str) -> Term:
    return substitute(ops.parse(text), {var(name): leaf for name, leaf in LEAVES.items()})


ROW = torch.tensor([[0.5, -1.5, 2.0]])


@pytest.mark.parametrize(
    "text, program",
    [
        ("log(1 - sigmoid(x))", lambda x: torch.log(1 - torch.sigmoid(x))),
        ("1 / x", lambda x: 1 / x),
        ("2.5 ** x", lambda x: 2.5**x),
        ("x ** 2", lambda x: x**2),
        ("maximum(x, 0.25)", lambda x: torch.maximum(x, torch.tensor(0.25, dtype=x.dtype))),
        ("clamp(x, 1e-8, none)", lambda x: x.clamp(min=1e-8)),
        ("clamp(x, none, none)", lambda x: x),
        ("clamp(x, -1.0, sum(x))", lambda x: x.clamp(min=-1.0).clamp(max=x.sum())),
        ("where(x > 0, x, 0.0)", lambda x: torch.where(x > 0, x, 0.0)),
        ("where(x, x, 1)", lambda x: torch.where(x != 0, x, 1)),
        ("one_minus_sigmoid(x)", lambda x: 1 - torch.sigmoid(x)),
        ("softplus(x)", torch.nn.functional.softplus),
        ("sum(x)", lambda x: x.sum()),
        ("sum(x, dim=none, keepdim=true)", lambda x: x.sum().reshape(1, 1)),
        ("mean(x, dim=(0, 1))", lambda x: x.mean((0, 1))),
        ("logsumexp(x)", lambda x: torch.logsumexp(x, (0, 1))),
        ("prod(x)", lambda x: x.prod()),
        ("median(x, dim=1)", lambda x: x.median(1).values),
        ("var(x, dim=1)", lambda x: x.var(1)),
        ("vector_norm(x, ord='fro')", torch.linalg.vector_norm),
        ("vector_norm(x, ord=1, dim=1, keepdim=true)", lambda x: torch.linalg.vector_norm(x, 1, 1, True)),
        ("softmax(x)", lambda x: torch.softmax(x, -1)),
        ("log_softmax(x, dim=0)", lambda x: torch.log_softmax(x, 0)),
        ("cumsum(x)", lambda x: x.cumsum(-1)),
        ("normalize(x, 1e-6, p=1.0, dim=1)", lambda x: torch.nn.functional.normalize(x, 1.0, 1, 1e-6)),
        ("cosine_similarity(x, x, 1e-8, dim=1)", lambda x: torch.cosine_similarity(x, x)),
        ("sort(x, dim=1, descending=true)", lambda x: x.sort(1, True).values),
        ("flip(x, dims=1)", lambda x: x.flip(1)),
        ("reshape(x, shape=-1)", lambda x: x.reshape(-1)),
        ("unbind(x, dim=1)", lambda x: torch.stack(x.unbind(1))),
        ("masked_select(x, x > 0)", lambda x: x),
        ("dropout(x, 0.5)", lambda x: x),
        ("assume(x, low=0.0)", lambda x: x),
        ("trunc(x)", torch.trunc),
        ("sum(to(x > 0)) / numel(x)", lambda x: (x > 0).to(x.dtype).sum() / 3),
        ("ones(size=(2, 1)) + x", lambda x: torch.ones(2, 1) + x),
        ("zeros() + x", lambda x: x),
        ("full(0.1) * x", lambda x: 0.1 * x),
        ("log(10) * x", lambda x: math.log(10) * x),
        ("sqrt(2 * 8) * x", lambda x: 4.0 * x),
        ("3 / 2 * x", lambda x: 1.5 * x),
        ("squeeze(2.0) * x", lambda x: 2.0 * x),
        ("reduced(x, reduction='batchmean')", lambda x: x.sum()),
        ("mse_loss(x, 2 * x, reduction='none')", lambda x: (2 * x - x) ** 2),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_runs_as_the_program(text: str, program: object, dtype: str) -> None:
    x = ROW.to(getattr(torch, dtype))
    computed, expected = run(term(text), {X: x}), program(x)  # type: ignore[operator]
    assert computed.dtype == expected.dtype
    assert torch.equal(computed.nan_to_num(7.0), expected.nan_to_num(7.0))  # nan where the program has nan


@pytest.mark.parametrize(
    "key, picked",
    [
        (0, [0.0, 1.0, 2.0]),
        ((1, 2), 5.0),
        (("...", 1), [1.0, 4.0]),
        ((("slice", None, None, None), ("slice", 0, 3, 2)), [[0.0, 2.0], [3.0, 5.0]]),
        (("slice", 1, None, None), [[3.0, 4.0, 5.0]]),
        ((0, None), [[0.0, 1.0, 2.0]]),
        (None, [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]),
        (UNKNOWN, [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]),
        ((UNKNOWN, 0), [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]),
    ],
)
def test_indexing(key: object, picked: object) -> None:
    x = torch.arange(6.0).reshape(2, 3)
    assert run(make("index", (X,), (("key", key),)), {X: x}).tolist() == picked


def test_constants_alone_are_computed_in_double_precision() -> None:
    computed = run(term("exp(2) / 3"), {})
    assert computed.dtype == torch.float64
    assert computed.item() == math.exp(2) / 3


def test_a_leaf_may_be_any_subterm() -> None:
    inner = make("opaque", (X,))
    assert run(make("log", (inner,)), {inner: torch.tensor(1.0)}).item() == 0.0


@pytest.mark.parametrize(
    "expression",
    [
        Y,
        make("opaque", (X,)),
        make("either", (X, X)),
        make("randn", (), (("size", None),)),
        make("linear", (X,), (("weight", None), ("bias", None))),
        make("add", (X, const(None))),
        make("no_such_operation", (X,)),
        term("x + ones(size=(7,))"),
        term("sum(x, dim=5)"),
        term("arange() * x"),
        term("of_class(x, 2)"),
    ],
    ids=repr,
)
def test_what_cannot_be_run_says_so(expression: Term) -> None:
    with pytest.raises(NotEvaluable):
        run(expression, {X: torch.tensor([1.0, 2.0])})


def test_gradients_of_connected_leaves_only() -> None:
    x, y = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(3.0, requires_grad=True)
    c = torch.tensor([0, 1])
    output = run(term("x * detach(x) + c"), {X: x, C: c})
    slope, none, integer = gradient(output, [x, y, c])
    assert slope is not None
    assert slope.tolist() == [1.0, 2.0]
    assert none is None
    assert integer is None
    assert gradient(run(term("detach(x)"), {X: x}), [x]) == [None]


def test_a_dead_gradient_is_not_an_unconnected_leaf() -> None:
    x = torch.tensor(-1.0, requires_grad=True)
    (slope,) = gradient(run(term("relu(x)"), {X: x}), [x])
    assert slope is not None
    assert slope.item() == 0.0


def test_a_gradient_that_torch_has_not_says_so() -> None:
    x = torch.tensor(5.0, requires_grad=True)
    with pytest.raises(NotEvaluable):
        gradient(run(term("floordiv(x, 2.0)"), {X: x}), [x])


def test_no_warning_is_shown() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(run(term("std(x)"), {X: torch.tensor([1.0])}).item())


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_torch_is_loaded_without_a_word() -> None:
    result = python("from nanguard.lazy import load_torch; print(load_torch().__name__)")
    assert (result.stdout, result.stderr, result.returncode) == ("torch\n", "", 0)


def test_without_torch_the_way_out_is_named() -> None:
    result = python(
        "import sys; sys.modules['torch'] = None\n"
        "from nanguard.errors import NanguardError\n"
        "from nanguard.lazy import load_torch\n"
        "try: load_torch()\n"
        "except NanguardError as error: print(error)"
    )
    assert "pip install 'nanguard[torch]'" in result.stdout
    assert issubclass(NotEvaluable, NanguardError)


def test_importing_does_not_import_torch() -> None:
    result = python("import sys, nanguard.proof.exact, nanguard.proof.run; print('torch' in sys.modules)")
    assert result.stdout == "False\n", result.stderr


BINARY = [row for row in ops.rows().values() if row.family == ops.ELEMENTWISE and len(row.operands) == 2]


@pytest.mark.parametrize(
    "row", [row for row in BINARY if (row.torch or "").startswith("torch.")], ids=lambda row: row.name
)
def test_the_table_says_what_takes_tensors_only(row: ops.Op) -> None:
    function = eval(row.torch or "", {"torch": torch})
    refused = False
    try:
        function(torch.ones(2), 0.5)
    except TypeError:
        refused = True
    assert refused is row.tensors
