"""Bayesian personalised ranking on generated interactions, naive with the usual epsilon, guarded, and by hand.

What goes wrong: the loss -log(sigmoid(difference) + 1e-10) of an item that is ranked far too low is flat at 23 below
a difference of -23, with a gradient of 0: the pairs that are most wrong are never learnt.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

USERS, ITEMS, SIZE = 40, 60, 8
STEPS = 150
SEED = 0
EPSILON = 1e-10


def bpr_loss(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    difference = positive - negative
    return -torch.log(torch.sigmoid(difference) + EPSILON).mean()


def stable_bpr_loss(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    difference = positive - negative
    return -F.logsigmoid(difference).mean()


class Run(NamedTuple):
    """The loss at each step, and how many pairs are ranked right at the start and at the end."""

    losses: list[float]
    before: float
    after: float


def interactions() -> torch.Tensor:
    """Triples of a user, an item that the user likes and one that the user does not, by hidden tastes."""
    tastes, kinds = torch.randn(USERS, 3), torch.randn(ITEMS, 3)
    liked = (tastes @ kinds.T).argsort(dim=1, descending=True)
    users = torch.arange(USERS).repeat_interleave(10)
    return torch.stack((users, liked[:, :10].flatten(), liked[:, -10:].flatten()), dim=1)


class Recommender(nn.Module):
    """A vector for each user and item, started from ones that rank by something else: a model to be tuned."""

    def __init__(self) -> None:
        super().__init__()
        self.users = nn.Embedding(USERS, SIZE)
        self.items = nn.Embedding(ITEMS, SIZE)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=6.0)

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = (self.users(user) * self.items(item)).sum(dim=1)
        return scores


def train(loss_function: Loss, steps: int = STEPS) -> Run:
    torch.manual_seed(SEED)
    user, liked, disliked = interactions().unbind(1)
    model = Recommender()
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)

    def ranked() -> float:
        with torch.no_grad():
            return float((model(user, liked) > model(user, disliked)).float().mean())

    before = ranked()
    losses: list[float] = []
    for _ in range(steps):
        loss = loss_function(model(user, liked), model(user, disliked))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return Run(losses, before, ranked())


def report(name: str, run: Run) -> None:
    print(f"{name}: loss {run.losses[0]:.2f} -> {run.losses[-1]:.2f}, pairs ranked right {run.before:.0%}"
          f" -> {run.after:.0%}")  # fmt: skip


def main() -> None:
    # Imported here, so that checking this file does not need the package itself.
    import nanguard

    guarded, by_hand = train(nanguard.guard(bpr_loss)), train(stable_bpr_loss)
    report("naive", train(bpr_loss))
    report("guarded by nanguard", guarded)
    report("stable by hand", by_hand)
    print(f"guarded and by hand agree at every step: {guarded.losses == by_hand.losses}")


if __name__ == "__main__":
    main()
