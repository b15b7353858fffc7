"""Inputs: arguments made up for a loss, and what is learnt from the runs that fail."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import nanguard
from nanguard.errors import NanguardError
from nanguard.lazy import load_torch
from nanguard.settings import Settings, inputs_of
from nanguard.tracing.docshapes import annotated, documented
from nanguard.tracing.inputs import Samples

torch = load_torch()
nn = torch.nn
F = nn.functional


def runs(function: Callable[..., Any], owner: object = None, **options: Any) -> list[dict[str, Any]]:
    """The sets of arguments on which a function runs, among those that `Samples` gives."""
    samples = Samples(inspect.signature(function), owner, function, **options)
    good = []
    for arguments in samples:
        bound = inspect.BoundArguments(inspect.signature(function), arguments)  # type: ignore[arg-type]
        try:
            function(*bound.args, **bound.kwargs)
        except Exception as error:
            samples.learn(error)
        else:
            good.append(arguments)
    return good


def tries(function: Callable[..., Any]) -> int:
    """How many sets are tried before one runs."""
    samples = Samples(inspect.signature(function), None, function)
    for count, arguments in enumerate(samples, 1):
        try:
            function(**arguments)
        except Exception as error:
            samples.learn(error)
        else:
            return count
    raise AssertionError("no set runs")


# --- losses as they are written ------------------------------------------------------------------------


def unpacks(x):
    b, c, h, w = x.shape
    return x.reshape(b, c * h * w).mean()


def unpacks_in_a_helper(x, target):
    def inner(a):
        n, c, t = a.size()
        return a.sum() / (n * c * t)

    return inner(x) - inner(target)


def convolves(images):
    return F.conv2d(images, torch.ones(1, images.size(1), 3, 3)).mean()


def large_window(x, y):
    kernel = torch.ones(3, 1, 11, 11)
    return (F.conv2d(x, kernel, groups=3) - F.conv2d(y, kernel, groups=3)).mean()


def cross_entropy(logits, target):
    return F.cross_entropy(logits, target)


def one_hot(pred, truth):
    return (pred - F.one_hot(truth, pred.shape[1])).mean()


def gathers(log_probs, idx):
    return -log_probs.gather(1, idx.unsqueeze(1)).mean()


def dense_classes(scores, labels):
    if scores.dim() != 4:
        raise ValueError("expected 4D input")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be int64, not {labels.dtype}")
    return F.nll_loss(scores.log_softmax(1), labels)


def inverts(loss, mask):
    return loss[~mask].sum()


def masked(loss, mask):
    return loss.masked_fill(mask, 0.0).mean()


def same_shape(a, b):
    assert a.shape == b.shape
    assert a.ndim == 3
    return (a - b).abs().mean()


def four_dimensions(a, b):
    if not len(a.shape) == 4:
        raise ValueError("wrong")
    return (a * b).sum()


def square(matrix):
    assert matrix.size(0) == matrix.size(1)
    return matrix.diagonal().sum()


def needs_labels(embeddings, labels=None):
    if labels is None:
        raise ValueError("labels are required for this loss")
    if labels.ndim != 1:
        raise ValueError("labels must be a 1D tensor of shape (batch_size,)")
    return embeddings[labels == labels[0]].sum()


def uses_optional(x, weight=None):
    return (x * weight.view(-1)[0]).sum()


def of_output(outputs, target):
    return F.mse_loss(outputs.logits, target)


def of_dict(batch):
    return (batch["prediction"] - batch["truth"]).mean()


def of_list(predictions: list[torch.Tensor], target: torch.Tensor):
    return sum(F.mse_loss(prediction, target) for prediction in predictions)


def of_keywords(x, **kwargs):
    return (x - kwargs["reference"]).mean()


def of_all(*terms):
    return torch.stack(terms).sum()


def of_callable(x, distance):
    return distance(x, x).mean()


def of_module(x: torch.Tensor, discriminator: nn.Module):
    return -discriminator(x).mean()


def of_config(x, cfg):
    return x.sum() * cfg.loss.weight / cfg.num_classes


def of_mode(x, mode):
    if mode not in ("binary", "multiclass"):
        raise ValueError(mode)
    return x.sum()


def of_number(x: torch.Tensor, margin: float, num_classes: int):
    return torch.relu(margin - x).sum() / num_classes


def of_distribution(p: torch.distributions.Normal):
    return torch.distributions.kl_divergence(p, torch.distributions.Normal(0.0, 1.0)).sum()


def mu_and_logvar(mu, logvar):
    return -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


def documented_shapes(first, second):
    """A loss.

    Args:
        first: features of shape (N, T, D)
        second: weights with shape `(D, C)`
    """
    return torch.einsum("ntd,dc->ntc", first, second).sum()


def two_sources(estimates):
    if estimates.shape[1] != 2:
        raise ValueError("works only with two sources")
    return estimates.sum()


def as_many_channels_as_spatial_dimensions(field):
    spatial = field.ndim - 2
    if spatial < 2:
        raise ValueError("too flat")
    if field.shape[1] != spatial or field.shape[1] != field.ndim - 2:
        raise ValueError("wrong number of components")
    return field.sum()


def pairs(scores, rank_mat):
    ones = torch.ones(len(scores), len(scores))
    return (ones * rank_mat).mean() + scores.mean()


def hidden_size(x):
    return (x @ torch.ones(10, 2)).sum()


def probabilities(p, q):
    if (p < 0).any() or (p > 1).any():
        raise ValueError("p must be in the range [0, 1]")
    return (p * (p / q).log()).sum()


LOSSES = [
    unpacks, unpacks_in_a_helper, convolves, large_window, cross_entropy, one_hot, gathers, dense_classes, inverts,
    masked, same_shape, four_dimensions, square, needs_labels, uses_optional, of_output, of_dict, of_list,
    of_keywords, of_all, of_callable, of_module, of_config, of_mode, of_number, of_distribution, mu_and_logvar,
    documented_shapes, two_sources, pairs, as_many_channels_as_spatial_dimensions, hidden_size, probabilities,
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_a_loss_runs_on_some_set(loss: Callable[..., Any]) -> None:
    assert runs(loss)


@pytest.mark.parametrize(
    "loss, most",
    [(unpacks, 1), (convolves, 1), (cross_entropy, 1), (one_hot, 1), (masked, 1), (mu_and_logvar, 1), (of_dict, 1),
     (of_list, 1), (of_callable, 1), (of_mode, 1), (documented_shapes, 1), (dense_classes, 2), (needs_labels, 3)],
)  # fmt: skip
def test_few_tries_are_enough(loss: Callable[..., Any], most: int) -> None:
    assert tries(loss) <= most


def test_the_sets_are_the_same_every_time() -> None:
    first, second = runs(cross_entropy), runs(cross_entropy)
    assert [list(map(repr, one.items())) for one in first] == [list(map(repr, one.items())) for one in second]


def test_the_sets_end() -> None:
    def never(x):
        raise ValueError("not today")

    samples = Samples(inspect.signature(never), None, never)
    count = 0
    for _ in samples:
        samples.learn(ValueError("not today"))
        count += 1
    assert 5 < count <= 40


# --- branches ------------------------------------------------------------------------------------------


def with_options(x, weight=None, squared=False, reduction="mean"):
    if weight is not None:
        x = x * weight
    if squared:
        x = x * x
    if reduction == "mean":
        return x.mean()
    if reduction == "sum":
        return x.sum()
    return x


def values_of(found: Sequence[dict[str, Any]], name: str) -> set[str]:
    return {str(one.get(name, "default")) for one in found if not isinstance(one.get(name), torch.Tensor)}


def test_options_are_set_otherwise() -> None:
    found = runs(with_options)
    assert values_of(found, "squared") == {"default", "True"}
    assert values_of(found, "reduction") == {"default", "sum"}
    assert any(isinstance(one.get("weight"), torch.Tensor) for one in found)
    assert any("weight" not in one for one in found)


# --- what the user says --------------------------------------------------------------------------------


@nanguard.example_inputs(torch.full((2, 7), 3.0), target=torch.zeros(2, 7))
def stated(x, target=None):
    return (x - target).sum()


@nanguard.example_inputs(lambda: (torch.ones(5),))
def stated_late(x):
    return x.sum()


@nanguard.example_inputs(torch.ones(6))
@nanguard.example_inputs(torch.ones(7))
def stated_twice(x):
    return x.sum()


@nanguard.example_inputs(torch.ones(8), torch.ones(8))
class Stated(nn.Module):
    def forward(self, x, y):
        return (x - y).sum()


def test_example_inputs_come_first() -> None:
    first = runs(stated)[0]
    assert set(first) == {"x", "target"}
    assert bool((first["x"] == 3).all())
    assert runs(stated_late)[0]["x"].shape == (5,)
    assert [one["x"].numel() for one in runs(stated_twice)[:2]] == [6, 7]
    owner = Stated()
    assert runs(owner.forward, owner)[0]["y"].shape == (8,)


def test_example_inputs_leave_the_loss_as_it_is() -> None:
    assert stated.__name__ == "stated"
    assert isinstance(Stated(), nn.Module)
    assert stated(torch.ones(2), torch.ones(2)) == 0


def test_example_inputs_need_no_torch() -> None:
    text = "import sys, nanguard; nanguard.example_inputs(lambda: ())(lambda: 1); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", text], check=True)


def test_example_inputs_that_do_not_fit_are_the_users_mistake() -> None:
    @nanguard.example_inputs(torch.ones(1), torch.ones(1))
    def one_argument(x):
        return x

    with pytest.raises(NanguardError, match=r"one_argument: example_inputs gives arguments"):
        Samples(inspect.signature(one_argument), None, one_argument)


def test_ranges_bound_the_values() -> None:
    def loss(x, target):
        return (x - target).mean()

    for found in runs(loss, ranges={"target": nanguard.Range(2, 3), "x": nanguard.Range()}):
        assert bool(((found["target"] >= 2) & (found["target"] <= 3)).all())


@pytest.mark.parametrize(
    "key, found",
    [("losses.py::focal", True), ("pack/losses.py::focal", True), ("s.py::focal", False), ("losses.py::other", False)],
)
def test_settings_name_a_target(key: str, found: bool) -> None:
    settings = Settings(inputs={key: {"x": "x > 0"}})
    assert bool(inputs_of(settings, "/home/me/pack/losses.py", "focal")) is found


# --- shapes in texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "doc, shape",
    [
        ("x: scores with shape (N, C, H, W)", ("N", "C", "H", "W")),
        ("x (Tensor): of shape :math:`(N, C)`", ("N", "C")),
        ("x: tensor of shape [batch_size, n_classes]", ("N", "C")),
        ("x: a BxCx2 tensor, as B x C x 2", ("N", "C", 2)),
        (":param x: the boxes, (N, 4)", ("N", 4)),
        ("- x: (batch, time)", ("N", "T")),
    ],
)
def test_shapes_in_docstrings(doc: str, shape: tuple[str | int, ...]) -> None:
    assert documented([doc], ["x", "y"])["x"][0] == shape


def test_prose_is_no_shape() -> None:
    assert documented(["x: the input (optional), usually (see above) a tensor"], ["x"])["x"] == ()


@pytest.mark.parametrize(
    "text, expected",
    [
        ('Float[Tensor, "batch classes"]', (("N", "C"), "float")),
        ('Int[torch.Tensor, "batch"]', (("N",), "int")),
        ('TensorType["batch", "time"]', (("N", "T"), None)),
        ("torch.Tensor", (None, None)),
    ],
)
def test_shapes_in_annotations(text: str, expected: object) -> None:
    assert annotated(text) == expected
