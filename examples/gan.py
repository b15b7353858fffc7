"""A small GAN on a ring of points, trained with log(1 - D(G(z))) as it is written down, guarded, and by hand.

What goes wrong: the points have the size of data that nobody has scaled, so the discriminator is very sure of itself
from the start.  sigmoid of its answer is exactly 0 or 1 in float32, log of that is -inf, and the weights of both
networks are nan one step later.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

Losses = tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]

STEPS = 40
RADIUS = 1000.0
SEED = 0


def discriminator_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    is_real = torch.sigmoid(real)
    is_fake = torch.sigmoid(fake)
    return -(torch.log(is_real) + torch.log(1 - is_fake)).mean()


def generator_loss(fake: torch.Tensor) -> torch.Tensor:
    is_fake = torch.sigmoid(fake)
    return torch.log(1 - is_fake).mean()


def stable_discriminator_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    return -(F.logsigmoid(real) + F.logsigmoid(-fake)).mean()


def stable_generator_loss(fake: torch.Tensor) -> torch.Tensor:
    return F.logsigmoid(-fake).mean()


class Run(NamedTuple):
    """The losses of both networks at each step, and how many of their weights are nan at the end."""

    losses: list[tuple[float, float]]
    nan_weights: int


def network(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, outputs))


def ring(count: int) -> torch.Tensor:
    """Points on a circle."""
    angle = 2 * math.pi * torch.rand(count)
    return RADIUS * torch.stack((angle.cos(), angle.sin()), dim=1)


def train(losses: Losses, steps: int = STEPS) -> Run:
    """Train both networks in turn; goes on after a break, as a training script would."""
    torch.manual_seed(SEED)
    of_discriminator, of_generator = losses
    generator, discriminator = network(4, 2), network(2, 1)
    players = [torch.optim.Adam(player.parameters(), lr=0.01) for player in (generator, discriminator)]
    seen: list[tuple[float, float]] = []
    for _ in range(steps):
        fake = RADIUS * generator(torch.randn(32, 4))
        loss = of_discriminator(discriminator(ring(32)), discriminator(fake.detach()))
        players[1].zero_grad()
        loss.backward()
        players[1].step()
        fooled = of_generator(discriminator(RADIUS * generator(torch.randn(32, 4))))
        players[0].zero_grad()
        fooled.backward()
        players[0].step()
        seen.append((loss.item(), fooled.item()))
    weights = [weight for player in (generator, discriminator) for weight in player.parameters()]
    return Run(seen, sum(int(weight.isnan().sum()) for weight in weights))


def report(name: str, run: Run) -> None:
    broken = [step for step, pair in enumerate(run.losses, 1) if not all(map(math.isfinite, pair))]
    first = f"not finite from step {broken[0]} on" if broken else "finite at every step"
    print(f"{name}: {len(run.losses)} steps, {first}; {run.nan_weights} weights are nan at the end")


def main() -> None:
    # Imported here, so that checking this file does not need the package itself.
    import nanguard

    report("naive", train((discriminator_loss, generator_loss)))
    guarded = train((nanguard.guard(discriminator_loss), nanguard.guard(generator_loss)))
    by_hand = train((stable_discriminator_loss, stable_generator_loss))
    report("guarded by nanguard", guarded)
    report("stable by hand", by_hand)
    print(f"guarded and by hand agree at every step: {guarded.losses == by_hand.losses}")


if __name__ == "__main__":
    main()
