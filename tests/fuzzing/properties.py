"""Properties: what must be true of every program."""

from __future__ import annotations

import ast
import math
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from inprocess import in_process

import nanguard
from fuzzing import exact
from fuzzing.layout import Program, program
from fuzzing.rounding import shakiness
from fuzzing.running import called, gradients, loaded, points
from fuzzing.tree import Node, call, is_mask, walk
from nanguard import ops
from nanguard.analyse import examine, scan, suspects
from nanguard.errors import NanguardError
from nanguard.floats import FORMATS
from nanguard.matching import rules
from nanguard.matching.interval import Interval
from nanguard.matching.match import Matcher, matcher
from nanguard.matching.ranges import RangeTable
from nanguard.proof.run import NotEvaluable, apply
from nanguard.reading.discover import targets
from nanguard.reading.read import read
from nanguard.repair.fixing import fix_paths, save
from nanguard.settings import Settings, selected
from nanguard.term import Term, make, symbol
from nanguard.term import walk as walk_term
from nanguard.tracing.trace import trace


class Wrong(Exception):
    """A property that does not hold of a program."""


class Unfit(Exception):
    """A program that is none: torch refuses it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A program that runs, with its object and the folder that its files are said to be in."""

    program: Program
    entry: Any
    folder: Path
    random: Random

    @property
    def path(self) -> str:
        """The path of the main file."""
        return str(self.folder / self.program.main)

    @property
    def source(self) -> str:
        """The text of the main file."""
        return self.program.files[self.program.main]


