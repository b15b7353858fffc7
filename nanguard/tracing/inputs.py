"""Inputs: sets of small arguments to try a loss on, and how a failed try makes the next one better."""

from __future__ import annotations

import inspect
import itertools
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from nanguard.stated import Range
from nanguard.tracing import naming
from nanguard.tracing.clues import clue, derivations
from nanguard.tracing.given import examples_of
from nanguard.tracing.guesses import Builder, Guess, Plain, State
from nanguard.tracing.learning import better
from nanguard.tracing.plan import Parameter, Plan, plan_of, ranged
from nanguard.tracing.usage import function_node

_TRIES = 40  # sets of arguments in all
_VARIANTS = 14  # sets beside the first one that went well
_FRESH = 4  # every so many tries one begins anew, so that no false track takes them all
_REPAIRS = 3  # tries to mend a variant


class Samples:
    """Sets of arguments to try on a callable, the likeliest first.

    After a set on which the run failed `learn` is told the exception, and the next set is made accordingly.  Where
    it is not, the run went well, and what follows are sets of the same kind that may take other branches: options
    set otherwise, tensors for parameters whose default is None.  A set leaves out the parameters that keep their
    default.  Examples that the user gave (`nanguard.example_inputs`) come first.  `owner` is the object of a
    method, `function` what is run, `ranges` the values that the user allows by parameter;
    `building` says that it is a constructor, whose parameters are rather numbers than tensors.
    """

    def __init__(
        self, signature: inspect.Signature, owner: object = None, function: Callable[..., Any] | None = None,
        ranges: Mapping[str, Range] | None = None, building: bool = False,
    ) -> None:  # fmt: skip
        if function is None and isinstance(owner, nn.Module):
            function = type(owner).forward
        self._signature, self._ranges = signature, ranges or {}
        self._plan = plan_of(signature, owner, function, building)
        node = function_node(function) if function is not None else None
        self._derived = derivations(node, list(signature.parameters))
        plain: Any = getattr(function, "__func__", function)
        self._code = getattr(inspect.unwrap(plain), "__code__", None) if function is not None else None
        self._examples = [] if building else list(examples_of(function, owner, signature))
        self._waiting: list[tuple[tuple[int, ...], int, int, State]] = []  # progress, steps, order
        self._variants: list[State] = []
        self._seen: set[State] = set()
        self._order = itertools.count()
        self._places: Counter[tuple[tuple[int, ...], str]] = Counter()  # how often a run ended so
        self._last: tuple[State, dict[str, Any], int] | None = None
        self._failed = False
        self._succeeded = False
        self._repairs = self._picks = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for arguments in self._examples:
            self._last = None
            yield arguments
        for state in self._plan.starts():
            self._push((), 0, state)
        for _ in range(_TRIES):
            step = self._next()
            if step is None:
                return
            state, steps = step
            try:
                arguments = Builder(ranged(state, self._ranges)).arguments()
                self._signature.bind(**arguments) if self._bindable() else None
            except Exception:  # sizes that do not go together, or a keyword that it does not take
                continue
            self._last, self._failed = (state, arguments, steps), False
            yield arguments
            if not self._failed:
                self._went_well(state)

    def learn(self, error: BaseException) -> None:
        """Take note of the exception that the run with the last set of arguments ended in."""
        self._failed = True
        if self._last is None:
            return
        if error.__traceback__ is None or type(error).__name__ == "TraceError":
            error = error.__context__ or error
        state, arguments, steps = self._last
        found = clue(error, state, arguments, self._code, self._derived)
        if self._succeeded and self._repairs >= _REPAIRS:
            return
        self._repairs += 1
        place = (found.progress, re.sub(r"\d+", "", found.message))
        repeated = self._places[place]
        self._places[place] += 1
        for count, new in enumerate(itertools.islice(better(found, self._plan), 24)):
            if self._succeeded:
                if count == 0 and new not in self._seen:
                    self._variants.insert(0, new)
            else:
                self._push(found.progress, steps + 1 + count + 2 * repeated, new)

    def _bindable(self) -> bool:
        kinds = {parameter.kind for parameter in self._signature.parameters.values()}
        return inspect.Parameter.POSITIONAL_ONLY not in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds

    def _push(self, progress: tuple[int, ...], steps: int, state: State) -> None:
        if state not in self._seen:
            self._seen.add(state)
            self._waiting.append((progress, steps, next(self._order), state))

    def _next(self) -> tuple[State, int] | None:
        """The state to try next: of those whose parent got furthest the one with the fewest changes."""
        if self._succeeded:
            while self._variants:
                state = self._variants.pop(0)
                if state not in self._seen:
                    self._seen.add(state)
                    return state, 0
            return None
        if not self._waiting:
            return None
        self._picks += 1
        furthest = max(progress for progress, *_ in self._waiting)
        if self._picks % _FRESH == 0 and any(not progress for progress, *_ in self._waiting):
            furthest = ()
        best = min((entry for entry in self._waiting if entry[0] == furthest), key=lambda entry: entry[1:3])
        self._waiting.remove(best)
        return best[3], best[1]

    def _went_well(self, state: State) -> None:
        self._repairs = 0
        if not self._succeeded:
            self._succeeded = True
            self._variants = list(itertools.islice(_variants(state, self._plan), _VARIANTS))


