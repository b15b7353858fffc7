"""What others make of the expressions that nanguard's rules are about: the first bad example of each NG1xx and NG2xx.

Each is run in float32 at the input at which nanguard shows that it goes wrong.  An expression counts where the exact
value and gradient there are numbers of the dtype, so that there is something right to be had.  The columns:

    as written      torch: whether value and gradient are right, to 3 digits
    TorchFix        whether it has anything to say about the source (`torchfix --select ALL`)
    anomaly         whether `torch.autograd.detect_anomaly` raises at that input
    PyTensor        value and gradient of the same expression written in PyTensor, after its rewrites
    stable          the form that nanguard puts in its place

    pip install torchfix pytensor
    python benchmarks/peers.py

The column of one that is not installed has question marks.  Herbie is not run: it needs Racket, and takes expressions
that are written down for it, not PyTorch code.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from nanguard.floats import FORMATS
from nanguard.matching.rules import load
from nanguard.proof import exact, prove
from nanguard.proof.leaves import Cut
from nanguard.proof.points import at
from nanguard.report.html.subject import Shown, Subjects, proved, shown
from nanguard.settings import Settings
from nanguard.term import Term, show

DTYPE = "float32"
DIGITS = 1e-3
YES, NO, UNKNOWN = "yes", "-", "?"
Translate = Callable[[Term, Sequence[Any]], Any]


@dataclass(frozen=True, slots=True)
class Case:
    """An expression with an input at which it goes wrong, and what is right there."""

    code: str
    source: str  # a file with it
    shown: Shown
    value: Sequence[float]
    gradients: Sequence[Sequence[float]]

    @property
    def cut(self) -> Cut:
        """The expression."""
        return self.shown.pair.before

    @property
    def shape(self) -> tuple[int, ...]:
        """That of each input."""
        return self.shown.pair.shape or (len(self.shown.witness[0]),)


def cases() -> list[Case]:
    """The expressions that have something right to be had."""
    subjects, found = Subjects(Settings()), []
    for rule in load(()).rules:
        subject = subjects.example(rule.code) if rule.code[:3] in ("NG1", "NG2") else None
        seen = shown(subject, proved(subject)) if subject is not None else None
        example = next((example.bad for example in rule.examples if example.bad is not None), None)
        if seen is None or example is None:
            continue
        cut = seen.pair.before
        shape = seen.pair.shape or (len(seen.witness[0]),)
        leaves = {leaf: torch.tensor(part).reshape(shape) for leaf, part in zip(cut.free, seen.witness, strict=True)}
        truth = exact.evaluate(cut.reference, leaves, wanted(cut))
        gradients = [part.values for part in truth.gradients]
        case = Case(rule.code, prove.program(example), seen, truth.values, gradients)
        if all(abs(x) <= FORMATS[DTYPE].max for part in (truth.values, *gradients) for x in part) and not written(case):
            found.append(case)
    return found


def wanted(cut: Cut) -> list[Term]:
    """The inputs that have a gradient: labels have none."""
    return [leaf for leaf in cut.free if leaf not in cut.targets]


def right(case: Case, value: Sequence[float], gradients: Sequence[Sequence[float]]) -> str:
    """Whether a value and its gradient are right: yes, or which of them is."""
    good = close(value, case.value)
    slopes = len(gradients) == len(case.gradients) and all(map(close, gradients, case.gradients))
    return YES if good and slopes else "value" if good else "gradient" if slopes else NO


def close(got: Sequence[float], meant: Sequence[float]) -> bool:
    tiny = FORMATS[DTYPE].tiny
    return all(abs(x - y) <= DIGITS * max(abs(y), tiny) for x, y in zip(got, meant, strict=True))


def by_torch(case: Case, cut: Cut) -> str:
    point = at(cut, case.shown.witness, case.shape, DTYPE)
    if point is None:
        return NO
    slopes = [part.flatten().tolist() for part in point.gradients if part is not None]
    return right(case, point.output.flatten().tolist(), slopes)


def written(case: Case) -> bool:
    return by_torch(case, case.cut) == YES


def by_anomaly(case: Case) -> str:
    """Whether it stops the run, which gives no point then."""
    with torch.autograd.detect_anomaly(check_nan=True):
        return YES if at(case.cut, case.shown.witness, case.shape, DTYPE) is None else NO


# --- TorchFix


def by_torchfix(listed: Sequence[Case]) -> list[str]:
    """Whether TorchFix finds anything in the source of each."""
    if shutil.which("torchfix") is None:
        return [UNKNOWN] * len(listed)
    with tempfile.TemporaryDirectory() as name:
        for case in listed:
            (Path(name) / f"{case.code}.py").write_text(case.source, encoding="utf-8")
        done = subprocess.run(["torchfix", "--select", "ALL", name], capture_output=True, text=True, check=False)
    return [YES if f"{case.code}.py:" in done.stdout else NO for case in listed]


# --- PyTensor


def pytensor_operations() -> dict[str, Translate]:
    """What PyTensor calls the operations; `inputs` are the operands, translated."""
    import pytensor.tensor as pt
    from pytensor.tensor import special

    def along(function: Callable[..., Any]) -> Translate:
        return lambda term, inputs: function(inputs[0], axis=term.attr("dim"), keepdims=bool(term.attr("keepdim")))

    def plain(function: Callable[..., Any]) -> Translate:
        return lambda term, inputs: function(*inputs)

    names = (
        "add", "sub", "mul", "neg", "exp", "expm1", "log", "log1p", "sqrt", "pow", "sigmoid", "softplus", "tanh",
        "cosh", "sinh", "erfc", "minimum", "maximum",
    )  # fmt: skip
    table = {name: plain(getattr(pt, name)) for name in names}
    table |= {"sum": along(pt.sum), "mean": along(pt.mean), "prod": along(pt.prod), "amax": along(pt.max)}
    table |= {
        "div": plain(pt.true_div),
        "relu": plain(lambda x: pt.maximum(x, 0)),
        "atanh": plain(pt.arctanh),
        "ndtr": plain(lambda x: 0.5 * pt.erfc(-x / 2**0.5)),
        "clamp": plain(lambda x, low=None, high=None: pt.clip(x, -3.4e38 if low is None else low, high)),
        "softmax": lambda term, inputs: special.softmax(inputs[0], axis=term.attr("dim")),
        "log_softmax": lambda term, inputs: special.log_softmax(inputs[0], axis=term.attr("dim")),
        "assume": lambda term, inputs: inputs[0],
        "binary_cross_entropy": plain(lambda p, y: -(y * pt.log(p) + (1 - y) * pt.log(1 - p)).mean()),
    }
    return table


def by_pytensor(case: Case, table: dict[str, Translate] | None) -> str:
    """The same expression, compiled by PyTensor with its default rewrites."""
    if table is None:
        return UNKNOWN
    import numpy
    import pytensor
    import pytensor.tensor as pt

    pytensor.config.floatX = DTYPE
    leaves = {leaf: pt.tensor(dtype=DTYPE, shape=(None,) * len(case.shape)) for leaf in case.cut.free}

    def translated(term: Term) -> Any:
        if term in leaves:
            return leaves[term]
        if term.op == "const":
            value = term.attr("value")
            return None if value is None else numpy.asarray(value, dtype=DTYPE)
        return table[term.op](term, [translated(arg) for arg in term.args])

    try:
        output = translated(case.cut.root)
    except KeyError as error:
        return f"no {error}"
    slopes = pytensor.grad(output.sum(), [leaves[leaf] for leaf in wanted(case.cut)])
    mode = pytensor.compile.mode.Mode(linker="py", optimizer="fast_run")
    run = pytensor.function(list(leaves.values()), [output, *slopes], mode=mode)
    with numpy.errstate(all="ignore"):
        got = run(*(numpy.asarray(part, dtype=DTYPE).reshape(case.shape) for part in case.shown.witness))
    value, *gradients = ([float(entry) for entry in numpy.ravel(part)] for part in got)
    return right(case, value, gradients)


def main() -> None:
    torch.set_num_threads(1)
    listed = cases()
    table = pytensor_operations() if importlib.util.find_spec("pytensor") else None
    rows = []
    for case, linted in zip(listed, by_torchfix(listed), strict=True):
        after = case.shown.pair.after
        stable = by_torch(case, after) if after is not None else NO
        rows.append(
            [case.code, show(case.cut.root)[:52], by_torch(case, case.cut), linted, by_anomaly(case),
             by_pytensor(case, table), stable]
        )  # fmt: skip
    heads = ("rule", "expression", "as written", "TorchFix", "anomaly", "PyTensor", "stable")
    total = ["all", f"{len(rows)} expressions", *(sum(row[at] == YES for row in rows) for at in range(2, len(heads)))]
    print(tabulate([*rows, total], headers=heads, tablefmt="plain"))


if __name__ == "__main__":
    main()
