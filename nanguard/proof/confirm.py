"""Confirm: a match to a witness, or to none.

The code as written is run with torch at finite inputs inside the ranges of its leaves, the ones at which things are
known to fail first.  The exact value comes from ball arithmetic, of the rule's stable form where it has one (a guard
is then part of what is wrong), else of the code as written.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import thread_time

import torch
from torch import Tensor

from nanguard import ops
from nanguard.finding import Number, Witness
from nanguard.floats import FORMATS
from nanguard.matching.match import Match, Matcher
from nanguard.matching.predicates.asked import core
from nanguard.proof import facts, leaves
from nanguard.proof.evaluate import NotEvaluable
from nanguard.proof.failing import MEASURED_EXACTLY, NONFINITE, fails, lost, some_zero, truth_at
from nanguard.proof.leaves import Cut
from nanguard.proof.points import Point, Values, at, given, magnitude, many, measured, points_of
from nanguard.proof.run import gradient, run
from nanguard.proof.thresholds import thresholds
from nanguard.proof.witness import witnessed
from nanguard.term import Term, fill, make, number, substitute, symbol, walk

_MOST_TAKEN = 80  # points at which the branch of a selection is looked at where it is taken
_EDGES = 4  # failing points of a branch, of which it may be the last that the test keeps it from
_SECONDS = 0.5  # of the processor, for one search: what is found at all is found in a tenth of it
_LOADS = 3  # times that this begins again, as a step has taken so long that something was loaded
_MOST_EXACT = 60  # of these, points at which the exact value is worked out


@dataclass(frozen=True, slots=True)
class Proof:
    """The hazard that was shown, its witness and the first failing input in each dtype."""

    hazard: str
    witness: Witness
    thresholds: Mapping[str, Number]
    cut: Cut
    point: Point
    kind: str  # of the failure at the point, before a guard is taken into account


def confirm(match: Match, matcher: Matcher, called: Callable[[Term], str | None]) -> Proof | None:
    """The proof of a match in the dtype of the matcher, None if nothing was found that goes wrong.

    `called` says what a term is called at the place of the finding, if it has a name there.
    """
    if match.rest and match.joined == "add" and match.variant.hazard == "accuracy-loss":
        # what is lost in a part of a sum is measured on the part: beside the other terms it may not show here
        match = replace(match, root=fill(match.variant.match, match.bindings, match.attrs), rest=())
    if match.variant.logits:
        match = _from_logits(match)
    meant = match.variant.exact or match.variant.stable
    reference = match.replacement(meant) if meant is not None else match.root
    dtype = matcher.ranges.dtype
    searched: Cut | None = None  # the last one, in vain
    runs: bool | None = None  # it does, once that is asked
    for cut in leaves.cuts(match, matcher, reference):
        if cut.makeshift and searched is not None:
            runs = _runs(searched, matcher) if runs is None else runs
            if runs:
                continue
        try:
            found = search(cut, match, matcher)
        except NotEvaluable:
            continue
        searched, runs = cut, None
        if found is not None:
            hazard, point = found
            witness = witnessed(cut, point, dtype, called)
            reported = hazard
            if match.guards and "dead-gradient" in match.rule.guarded and hazard in NONFINITE:
                reported = "ineffective-guard"
            if match.variant.hazard in ("ineffective-guard", "misuse"):
                reported = match.variant.hazard
            return Proof(reported, witness, thresholds(cut, point, hazard), cut, point, hazard)
    return None


def _from_logits(match: Match) -> Match:
    """A match with the sigmoid of a logit in the place of a probability that is an argument."""
    given = match.bindings[match.variant.logits]
    name = given.name if given.op in ("symbol", "opaque") else "the probability"
    probability = make("sigmoid", (symbol(f"logit of {name}"),))
    changed = {given: probability, core(given): probability}  # it may stand there in other words
    bindings = {key: substitute(term, changed) for key, term in match.bindings.items()}
    return replace(match, root=substitute(match.root, changed), bindings=bindings)


def _runs(cut: Cut, matcher: Matcher) -> bool:
    """Whether a term gives numbers for some inputs: one that never does was not looked at."""
    return any(point.finite for point in itertools.islice(points_of(cut, matcher), _MOST_TAKEN))


def wanted(match: Match) -> tuple[str, ...]:
    """The kinds of failure that prove a match, worst first; of those that are measured, in the order the rule has."""
    listed = [match.variant.hazard, *match.rule.also]
    if match.guards:
        listed += [*match.rule.guarded, *NONFINITE]
    if match.variant.hazard == "ineffective-guard":
        listed += NONFINITE
    measured = (kind for kind in dict.fromkeys(listed) if kind in MEASURED_EXACTLY)
    return (*(kind for kind in NONFINITE if kind in listed), *measured)


def search(cut: Cut, match: Match, matcher: Matcher) -> tuple[str, Point] | None:
    """The worst failure, at the smallest of the inputs that were tried."""
    kinds = wanted(match)
    direct = [kind for kind in kinds if kind not in MEASURED_EXACTLY]
    points: list[Point] = []
    first: dict[str, Point] = {}
    demanding = _MOST_EXACT if match.variant.stable is not None or match.variant.exact is not None else 0
    edges, tests = _EDGES, facts.tested(cut)
    last = thread_time()
    deadline, loads = last + _SECONDS, _LOADS
    for point in points_of(cut, matcher):
        now = thread_time()
        loading = now - last > _SECONDS / 2 and loads > 0  # what torch loads when it is first needed is not the search
        if not points or loading:
            deadline, loads = now + _SECONDS, loads - loading
        if now > deadline:
            break
        last = now
        points.append(point)
        kind = next((kind for kind in direct if fails(kind, point, None, matcher.ranges.dtype)), None)
        if kind is not None and kind not in first and demanding and not loses(kind, cut, point, matcher.ranges.dtype):
            demanding -= 1  # the exact value is not finite either: a better witness may come
            continue
        if kind is not None and tests and not facts.agree(tests, cut, point, matcher.ranges.dtype):
            continue  # the program does not come here with it
        if kind is not None and causes(cut, match, point, kind, matcher.ranges.dtype):
            point = alone(cut, point, matcher.ranges.dtype)
            if not fails(kind, point, None, matcher.ranges.dtype):
                continue
            if match.variant.untaken and exposed(cut, match, point, matcher):
                edges -= 1
                if not edges:
                    return None
                continue  # another edge of the branch may be one that the test keeps it from
            first.setdefault(kind, point)
            if kind == direct[0]:
                return kind, point
    for kind in kinds:
        if kind in first:
            return kind, first[kind]
        if kind in MEASURED_EXACTLY:
            until = max(deadline, thread_time() + _SECONDS / 2)  # whatever it took to get there
            found = _exactly(kind, cut, [p for p in points if p.finite and p.smooth], matcher.ranges.dtype, until)
            if found is not None and (not tests or facts.agree(tests, cut, found, matcher.ranges.dtype)):
                return kind, found
    return None


def alone(cut: Cut, point: Point, dtype: str) -> Point:
    """The point of a tensor by a run of its own: beside others torch may round in another way."""
    return point if not point.shape else at(cut, point.values, point.shape, dtype) or point


def causes(cut: Cut, match: Match, point: Point, kind: str, dtype: str) -> bool:
    """Whether a failure comes about where the rule says, not in what its variables stand for.

    At the values that these have there the root alone must fail in the same way.  Of a selection, the branch that is
    not taken must spoil the gradient, and the one that is taken must not.
    """
    if match.variant.untaken:
        return not _outside(cut, match, point) and _untaken(cut, match, point, dtype)
    if match.variant.stable is None and match.variant.exact is None and _has_nan(cut, point, dtype):
        return False
    if not cut.bound:
        return True
    itself = of_operands(cut, point, dtype)
    return itself is not None and fails(kind, itself, None, dtype)


def of_operands(cut: Cut, point: Point, dtype: str) -> Point | None:
    """What the root gives for the values that the rule's variables have at a point, as if these were its inputs.

    The gradients are those of the variables.  None where one of these values is not finite.
    """
    plain = {leaf: tensor.detach() for leaf, tensor in given(cut, point.values, point.shape, dtype).items()}
    inner = {term: run(term, plain).detach() for term in cut.bound}
    if not all(bool(torch.isfinite(value).all()) for value in inner.values()):
        return None
    inner |= {leaf: plain[leaf] for leaf in cut.free if leaf not in cut.targets}  # variables as well, or out of sight
    inner = {term: value.clone().requires_grad_(value.is_floating_point()) for term, value in inner.items()}
    output = run(cut.root, {**plain, **inner})
    slopes = tuple(gradient(output, [value for value in inner.values() if value.requires_grad]))
    return measured((), (), output.detach(), slopes)


def _has_nan(cut: Cut, point: Point, dtype: str) -> bool:
    """Whether an operand of what is reported is nan by itself: it went wrong further inside."""
    plain = {leaf: tensor.detach() for leaf, tensor in given(cut, point.values, point.shape, dtype).items()}
    if ops.catches(cut.root) or any(ops.catches(node) for arg in cut.root.args[:2] for node in (arg, *arg.args)):
        return False  # it is about what is nan
    inside = [arg for arg in cut.root.args if arg.op != "const" and arg not in plain]
    return any(bool(torch.isnan(run(arg, plain)).any()) for arg in inside)


def branch(match: Match, text: str) -> Term:
    """The branch of a selection that a rule names, as the program has it: an operand of the pattern."""
    named, pattern = ops.parse(text), match.variant.match
    if named in pattern.args and match.root.op == pattern.op:
        return match.root.args[pattern.args.index(named)]
    return fill(named, match.bindings, match.attrs)


_GIVEN = re.compile(r"(^|_)(target|targets|label|labels|true|t|y|gt|count|counts)$")  # what data are called


def _outside(cut: Cut, match: Match, point: Point) -> bool:
    """Whether a point has negative data where the program tests whether they are above 0: they are 0 or more."""
    compared = {
        arg
        for test in _tests(match)
        for node in walk(test)
        if node.op in ("gt", "lt", "eq", "ne", "ge", "le") and any(number(other) == 0 for other in node.args)
        for arg in node.args
    }
    return any(
        leaf in compared and _GIVEN.search(leaf.name) is not None and min(values) < 0
        for leaf, values in zip(cut.free, point.values, strict=True)
        if leaf.op == "symbol"
    )


def _untaken(cut: Cut, match: Match, point: Point, dtype: str) -> bool:
    """Whether the gradient of a branch that is not taken anywhere is non-finite, and that of the other one finite."""
    spoiled, taken = (branch(match, name) for name in (match.variant.untaken, match.variant.taken))
    tensors = given(cut, point.values, point.shape, dtype)
    free = [tensors[leaf] for leaf in cut.free if tensors[leaf].requires_grad]
    if _smooth(spoiled, tensors, free) or not _smooth(taken, tensors, free):
        return False
    others = [run(cut.root, {**tensors, spoiled: torch.full(point.shape or (1,), value)}) for value in (7.0, 9.0)]
    return bool((others[0] == others[1]).all())


def _smooth(term: Term, tensors: Mapping[Term, Tensor], free: Sequence[Tensor]) -> bool:
    """Whether the gradient of a term for some of its leaves is finite."""
    slopes = gradient(run(term, tensors), free)
    return all(bool(torch.isfinite(slope).all()) for slope in slopes if slope is not None)


def exposed(cut: Cut, match: Match, point: Point, matcher: Matcher) -> bool:
    """Whether a branch of a selection is as singular where it is taken: the test does not keep it from its edge.

    Looked at where only the test has other values than at the failing point, and at plain points.  What the test is
    not about stays as it is there: of ``where(y > 0, log(y / p), 0)`` the edge p = 0 says nothing of the one at y = 0.
    """
    dtype, term = matcher.ranges.dtype, branch(match, match.variant.untaken)
    below = set(walk(term))
    tested = set(walk(*_tests(match)))
    kept = [leaf not in tested for leaf in cut.free] if tested & set(cut.free) else [False] * len(cut.free)
    flipped = [
        tuple(
            held if leaf in below else (value,) * len(held)
            for leaf, held in zip(cut.free, point.values, strict=True)
        )
        for value in (0.0, 1.0, -1.0, 2.0)
    ]  # fmt: skip
    others = itertools.islice(points_of(cut, matcher), _MOST_TAKEN)
    plain = (
        (tuple(map(_chosen, kept, point.values, other.values)), other.shape)
        for other in others
        if other.shape == point.shape
        and not any(0 < abs(value) < 1e-6 for vector in other.values for value in vector)  # beside the edge
    )
    tried = _each_once(itertools.chain(((values, point.shape) for values in flipped), plain))
    return any(_singular_where_taken(cut, term, values, shape, dtype) for values, shape in tried)


def _each_once(inputs: Iterable[tuple[Values, tuple[int, ...]]]) -> Iterator[tuple[Values, tuple[int, ...]]]:
    seen = set()
    for one in inputs:
        if one not in seen:
            seen.add(one)
            yield one


def _chosen(keep: bool, one: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, ...]:
    return one if keep else other


def _tests(match: Match) -> tuple[Term, ...]:
    """What a selection selects by: the operands of the root that are no branch of it."""
    branches = [branch(match, name) for name in (match.variant.untaken, match.variant.taken)]
    return tuple(arg for arg in match.root.args if not any(arg is one for one in branches))


def _singular_where_taken(
    cut: Cut, term: Term, values: tuple[tuple[float, ...], ...], shape: tuple[int, ...], dtype: str
) -> bool:
    tensors = given(cut, values, shape, dtype)
    results = [run(cut.root, {**tensors, term: torch.full(shape or (1,), value)}) for value in (7.0, 9.0)]
    if not bool(((results[0] != results[1]) & torch.isfinite(results[0])).all()):
        return False
    slopes = gradient(run(term, tensors), [leaf for leaf in tensors.values() if leaf.requires_grad])
    return any(slope is not None and not bool(torch.isfinite(slope).all()) for slope in slopes)


def loses(kind: str, cut: Cut, point: Point, dtype: str) -> bool:
    """Whether something finite is lost: an entry that is not finite, where the exact one is a number of the dtype."""
    truth = truth_at(cut, point, dtype)
    if truth is None:
        return True
    pairs: list[tuple[Tensor, Sequence[float]]] = [(point.output, truth.values)]
    if kind == "gradient-nonfinite":
        parts = zip(point.gradients, truth.gradients, strict=True)
        pairs = [(part, right.values) for part, right in parts if part is not None]
    return any(
        not math.isfinite(computed) and abs(value) <= FORMATS[dtype].max
        for part, values in pairs
        for computed, value in zip(part.detach().flatten().tolist(), values, strict=False)
    )


def _bound_finite(cut: Cut, point: Point, dtype: str) -> bool:
    """Whether what the variables of the rule stand for is finite at a point."""
    if not cut.bound:
        return True
    plain = {leaf: tensor.detach() for leaf, tensor in given(cut, point.values, point.shape, dtype).items()}
    return all(bool(torch.isfinite(run(term, plain)).all()) for term in cut.bound)


def _exactly(kind: str, cut: Cut, points: Sequence[Point], dtype: str, deadline: float) -> Point | None:
    """The plainest point that fails against the exact value."""
    if kind == "dead-gradient":
        return _dying(cut, points, dtype, deadline)
    if kind == "misuse":
        points = sorted(points, key=lambda point: abs(magnitude(point.values) - 10.0))
    elif dtype != "float64":
        suspects = _suspects(cut, points, dtype)
        points = [*(point for point in points if id(point) in suspects), *points]
    return next(_failing(kind, cut, points, dtype, deadline), None)


def _suspects(cut: Cut, points: Sequence[Point], dtype: str) -> set[int]:
    """The points at which float64 gives something else: where the exact value is worth its cost."""
    limit = lost("accuracy-loss", dtype)
    pairs = [
        (point, better)
        for point, better in zip(points, _in_float64(cut, points), strict=True)
        if better is not None and better.shape == point.output.shape
    ]
    if not pairs:
        return set()
    exacter = torch.stack([better for _, better in pairs])
    error = torch.stack([point.output for point, _ in pairs]).double() - exacter
    error = error.abs() / exacter.abs().clamp(min=FORMATS[dtype].tiny)
    wrong = ((error > limit) & torch.isfinite(error)).reshape(len(pairs), -1).any(1).tolist()
    return {id(point) for (point, _), differs in zip(pairs, wrong, strict=True) if differs}


def _in_float64(cut: Cut, points: Sequence[Point]) -> Sequence[Tensor | None]:
    """What the term as written gives in float64 at some points, by one run where that can be done."""
    shape = points[0].shape if points else ()
    found = many(cut, [point.values for point in points], shape, "float64")
    if found is not None:
        return [point.output for point in found]
    if not shape:
        return [None] * len(points)
    alone = [at(cut, point.values, point.shape, "float64") for point in points]
    return [None if point is None else point.output for point in alone]


def _dying(cut: Cut, points: Sequence[Point], dtype: str, deadline: float) -> Point | None:
    """A point with a dead gradient: gone altogether if there is one, else all but gone.

    A gradient dies far out, so the largest inputs are looked at first, and the smallest of those that fail is taken.
    """
    for listed in ([p for p in points if some_zero(p)], [p for p in points if not some_zero(p)]):
        found = list(_failing("dead-gradient", cut, listed[::-1], dtype, deadline))
        if found:
            return found[-1]
    return None


def _failing(kind: str, cut: Cut, points: Sequence[Point], dtype: str, deadline: float) -> Iterator[Point]:
    """Those of the first points that fail against the exact value."""
    for index, point in enumerate(points[:_MOST_EXACT]):
        if index == 1:  # what the first one loads is not the search
            deadline = max(deadline, thread_time() + _SECONDS / 2)
        if index and thread_time() > deadline:
            return
        if not _bound_finite(cut, point, dtype):
            continue
        truth = truth_at(cut, point, dtype)
        if truth is not None and truth.decided and fails(kind, point, truth, dtype, cut.scale):
            again = alone(cut, point, dtype)
            if fails(kind, again, truth, dtype, cut.scale):
                yield again
