"""Rewriting graphs: what is replaced by what, what must not be, and that values and gradients stay."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Annotated

import pytest

import nanguard
from nanguard.errors import NanguardError
from nanguard.lazy import load_torch
from nanguard.matching import match, rules
from nanguard.runtime import rewriting
from nanguard.runtime.rewriting import RULE, Form
from nanguard.tracing.trace import trace
from nanguard.tracing.tracer import SPAN

torch = load_torch()
F = torch.nn.functional
nn = torch.nn
Tensor = torch.Tensor

MATCHER = match.matcher(rules.load())


def rewrite_graph(found, matcher, *, prefer: str = "stable", eps: float | None = None):
    """The graph module, and the matches that were replaced."""
    module, done = rewriting.rewritten(found, matcher, Form(prefer, eps, rewriting.dtype_of(found.arguments.tensors)))
    return module, tuple(plan.match for plan in done)


def rewritten(loss: Callable, prefer: str = "stable", **arguments: object):
    """The graph module that rewriting makes of a function, and the codes of what was replaced."""
    found = trace(loss, arguments=arguments or None)
    before = found.module.code
    module, matches = rewrite_graph(found, MATCHER, prefer=prefer)
    assert found.module.code == before
    module.graph.lint()
    return module, [matched.rule.code for matched in matches]


def with_gradient(function: Callable, *inputs: torch.Tensor):
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    value = function(*leaves)
    free = [leaf for leaf in leaves if leaf.requires_grad]
    return value.detach(), torch.autograd.grad(value.sum(), free, allow_unused=True)


X = torch.tensor([-200.0, -20.0, -1.0, 0.0, 2.0, 20.0, 200.0])
ROWS = torch.tensor([[0.0, 200.0, -200.0], [1.0, 2.0, 3.0]])
INDEX = torch.tensor([2, 0])

# loss, code, the stable loss written by hand, its inputs
REPLACED = [
    (lambda x: torch.log(torch.sigmoid(x)), "NG101", lambda x: F.logsigmoid(x), (X,)),
    (lambda x: x.sigmoid().log().mean(), "NG101", lambda x: F.logsigmoid(x).mean(), (X,)),
    (lambda x: torch.log(1 / (1 + torch.exp(-x))), "NG101", lambda x: F.logsigmoid(x), (X,)),
    (lambda x: torch.log(1 - torch.sigmoid(x)), "NG102", lambda x: F.logsigmoid(-x), (X,)),
    (lambda x: torch.log(torch.ones_like(x) - x.sigmoid()), "NG102", lambda x: F.logsigmoid(-x), (X,)),
    (lambda x: x.sigmoid().neg().add(1).log(), "NG102", lambda x: F.logsigmoid(-x), (X,)),
    (lambda x: torch.log1p(-torch.sigmoid(x)), "NG102", lambda x: F.logsigmoid(-x), (X,)),
    (lambda x: torch.log(torch.sigmoid(x) + 1e-8), "NG101", lambda x: F.logsigmoid(x), (X,)),
    (lambda x: torch.log(x.sigmoid().clamp(1e-4, 1 - 1e-4)), "NG101", lambda x: F.logsigmoid(x), (X,)),
    (lambda x: torch.log(F.softmax(x, dim=1)), "NG103", lambda x: F.log_softmax(x, dim=1), (ROWS,)),
    (
        lambda x, i: torch.log(x.softmax(1).gather(1, i.unsqueeze(1)).squeeze(1)),
        "NG103",
        lambda x, i: x.log_softmax(1).gather(1, i.unsqueeze(1)).squeeze(1),
        (ROWS, INDEX),
    ),
    (
        lambda x, i: torch.log(torch.softmax(x, 1)[torch.arange(x.size(0)), i]),
        "NG103",
        lambda x, i: x.log_softmax(1)[torch.arange(x.size(0)), i],
        (ROWS, INDEX),
    ),
    (lambda x: x.exp().sum(1).log(), "NG104", lambda x: x.logsumexp(1), (ROWS,)),
    (lambda x: x.exp().sum().log(), "NG104", lambda x: x.flatten().logsumexp(0), (ROWS,)),
    (lambda x: torch.log(1 + torch.exp(x)), "NG105", lambda x: -F.logsigmoid(-x), (X,)),
    (lambda x: 1 / (1 + torch.exp(-x)), "NG115", lambda x: torch.sigmoid(x), (X,)),
    (
        lambda x, y: F.binary_cross_entropy(torch.sigmoid(x), y),
        "NG106",
        lambda x, y: F.binary_cross_entropy_with_logits(x, y),
        (X, torch.sigmoid(X + 1)),
    ),
    (
        lambda x, y: nn.BCELoss(reduction="sum")(nn.Sigmoid()(x), y),
        "NG106",
        lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction="sum"),
        (X, torch.sigmoid(X + 1)),
    ),
    (lambda x, y: torch.log(x.exp() + y.exp()), "NG112", lambda x, y: torch.logaddexp(x, y), (X, X + 1)),
]


@pytest.mark.parametrize("loss, code, stable, inputs", REPLACED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_replaced(loss: Callable, code: str, stable: Callable, inputs: tuple, dtype: torch.dtype) -> None:
    module, codes = rewritten(loss, **dict(zip(inspect.signature(loss).parameters, inputs, strict=True)))
    assert codes == [code]
    given = [x.to(dtype) if x.is_floating_point() else x for x in inputs]
    value, gradients = with_gradient(module.forward, *given)
    expected, exact = with_gradient(stable, *given)
    assert torch.equal(value, expected)  # the same operations, so not a bit differs
    assert bool(value.isfinite().all())
    for gradient, right in zip(gradients, exact, strict=True):
        assert gradient is right is None or torch.allclose(gradient, right, rtol=1e-6, atol=0)


def in_place(x):
    p = torch.sigmoid(x)
    p.clamp_(0.027, 0.973)
    return torch.log(p)


def in_place_view(x):
    p = torch.sigmoid(x)
    p.view(-1).clamp_(0.027, 0.973)
    return torch.log(p)


def in_place_input(x):
    x = x * 1
    p = torch.sigmoid(x)
    x.zero_()
    return torch.log(p)


def in_place_mask(x):
    p = torch.sigmoid(x)
    p[p < 0.5] = 0.5
    return torch.log(p)


def augmented(x):
    p = torch.sigmoid(x)
    p += 0.5
    return torch.log(p)


def no_grad_inside(x):
    with torch.no_grad():
        p = torch.sigmoid(x)
    return x * torch.log(p)


KEPT = [
    in_place,
    in_place_view,
    in_place_mask,
    augmented,
    no_grad_inside,
    lambda x: torch.log(torch.sigmoid(x).detach()) * x,
    lambda x: torch.log(torch.sigmoid(x).data) * x,
    lambda x: torch.log(F.dropout(torch.sigmoid(x), 0.5)),
    lambda x: torch.log(torch.sigmoid(x).double()),
    lambda x: torch.log(2 + torch.sigmoid(x)),
    lambda x: torch.sum(torch.exp(x), dim=0, dtype=torch.float64).log(),
    lambda x: torch.log(torch.sigmoid(x).round()),
    lambda x: torch.log(1 + x[x > 0]),  # log1p(x)[x > 0] has no gradient where x is below -1
]


@pytest.mark.parametrize("loss", KEPT)
def test_kept(loss: Callable) -> None:
    module, codes = rewritten(loss)
    assert codes == []
    x = torch.tensor([-3.61, 0.5, 100.0])
    torch.manual_seed(1)
    expected = loss(x.clone())
    torch.manual_seed(1)
    assert torch.equal(module.forward(x.clone()), expected)


def test_a_write_in_place_between_gives_the_value_it_gave() -> None:
    module, _ = rewritten(in_place)
    value = module.forward(torch.tensor([-200.0]))
    assert value.item() == pytest.approx(-3.61, abs=0.005)


def test_an_operand_that_was_overwritten_is_not_read_again() -> None:
    module, codes = rewritten(in_place_input)
    x = torch.tensor([-5.0, 0.5])
    assert torch.allclose(module.forward(x), in_place_input(x), rtol=1e-6)
    assert codes == []


def test_a_write_to_the_result_stays() -> None:
    def loss(x):
        result = torch.log(torch.sigmoid(x))
        result.mul_(2)
        return result

    module, codes = rewritten(loss)
    assert codes == ["NG101"]
    assert torch.allclose(module.forward(X), 2 * F.logsigmoid(X))


def test_an_inner_result_that_is_used_elsewhere_stays() -> None:
    def loss(x):
        p = torch.sigmoid(x)
        return torch.log(p), p

    module, codes = rewritten(loss)
    value, p = module.forward(X)
    assert codes == ["NG101"]
    assert torch.equal(p, torch.sigmoid(X))
    assert torch.equal(value, F.logsigmoid(X))


def test_a_match_inside_of_another_is_replaced_where_it_is_still_used() -> None:
    def loss(x):
        p = 1 / (1 + torch.exp(-x))
        return torch.log(p), p

    module, codes = rewritten(loss)
    assert codes == ["NG115", "NG101"]
    assert {node.target for node in module.graph.nodes if node.op == "call_function"} == {
        torch.sigmoid,
        F.logsigmoid,
    }


def test_random_numbers_and_their_order_stay() -> None:
    def loss(x):
        noise = torch.randn_like(x)
        unused = torch.randn_like(x)
        return torch.log(torch.sigmoid(x + noise)) + 0 * torch.randn_like(unused)

    module, codes = rewritten(loss)
    assert codes == ["NG101"]
    torch.manual_seed(0)
    expected = loss(torch.zeros(5))
    torch.manual_seed(0)
    assert torch.allclose(module.forward(torch.zeros(5)), expected, rtol=1e-6)


def test_equal_expressions_are_one() -> None:
    def loss(x):
        return torch.log(torch.exp(x) / (torch.exp(x) + 1.0))

    assert rewritten(loss)[1] == ["NG101"]


def test_two_tensors_that_the_table_calls_the_same_are_not() -> None:
    def loss(x, i, j):
        return torch.exp(x.gather(1, i)) / (torch.exp(x.gather(1, i)) + torch.exp(x.gather(1, j)))

    i, j = torch.tensor([[0], [1]]), torch.tensor([[1], [2]])
    module, _ = rewritten(loss, x=torch.randn(2, 3), i=i, j=j)
    assert torch.allclose(module.forward(ROWS / 100, i, j), loss(ROWS / 100, i, j), rtol=1e-5)


def test_the_clamped_form() -> None:
    def loss(x):
        return -torch.log(torch.sigmoid(x)) - torch.log(1 - torch.sigmoid(x))

    module, codes = rewritten(loss, "clamp")
    assert codes == ["NG101", "NG102"]
    assert bool(module.forward(X).isfinite().all())
    inside = torch.linspace(-5, 5, 11)
    assert torch.equal(module.forward(inside), loss(inside))
    assert module.forward(torch.tensor([-200.0])).item() == pytest.approx(9.2104, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_clamp_works_in_the_dtype(dtype: torch.dtype) -> None:
    x = torch.tensor([-50.0, 1.0, 50.0], dtype=dtype)
    found = trace(lambda x: torch.log(1 - torch.sigmoid(x)), arguments={"x": x})
    name = str(dtype).removeprefix("torch.")
    module, matches = rewrite_graph(found, match.matcher(rules.load(), name), prefer="clamp")
    value = module.forward(x)
    assert len(matches) == 1
    assert value.dtype == dtype
    assert bool(value.isfinite().all())


@pytest.mark.parametrize("eps", [1e-9, 0.0, 0.7, -1e-3])
def test_an_epsilon_that_does_nothing_is_refused(eps: float) -> None:
    with pytest.raises(NanguardError, match=r"eps=.* float32"):
        rewrite_graph(trace(lambda x: torch.log(torch.sigmoid(x))), MATCHER, prefer="clamp", eps=eps)


def test_an_unknown_preference_is_refused() -> None:
    with pytest.raises(NanguardError, match="'stable' or 'clamp', not 'best'"):
        rewrite_graph(trace(lambda x: torch.log(torch.sigmoid(x))), MATCHER, prefer="best")


def test_new_nodes_have_the_place_of_the_old_and_the_rule() -> None:
    found = trace(lambda x: torch.log(torch.sigmoid(x)))
    module, _ = rewrite_graph(found, MATCHER)
    (new,) = [node for node in module.graph.nodes if RULE in node.meta]
    (old,) = [node for node in found.graph.nodes if node.target is torch.log]
    assert new.meta[SPAN] == old.meta[SPAN]
    assert new.meta[RULE] == "NG101"


def test_a_rule_that_is_wrong_is_not_applied(tmp_path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(
        'code = "XY101"\nname = "wrong"\nhazard = "misuse"\nsummary = "wrong"\n'
        'match = ["log(sigmoid(x))"]\nstable = "logsigmoid(-x)"\n'
    )
    found = trace(lambda x: torch.log(torch.sigmoid(x)))
    module, matches = rewrite_graph(found, match.matcher(rules.read([path])))
    assert matches == ()
    assert module.code == found.module.code


def test_a_wrong_replacement_does_not_cost_the_right_ones(tmp_path) -> None:
    text = 'code = "XY{n}"\nname = "n{n}"\nhazard = "misuse"\nsummary = "s"\nmatch = ["{m}"]\nstable = "{s}"\n'
    paths = [tmp_path / "a.toml", tmp_path / "b.toml"]
    paths[0].write_text(text.format(n=101, m="exp(sigmoid(x))", s="exp(x)"))
    paths[1].write_text(text.format(n=102, m="log(sigmoid(x))", s="logsigmoid(x)"))
    found = trace(lambda x: torch.exp(torch.sigmoid(x)) + torch.log(torch.sigmoid(x)))
    _, matches = rewrite_graph(found, match.matcher(rules.read(paths)))
    assert [matched.rule.code for matched in matches] == ["XY102"]


def test_transforms_and_second_derivatives_of_a_rewritten_graph() -> None:
    module, _ = rewritten(lambda x: torch.log(torch.sigmoid(x)).sum())
    x = torch.tensor([-30.0, 0.5, 30.0], dtype=torch.float64)
    assert torch.allclose(torch.func.grad(module.forward)(x), torch.sigmoid(-x))
    assert torch.allclose(torch.func.vmap(module.forward)(x[:, None]), F.logsigmoid(x))
    assert torch.autograd.gradgradcheck(module.forward, (x.clone().requires_grad_(),))


def test_the_cost_grows_with_the_graph_only() -> None:
    def loss(x, n):
        for _ in range(n):
            x = torch.log(torch.sigmoid(x)) * 0.5 + 1
        return x

    def nodes(n: int) -> int:
        found = trace(loss, arguments={"x": torch.randn(3), "n": n})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _, matches = rewrite_graph(found, MATCHER)
        return len(matches)

    assert nodes(1) == 1
    assert nodes(30) == 30


# --- forms that hold for some values only --------------------------------------------------------------------

PROBABILITIES = {"y": torch.tensor([0.2, 0.9, 0.4]), "x": torch.tensor([0.3, 0.8, 0.5])}


def angle(y, x):
    """What NG316 has a form for, which is another angle for negative x."""
    return torch.atan(y / x)


@pytest.mark.parametrize("loss", [angle, lambda y, x: y * (1 - (1 - x) ** 8)], ids=["NG316", "NG419"])
def test_rewritten_on_probabilities_a_loss_is_the_same_elsewhere(loss: Callable) -> None:
    module, _ = rewritten(loss, **PROBABILITIES)
    others = (torch.tensor([0.5, -0.5, 2.0]), torch.tensor([-0.7, 1.5, -2.0]))
    torch.testing.assert_close(module(*others), loss(*others))


def test_form_for_some_values_is_not_taken_because_the_example_had_no_others() -> None:
    assert rewritten(angle, **PROBABILITIES)[1] == []


def test_form_for_some_values_is_taken_where_the_program_makes_no_others() -> None:
    assert rewritten(lambda y, x: angle(y, x.abs()), **PROBABILITIES)[1] == ["NG316"]


def test_form_for_some_values_is_taken_where_the_user_states_these() -> None:
    def loss(y: Tensor, x: Annotated[Tensor, nanguard.Range(0, 1)]) -> Tensor:  # type: ignore[valid-type]
        return angle(y, x)

    assert rewritten(loss, **PROBABILITIES)[1] == ["NG316"]


def test_one_form_that_is_not_taken_does_not_keep_the_others_back() -> None:
    def loss(y, x):
        angle = torch.atan(y / x)
        return torch.log(torch.sigmoid(angle)) + torch.log(1 - torch.sigmoid(y)) + torch.log(torch.sigmoid(x))

    assert rewritten(loss, **PROBABILITIES)[1] == ["NG101", "NG102", "NG101"]


def test_a_weight_of_0_keeps_its_finite_gradient() -> None:
    def loss(x: torch.Tensor, w: Annotated[torch.Tensor, nanguard.Range(0.0, 1.0)]) -> torch.Tensor:
        weighted = w * torch.exp(x)
        return weighted / weighted.sum(-1, keepdim=True)

    x, w = torch.tensor([1.0, 2.0, 90.0]), torch.tensor([0.5, 0.0, 1.0], requires_grad=True)
    made = nanguard.rewrite(loss, example_inputs=(torch.rand(3), torch.rand(3)))(x, w)
    made[0].backward()
    assert made.tolist() == pytest.approx([0.0, 0.0, 1.0])
    assert w.grad is not None
    assert bool(w.grad.isfinite().all())