@contextmanager
def subject(made: Program, random: Random) -> Iterator[Subject]:
    """A program that torch takes; raises `Unfit` for one that it does not."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with loaded(made, Path(folder)) as entry:
            try:
                called(entry, made, next(points(made, Random(0), "float32", 1)))
            except Exception as error:
                raise Unfit(f"{type(error).__name__}: {error}") from None
            yield Subject(made, entry, Path(folder), random)


# --- reading and tracing agree -------------------------------------------------------------------------


def read_term(one: Subject) -> Term:
    """The term that reading sees the entry return."""
    tree = ast.parse(one.source)
    name = f"{one.program.entry}.forward" if one.program.is_class else one.program.entry
    wanted = [target for target in targets(one.path, tree) if target.name == name]
    reading = read(one.path, one.source, tree, wanted)
    if reading.failed:
        raise Wrong(f"reading gave up: {reading.failed}")
    if len(reading.returned) != 1:
        raise Wrong(f"reading sees {len(reading.returned)} results: {reading.returned}")
    return next(iter(reading.returned))


def traced_term(one: Subject) -> Term | None:
    """The term that tracing sees the entry return, None where it is not traced."""
    try:
        traced = trace(one.entry)
    except NanguardError:
        return None
    output = next(node for node in traced.graph.nodes if node.op == "output")
    return traced.terms[output.args[0]]


def plain(term: Term) -> Term:
    """A term with its leaves by their names alone."""
    done: dict[Term, Term] = {}
    for node in walk_term(term):
        if node.op == "symbol":
            done[node] = symbol(node.name)
        elif node.op in ("contiguous", "assume"):  # the value as it is, and what a test on the way has shown
            done[node] = done[node.args[0]]
        else:
            done[node] = make(node.op, tuple(done[arg] for arg in node.args), node.attrs)
    return done[term]


def agree(one: Subject) -> str:
    """Reading and tracing see the same term, and it is what the program computes."""
    seen = read_term(one)
    traced = traced_term(one)
    if traced is not None and plain(seen) is not plain(traced):
        raise Wrong(f"reading and tracing differ:\n  read   {seen!r}\n  traced {traced!r}")
    known = {symbol(one.program.names[name]): name for name in one.program.leaves}
    for given in points(one.program, one.random, "float32", 2):
        try:
            found = values(plain(seen), {leaf: given[name] for leaf, name in known.items()})[plain(seen)]
        except NotEvaluable:
            return "not run"
        expected = called(one.entry, one.program, given)
        if not _close(torch.as_tensor(found), expected):
            raise Wrong(f"the term {seen!r}\n  gives {found}\n  torch {expected}\n  at {given}")
    return "read and traced" if traced is not None else "read"


def _close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    found, expected = found.detach().double(), expected.detach().double()
    if found.dim() and found.shape != expected.shape and found.numel() != expected.numel():
        return False
    found = found.reshape(expected.shape) if found.numel() == expected.numel() else found.expand(expected.shape)
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-6 * _size(expected), equal_nan=True)


def _size(x: torch.Tensor) -> float:
    finite = x[x.isfinite()]
    return max(1.0, finite.abs().max().item()) if finite.numel() else 1.0


def values(term: Term, given: Mapping[Term, Any]) -> dict[Term, Any]:
    """What torch computes for each subterm; raises `NotEvaluable`."""
    done: dict[Term, Any] = {}
    for node in walk_term(term):
        if node in given:
            done[node] = given[node]
        elif node.op == "const":
            done[node] = node.value
        elif node.op in ("symbol", "opaque", "either"):
            raise NotEvaluable(node.op)
        else:
            done[node] = apply(node.op, [done[arg] for arg in node.args], dict(node.attrs))
    return done


# --- ranges --------------------------------------------------------------------------------------------


@cache
def table(dtype: str) -> Matcher:
    """A matcher for a dtype; it is emptied now and then, since terms go."""
    return matcher(rules.load(), dtype)


def ranges(one: Subject) -> str:
    """What torch computes for a subterm lies in its interval, if its operands lie in theirs."""
    seen = read_term(one)
    symbols = {node.name: node for node in walk_term(seen) if node.op == "symbol"}
    for dtype in FORMATS:
        found = table(dtype).ranges
        found.interval(seen)
        for given in points(one.program, one.random, dtype, 4):
            leaves = {symbols[called]: given[name] for name, called in one.program.names.items() if called in symbols}
            try:
                computed = values(seen, leaves)
            except NotEvaluable:
                return "not run"
            for node in walk_term(seen):
                if not node.args or node.op in ("detach", "assume") or _alone(node, computed):
                    continue
                if any(_astray(computed[arg], found.interval(arg), dtype) for arg in node.args):
                    continue
                fault = _outside(computed[node], found.interval(node), dtype, rounding=True)
                if fault and _assumed_not(node, fault, found):
                    continue
                if fault:
                    inner = {str(arg): (computed[arg], found.interval(arg)) for arg in node.args}
                    raise Wrong(
                        f"{dtype}: {fault} of {node!r} is outside of {found.interval(node)}\n"
                        f"  it is {computed[node]}\n  of {inner}"
                    )
    for dtype in FORMATS:
        if len(table(dtype).ranges.memo) > 20_000:
            table.cache_clear()
            break
    return "in four dtypes"


def _alone(node: Term, computed: Mapping[Term, Any]) -> bool:
    """Whether there is only one entry along a dimension, where it is assumed that there is another."""
    if node.op not in ("softmax", "var", "std"):
        return False
    x, dim = computed[node.args[0]], node.attr("dim")
    if not isinstance(x, torch.Tensor) or dim is None:
        return isinstance(x, torch.Tensor) and x.numel() == 1
    return isinstance(dim, int) and x.shape[dim] == 1


def _assumed_not(node: Term, fault: str, found: RangeTable) -> bool:
    """Whether it is by assumption that a value does not occur: what has no bound is not taken to be as far off as it
    takes to overflow, or to underflow to an end that is not reached.
    """
    if node.op == "pow" and found.interval(node.args[1]).nonzero and found.interval(node.args[1]).unknown:
        return True  # an exponent of which nothing is known is taken for a number above 0
    if node.op == "sum" and node.args[0].op == "mul" and "normalize" in {part.op for part in node.args[0].args}:
        return True  # of vectors along the same dimension, not one against the rows of a matrix
    if any(arg.op == "normalize" for arg in node.args) and fault not in ("nan", "inf"):
        return True  # of vectors whose squares do not underflow
    free = any(not found.interval(arg).bounded for arg in node.args)
    many = ops.family(node) != ops.ELEMENTWISE  # of many entries, it is not known how many
    near = any(end == 0 for arg in node.args for end in (found.interval(arg).low, found.interval(arg).high))
    if fault == "inf":
        return free or many or near
    result = found.interval(node)
    return fault in ("0.0", "-0.0") and (result.low == 0 or result.high == 0) and (free or many or near)


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or (isinstance(value, int | float) and not isinstance(value, bool))


def _astray(value: Any, interval: Interval, dtype: str) -> bool:
    """Whether an operand is not what its interval says, so that nothing follows."""
    return bool(_outside(value, interval, dtype, rounding=False)) or _signed_wrong(value, interval)


def _outside(value: Any, interval: Interval, dtype: str, rounding: bool) -> str:
    """What of a value is not in an interval: "nan", "inf", or the value.

    1 / -0 is -inf, where a range that ends at 0 has inf: the sign of an infinity counts for nothing here.
    """
    if not _is_float(value):
        return ""
    tensor = torch.as_tensor(value).detach().double().reshape(-1)
    for entry in tensor.tolist():
        if math.isnan(entry):
            if not interval.may_nan:
                return "nan"
        elif math.isinf(entry):
            if not interval.may_inf:
                return "inf"
        elif not interval.holds(entry) and not (rounding and _rounded_from(entry, interval, dtype)):
            return repr(entry)
    return ""


def _signed_wrong(value: Any, interval: Interval) -> bool:
    """Whether there is an infinity beyond a finite end: one of the other sign than it was taken for."""
    if not isinstance(value, torch.Tensor):
        return False
    below, above = bool((value == -math.inf).any()), bool((value == math.inf).any())
    return (below and interval.low > -math.inf) or (above and interval.high < math.inf)


def _rounded_from(value: float, interval: Interval, dtype: str) -> bool:
    """Whether torch may have got a value from one of an interval: functions are off by some units in the last place."""
    slack = abs(value) * 4 * FORMATS[dtype].eps
    nearest = min(max(value, interval.low), interval.high)
    return value != nearest and abs(value - nearest) <= slack


# --- rewrites ------------------------------------------------------------------------------------------


def rewritten(one: Subject) -> str:
    """The rewritten program is as accurate as the program wherever that is told apart, and never fails on its own."""
    draw = Random(one.random.random())
    try:
        example = next(points(one.program, draw, "float32", 1))
        stable = nanguard.rewrite(one.entry, example_inputs={one.program.names[n]: t for n, t in example.items()})
    except NanguardError as error:
        return f"refused: {str(error).partition(': ')[2][:60]}"
    done = stable.report()
    if not done:
        return "nothing to rewrite"
    what = f"rewritten ({', '.join(f'{r.code}: {r.before} -> {r.after}' for r in done)})"
    judged = compare(one, stable, what, {r.code for r in done})
    return f"rewritten, {'judged' if judged else 'not judged'}"


def compare(one: Subject, stable: Any, what: str, codes: Collection[str]) -> int:
    """Raise `Wrong` where another form of a program is less accurate than it is, in value or gradient.

    `codes` are the rules that have made it.  Gives the number of points at which there is an exact value.
    """
    return sum(
        _compare(one, stable, what, dtype, given, codes)
        for dtype in ("float32", "float64")
        for given in points(one.program, one.random, dtype, 4, subnormal=False)  # 1 / x ** 2 overflows there
    )


def _arrays(given: Mapping[str, torch.Tensor]) -> dict[str, exact.Array]:
    return {name: exact.array(tuple(t.shape), t.double().reshape(-1).tolist()) for name, t in given.items()}


def _compare(
    one: Subject, stable: Any, what: str, dtype: str, given: Mapping[str, torch.Tensor], codes: Collection[str]
) -> bool:  # fmt: skip
    try:
        before, old = gradients(one.entry, one.program, given)
    except (RuntimeError, IndexError, TypeError):  # a class that there is not, a bound with a gradient
        return False
    after, new = gradients(stable, one.program, given)
    if after.dtype != before.dtype or after.shape != before.shape:
        raise Wrong(f"{what}: {after.dtype}{tuple(after.shape)} for {before.dtype}{tuple(before.shape)}")
    arrays = _arrays(given)
    try:
        true = [float(entry.mid()) for entry in exact.value(one.program.tree, arrays).entries]
        noise = exact.noise(one.program.tree, arrays, FORMATS[dtype].eps)
    except (exact.Unknown, OverflowError):
        return False
    if _steep(one.program.tree):
        return False
    if _guarded(one.program.tree):  # a guard that goes changes the value: it is to be finite where it was
        _finite(what, dtype, given, "value", before, after)
        for name in old:
            _finite(what, dtype, given, f"slope by {name}", old[name], new[name], steepest=100.0)
        return True
    made_by = [rule for rule in rules.load().rules if rule.code in codes]
    kept = max((rule.ulps.of(dtype) for rule in made_by), default=0.0) * FORMATS[dtype].eps
    _entries(what, dtype, given, "value", before, after, true, 4 * noise, kept)
    if noise == math.inf or not before.isfinite().all():
        return True
    try:
        exactly = {name: exact.slopes(one.program.tree, arrays, name) for name in old}
    except (exact.Unknown, OverflowError):
        return True
    shaken = shakiness(one.entry, one.program, given, old)
    kept = max((rule.slope_ulps.of(dtype) for rule in made_by), default=0.0) * FORMATS[dtype].eps
    largest = max((abs(slope) for listed in exactly.values() for slope in listed if slope is not None), default=0.0)
    for name in old:
        # what is around a rule may magnify its error: by how much, the largest slope shows, beside which others cancel
        noise = 4 * shaken[name] + kept * largest
        _entries(what, dtype, given, f"slope by {name}", old[name], new[name], exactly[name], noise, kept)
    return True


def _steep(root: Node) -> bool:
    """Whether a tree has a computed exponent: 0 to the power of 0 is 1, and of what has been rounded to it, inf."""
    return any(node.op == "pow" and node.parts[1].op != "number" for node in walk(root))


def _guarded(root: Node) -> bool:
    """Whether a tree has a small constant, or a bound."""
    small = any(node.op == "number" and isinstance(node.value, float) and 0 < node.value <= 1e-3 for node in walk(root))
    return small or any(node.op in ("clamp", "maximum", "minimum", "nan_to_num") for node in walk(root))


def _finite(
    what: str, dtype: str, given: Mapping[str, torch.Tensor], of: str, before: torch.Tensor, after: torch.Tensor,
    steepest: float = math.inf,
) -> None:  # fmt: skip
    """Of slopes those that a guard alone keeps from being infinite are not judged."""
    if bool((before.isfinite() & (before.abs() <= steepest) & ~after.isfinite()).any()):
        raise Wrong(f"{what}: {of} in {dtype} is {after}, was {before}\n  at {dict(given)}")


def _entries(
    what: str, dtype: str, given: Mapping[str, torch.Tensor], of: str, before: torch.Tensor, after: torch.Tensor,
    true: Sequence[float | None], noise: float, kept: float,
) -> None:  # fmt: skip
    """Raise `Wrong` where an entry is worse than before, beyond some noise and the relative error that rules keep to.

    That is relative to 1 or to the largest entry, as it is in the proof of rules.
    """
    largest = FORMATS[dtype].max
    size = max((abs(value) for value in true if value is not None and abs(value) <= largest), default=0.0)
    slack = kept * max(1.0, size) + FORMATS[dtype].tiny + noise
    olds, news = before.double().reshape(-1).tolist(), after.double().reshape(-1).tolist()
    for old, new, right in zip(olds, news, true, strict=True):
        if right is None or not math.isfinite(right) or abs(right) > largest:
            continue
        was, is_ = abs(old - right), abs(new - right)
        if was <= 0.1 * max(1.0, abs(right)) and not is_ <= 2 * was + slack:
            raise Wrong(f"{what}: {of} in {dtype} is {new!r}, was {old!r}, exact {right!r}\n  at {dict(given)}")


# --- fixes ---------------------------------------------------------------------------------------------


def fixed(one: Subject) -> str:
    """`--fix --unsafe-fixes` gives a file that parses, is no less accurate, and stays as it is when fixed again."""
    with in_process(), tempfile.TemporaryDirectory() as folder:
        for name, text in one.program.files.items():
            (Path(folder) / name).write_text(text)
        path = str(Path(folder) / one.program.main)
        settings = Settings(static=True, quiet=True)
        outcome = fix_paths([path], settings, unsafe=True)
        if outcome.bugs:
            raise Wrong(f"a fix had to be taken back: {outcome.bugs}")
        if not outcome.files:
            return "nothing to fix"
        save(outcome)
        done = {Path(file.path).name: Path(file.path).read_text() for file in outcome.files}
        again = fix_paths([path], settings, unsafe=True)
        if again.files:
            raise Wrong(f"fixed a second time:\n{done}\n{[file.after.decode() for file in again.files]}")
    changed = replace(one.program, files={**one.program.files, **done})
    codes = [finding.code for finding in outcome.fixed]
    with tempfile.TemporaryDirectory() as folder, loaded(changed, Path(folder)) as entry:
        if all(finding.fix is not None and finding.fix.safe for finding in outcome.fixed):
            judged = compare(one, entry, f"fixed ({codes})\n{changed}", codes)
            return f"fixed, {'judged' if judged else 'not judged'}"
        if _guarded(one.program.tree) and any(f.fix is not None and f.fix.kind == "clamp" for f in outcome.fixed):
            return "fixed, a clamp beside another"  # of a value of 1e-8 a bound of 1e-8 is an ordinary one
        clamped = any(finding.fix is not None and finding.fix.kind == "clamp" for finding in outcome.fixed)
        ordinary(one, entry, f"fixed ({codes})\n{changed}", 2e-3 if clamped else 1e-3)
    return "fixed, unsafe"


def _inside(x: torch.Tensor) -> torch.Tensor:
    """Floats between 0.1 and 0.9, where probabilities and logits both lie."""
    if not x.is_floating_point():
        return x
    return 0.1 + 0.8 * torch.rand(x.shape, generator=torch.Generator().manual_seed(x.numel()), dtype=x.dtype)


def ordinary(one: Subject, other: Any, what: str, close: float) -> None:
    """Raise `Wrong` where another form differs from a program that is right, at ordinary points.

    A clamp may move a value by as much as it says: the least angle of a clamped acos is 1.4e-3.
    """
    given = {name: _inside(tensor) for name, tensor in next(points(one.program, Random(1), "float64", 1)).items()}
    try:
        true = exact.value(one.program.tree, _arrays(given))
    except (exact.Unknown, OverflowError):
        return
    before, after = called(one.entry, one.program, given), called(other, one.program, given)
    right = torch.tensor([float(entry.mid()) for entry in true.entries], dtype=torch.float64).reshape(before.shape)
    if torch.allclose(before, right, rtol=1e-9, atol=1e-9) and not torch.allclose(after, right, rtol=1e-3, atol=close):
        raise Wrong(f"{what}: gives {after}, was {before}, at {given}")


# --- variants ------------------------------------------------------------------------------------------


def variants(one: Subject) -> str:
    """Other names, another layout, other spellings and the operands of commutative operations exchanged: same codes."""
    if any(node.op == "pow" and node.parts[1].op != "number" for node in walk(one.program.tree)):
        return "with an exponent that is taken for a hyper-parameter or not by how it is written"
    if any(is_mask(node) and any(part.parts for part in node.parts) for node in walk(one.program.tree)):
        return "with a test, of which inside of an expression less is said than under a name"
    expected, sure = codes(one.program, one.folder)
    for other in (exchanged(one.program.tree, one.random), one.program.tree):
        written = program(other, one.random, "other", files=False)
        try:
            with subject(written, one.random):
                found, certain = codes(written, one.folder)
        except Unfit:
            continue
        if not sure <= found or not certain <= expected:
            raise Wrong(f"{sorted(expected)} but {sorted(found)} written as\n{written.files[written.main]}")
    return f"{min(len(expected), 3)} codes"


def exchanged(root: Node, random: Random) -> Node:
    """The tree with the operands of commutative operations in another order."""
    done: dict[Node, Node] = {}
    for node in walk(root):
        parts = [done[part] for part in node.parts]
        if node.parts and ops.rows()[node.op].commutes and random.random() < 0.5:
            parts.reverse()
        done[node] = call(node.op, parts, **node.attributes) if node.parts else node
    return done[root]


def codes(made: Program, folder: Path) -> tuple[set[str], set[str]]:
    """The codes that a program is suspected of, and those of them that its entry is, read alone.

    A helper is a target of its own, too, for which it is not known what its callers make of what it gives.
    """
    if len(made.files) > 1:
        for name, text in made.files.items():
            (folder / name).write_text(text)
    path, source = str(folder / made.main), made.files[made.main]
    tree = ast.parse(source)
    found = scan(path, source, tree, Settings(static=True), None)
    if found.reading.failed:
        raise Wrong(f"reading gave up: {found.reading.failed}")
    entry = f"{made.entry}.forward" if made.is_class else made.entry
    alone = read(path, source, tree, [target for target in targets(path, tree) if target.name == entry])
    through = suspects(alone, table("float32"), _all_codes(), None)
    return {one.match.rule.code for one in found.suspects}, {one.match.rule.code for one in through}


def _all_codes() -> frozenset[str]:
    return selected(Settings(), rules.load().rules)


# --- the whole -----------------------------------------------------------------------------------------


def checked(one: Subject) -> str:
    """A check of the file ends without an error and without a note of its own."""
    result = examine(one.path, one.source, Settings(static=True), None)
    if result.notes:
        raise Wrong(f"notes: {result.notes}")
    if any(target.reason for target in result.targets):
        raise Wrong(f"not read: {result.targets}")
    return f"{min(len(result.findings), 3)} findings"


PROPERTIES: Mapping[str, Callable[[Subject], str]] = {
    "agree": agree, "ranges": ranges, "rewritten": rewritten, "fixed": fixed, "variants": variants, "checked": checked,
}  # fmt: skip