def _variants(state: State, plan: Plan) -> Iterator[State]:
    """States that may take other branches than one that went well."""
    open_parameters = [p for p in plan.parameters.values() if not p.required and p.annotation != "*"]
    for parameter in open_parameters:
        for guess in _others(parameter, state, plan):
            yield state.put(parameter.name, guess)
    for name, guess in state.guesses:
        if isinstance(guess, Plain):
            for value in _other_values(guess.value, plan.parameters.get(name)):
                yield state.put(name, Plain(value))


def _others(parameter: Parameter, state: State, plan: Plan) -> Iterator[Guess]:
    """Values beside its default for a parameter."""
    default = parameter.default
    if default is None:
        layout = next((guess.shape for _, guess in state.tensors()), ("N", "C"))
        integral = any(guess.values == "labels" for _, guess in state.tensors())
        guess = plan.optional(parameter, layout, "classes" if integral else "same")
        if guess is not None:
            yield guess
        yield from (Plain(option) for option in dict.fromkeys(parameter.use.options))
    else:
        yield from map(Plain, _other_values(default, parameter))


def _other_values(value: Any, parameter: Parameter | None) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, str) and parameter is not None:
        yield from (option for option in dict.fromkeys(parameter.use.options) if option != value)


def samples(signature: inspect.Signature, module: nn.Module | None = None) -> Iterator[dict[str, Any]]:
    """Sets of arguments without any learning, the likeliest first; parameters with a default are left out."""
    plan = plan_of(signature, module, type(module).forward if module is not None else None)
    embeds = module is not None and any(isinstance(part, nn.Embedding) for part in module.modules())
    for state in plan.starts():
        try:
            yield Builder(state).arguments()
        except (ValueError, RuntimeError, TypeError):
            continue  # sizes that do not go together
    if embeds:
        yield {name: torch.tensor([0, 1, 2, 1]) for name, p in plan.parameters.items() if p.required}


def _floats(shape: Sequence[int], unit: bool, generator: torch.Generator) -> torch.Tensor:
    if unit:
        return 0.05 + 0.9 * torch.rand(tuple(shape), generator=generator)
    return torch.randn(tuple(shape), generator=generator).clamp(-2, 2)


def ordinary(examples: Mapping[str, torch.Tensor], draws: int = 4) -> Iterator[dict[str, torch.Tensor]]:
    """Tensors like `examples` with harmless values: floats around 0 or in (0, 1), the rest as it is."""
    for draw in range(draws):
        generator = torch.Generator().manual_seed(draw)
        yield {name: _ordinary(example, draw, generator) for name, example in examples.items()}


def _ordinary(example: torch.Tensor, draw: int, generator: torch.Generator) -> torch.Tensor:
    if not example.is_floating_point():
        return example.detach().clone()
    inside = example.numel() > 0 and bool(((example >= 0) & (example <= 1)).all())
    values = _floats(example.shape, inside or draw % 2 == 1, generator)
    return values.to(example.device, example.dtype)


def beyond(examples: Mapping[str, torch.Tensor], stated: Container[str] = ()) -> Iterator[dict[str, torch.Tensor]]:
    """Tensors like `examples` with floats of both signs, below 0 and above 1, but for those whose range is `stated`."""
    for draw in range(3):
        generator = torch.Generator().manual_seed(draw)
        yield {
            name: _beyond(example, draw, generator) if name not in stated else example
            for name, example in examples.items()
        }


def _beyond(example: torch.Tensor, draw: int, generator: torch.Generator) -> torch.Tensor:
    if not _is_float(example):
        return example
    values = _floats(example.shape, draw > 0, generator)
    return (values if draw == 0 else -values if draw == 1 else 1 + values).to(example.device, example.dtype)


_LARGE = 200.0


def far(examples: Mapping[str, torch.Tensor], stated: Container[str] = ()) -> Iterator[dict[str, torch.Tensor]]:
    """Tensors like `examples` with floats as large as losses meet them, of both signs; at first 0 or 1 for those in it.

    Those whose range is `stated` stay as they are.
    """
    for draw in range(2):
        generator = torch.Generator().manual_seed(draw)
        yield {
            name: _far(example, draw == 0, generator) if name not in stated and _is_float(example) else example
            for name, example in examples.items()
        }


def _far(example: torch.Tensor, within: bool, generator: torch.Generator) -> torch.Tensor:
    if within and bool(((example >= 0) & (example <= 1)).all()):
        return _ordinary(example, 1, generator).round()
    values = _floats(example.shape, False, generator) * _LARGE
    return values.to(example.device, example.dtype)


def differentiable(values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Values with a gradient for all floating tensors; for those not called target or mask; for none."""
    floats = [name for name, value in values.items() if _is_float(value)]
    for wanted in (floats, [name for name in floats if naming.role(name) not in _FIXED], []):
        yield tuple(
            value.detach().clone().requires_grad_(name in wanted) if _is_float(value) else value
            for name, value in values.items()
        )


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


_FIXED = frozenset({"target", "labels", "mask", "weight", "index", "lengths"})  # roles that get no gradient
