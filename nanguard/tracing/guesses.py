"""Guesses: descriptions of arguments that can be compared and changed, and the arguments they describe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from nanguard.tracing.naming import SIZE, SIZES
from nanguard.tracing.standin import Config, Model, passed

Shape = tuple[str | int, ...]

N, C, T, H, W, S = "N", "C", "T", "H", "W", "S"
LAYOUTS: dict[int, tuple[Shape, ...]] = {
    0: ((),),
    1: ((N,),),
    2: ((N, C), (N, T)),
    3: ((N, T, C), (N, C, T), (N, H, W), (C, H, W)),
    4: ((N, C, H, W),),
    5: ((N, C, S, H, W),),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor: its dimensions by name or size, and what is in it."""

    shape: Shape
    values: str = "normal"  # normal unit positive simplex binary labels lengths mask ordered rotation onehot
    dtype: str = ""
    high: int = 0  # of labels; 0 is the size of C
    low: float | None = None  # of a range that the user gave
    up: float | None = None

    @property
    def integral(self) -> bool:
        """Whether its entries are numbers of classes or lengths."""
        return self.values in ("labels", "lengths")


@dataclass(frozen=True, slots=True)
class Plain:
    """A value that is taken as it is."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Plain) and type(self.value) is type(other.value) and repr(self.value) == repr(other.value)
        )

    def __hash__(self) -> int:
        return hash(repr(self.value))


@dataclass(frozen=True, slots=True)
class Several:
    """A list, a tuple or a dict."""

    items: tuple[Guess, ...]
    kind: str = "list"
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Thing:
    """A stand-in: a callable, a module, a configuration, an object with some attributes, an array of numpy."""

    kind: str
    attributes: tuple[tuple[str, Guess], ...] = ()
    held: Tensor | None = None


Guess = Tensor | Plain | Several | Thing


@dataclass(frozen=True, slots=True)
class State:
    """A guess for each parameter that is given, and the sizes of named dimensions."""

    guesses: tuple[tuple[str, Guess], ...]
    sizes: tuple[tuple[str, int], ...] = ()
    seed: int = 0

    def get(self, name: str) -> Guess | None:
        """The guess for a parameter, None if it has its default."""
        return next((guess for one, guess in self.guesses if one == name), None)

    def put(self, name: str, guess: Guess | None) -> State:
        """The same with another guess for one parameter; None leaves it to its default."""
        found = dict(self.guesses)
        if guess is None:
            found.pop(name, None)
        else:
            found[name] = guess
        return replace(self, guesses=tuple(found.items()))

    def size(self, dim: str | int) -> int:
        """The size of a dimension."""
        if isinstance(dim, int):
            return dim
        known = dict(self.sizes)
        return known.get(dim, SIZES.get(dim.upper(), SIZE))

    def resize(self, dim: str, size: int) -> State:
        """The same with another size of a dimension."""
        return replace(self, sizes=tuple({**dict(self.sizes), dim: size}.items()))

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors among the guesses."""
        for name, guess in self.guesses:
            if isinstance(guess, Tensor):
                yield name, guess


class Bunch:
    """An object with given attributes."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        vars(self).update(attributes)

    def __getitem__(self, key: str) -> Any:
        return vars(self)[key]


@dataclass(slots=True)
class Builder:
    """Makes the arguments of a state; the same state gives the same arguments."""

    state: State
    generator: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.state.seed)

    def arguments(self) -> dict[str, Any]:
        """All arguments, by the names of the parameters."""
        return {name: self.value(guess) for name, guess in self.state.guesses}

    def value(self, guess: Guess) -> Any:
        """What a guess describes."""
        match guess:
            case Tensor():
                return self.tensor(guess)
            case Plain(value=value):
                return value
            case Several(items=items, kind="dict", keys=keys):
                return dict(zip(keys, map(self.value, items), strict=True))
            case Several(items=items, kind=kind):
                made = [self.value(item) for item in items]
                return tuple(made) if kind == "tuple" else made
            case Thing():
                return self.thing(guess)

    def thing(self, guess: Thing) -> Any:
        match guess.kind:
            case "callable":
                return passed
            case "module":
                return Model()
            case "config":
                return Config()
            case "array" if guess.held is not None:
                return self.tensor(guess.held).numpy()
            case "normal" if guess.held is not None:
                mean = self.tensor(guess.held)
                return torch.distributions.Normal(mean, torch.ones_like(mean) * 0.8)
        return Bunch({name: self.value(held) for name, held in guess.attributes})

    def tensor(self, guess: Tensor) -> torch.Tensor:
        """A tensor of a description."""
        shape = tuple(self.state.size(dim) for dim in guess.shape)
        made = self.filled(guess, shape)
        return made.to(getattr(torch, guess.dtype)) if guess.dtype else made

    def filled(self, guess: Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        normal = torch.randn(shape, generator=self.generator).clamp(-2, 2)
        uniform = torch.rand(shape, generator=self.generator)
        if guess.low is not None or guess.up is not None:
            low = guess.low if guess.low is not None else (guess.up or 0) - 1
            up = guess.up if guess.up is not None else low + 1
            return low + (up - low) * (0.05 + 0.9 * uniform)
        count = uniform.numel()
        steps = torch.arange(count).reshape(shape)
        match guess.values:
            case "unit":
                return 0.05 + 0.9 * uniform
            case "positive":
                return 0.1 + 2 * uniform
            case "simplex":
                return torch.softmax(normal, 1 if len(shape) > 3 else -1) if shape else uniform
            case "binary":
                return (steps % 2).float()
            case "labels":
                return steps % (guess.high or self.state.size(C))
            case "onehot":
                return torch.eye(max(shape[-1], 1))[steps.reshape(-1, shape[-1])[:, 0] % shape[-1]].reshape(shape)
            case "lengths":
                return (self.state.size(T) - steps).clamp(min=1)
            case "mask":
                return (uniform < 0.7) | (steps == 0)
            case "ordered":
                return 0.1 + 2 * (uniform.sort(-1).values if shape else uniform)
            case "rotation" if len(shape) > 1 and shape[-1] == shape[-2]:
                return torch.eye(shape[-1]).expand(shape) + 0.05 * normal
        return normal


def relaid(guess: Tensor, layout: Shape) -> Tensor:
    """A tensor in another layout: numbers of classes have no dimension of the classes, lengths only the first."""
    if guess.values == "lengths":
        return replace(guess, shape=layout[:1])
    if guess.values == "labels":
        return replace(guess, shape=without_classes(layout))
    return replace(guess, shape=layout)


def without_classes(layout: Shape) -> Shape:
    """The shape of the numbers of classes that go with scores of a shape."""
    if len(layout) < 2:
        return layout
    place = layout.index(C) if C in layout else 1 if len(layout) > 3 else len(layout) - 1
    return (*layout[:place], *layout[place + 1 :])
