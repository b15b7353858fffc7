"""Skip-gram with negative sampling, trained with a naive loss and then with what nanguard makes of it.

What goes wrong: sigmoid(dot_n) is exactly 1 from dot_n = 16.7 on, so the loss of that pair is inf, its
gradient is nan, and the nan spreads from the two words of the pair to every word they are seen with.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

TEXT = Path(__file__).parent / "data" / "river.txt"
WINDOW = 2
SIZE = 32
EPOCHS = 4
LEARNING_RATE = 0.2
SEED = 1


class Break(NamedTuple):
    """The first step whose loss is not finite, and how many weights are nan right after it."""

    step: int
    loss: float
    nan_weights: int


class SkipGram(nn.Module):
    """Two vectors a word, as anchor and as tag, with the initial values nn.Embedding gives by default."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.anchors = nn.Embedding(words, SIZE)
        self.tags = nn.Embedding(words, SIZE)


def skipgram_loss(anchor: torch.Tensor, tag_p: torch.Tensor, tag_n: torch.Tensor) -> torch.Tensor:
    sigmoid = torch.nn.functional.sigmoid
    dot_p = torch.dot(anchor, tag_p)
    loss_pos = -torch.log(sigmoid(dot_p))
    dot_n = torch.dot(anchor, tag_n)
    loss_neg = -torch.log(1 - sigmoid(dot_n))
    return loss_pos + loss_neg


def read_pairs(text: str) -> tuple[list[tuple[int, int]], int]:
    """Every word with each of its neighbours, as numbers, and how many different words there are."""
    words = re.findall(r"[a-z]+", text.lower())
    number = {word: index for index, word in enumerate(sorted(set(words)))}
    pairs = []
    for place, word in enumerate(words):
        near = words[max(0, place - WINDOW) : place] + words[place + 1 : place + 1 + WINDOW]
        pairs += [(number[word], number[other]) for other in near]
    return pairs, len(number)


def count_nan(model: nn.Module) -> int:
    return sum(int(weight.isnan().sum()) for weight in model.parameters())


def train(loss_function: Loss, pairs: list[tuple[int, int]], words: int) -> tuple[SkipGram, list[float], Break | None]:
    """Train on all pairs in a fixed random order; goes on after a break, as a training script would."""
    torch.manual_seed(SEED)
    model = SkipGram(words)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    losses: list[float] = []
    first_break = None
    for _ in range(EPOCHS):
        negatives = torch.randint(words, (len(pairs),)).tolist()
        for place, negative in zip(torch.randperm(len(pairs)).tolist(), negatives, strict=True):
            word, neighbour = pairs[place]
            tags = model.tags.weight
            loss = loss_function(model.anchors.weight[word], tags[neighbour], tags[negative])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if first_break is None and not math.isfinite(losses[-1]):
                first_break = Break(len(losses), losses[-1], count_nan(model))
    return model, losses, first_break


def report(name: str, model: nn.Module, losses: list[float], first_break: Break | None, epoch: int) -> None:
    print(f"{name}: {len(losses)} steps")
    if first_break is not None:
        step, loss, nan_weights = first_break
        print(f"  step {step}: the loss is {loss}, and {nan_weights} weights are nan after it")
    weights = sum(weight.numel() for weight in model.parameters())
    print(f"  at the end: {count_nan(model)} of {weights} weights are nan")
    first, last = sum(losses[:epoch]) / epoch, sum(losses[-epoch:]) / epoch
    print(f"  mean loss: {first:.3f} in the first epoch, {last:.3f} in the last")


def main() -> None:
    # Imported here, so that checking this file does not need the package itself.
    import nanguard

    pairs, words = read_pairs(TEXT.read_text(encoding="utf-8"))
    report("naive", *train(skipgram_loss, pairs, words), len(pairs))
    report("rewritten by nanguard", *train(nanguard.rewrite(skipgram_loss), pairs, words), len(pairs))


if __name__ == "__main__":
    main()
