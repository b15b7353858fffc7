"""Log-probability of a tanh-squashed Gaussian action, as in soft actor-critic.

What goes wrong: tanh(u) is exactly 1 from u = 9.1 on, so log(1 - tanh(u)**2 + 1e-6) stays at log(1e-6): the
log-probability is wrong by 4.8 at u = 10, and its gradient is 0 there instead of 2.
"""

import math

import torch

LOG_STD_MIN = -5.0
LOG_STD_MAX = 2.0


def bounded_log_std(raw: torch.Tensor) -> torch.Tensor:
    return LOG_STD_MIN + 0.5 * (LOG_STD_MAX - LOG_STD_MIN) * (torch.tanh(raw) + 1)


def squashed_log_prob(u: torch.Tensor, mean: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
    """Log-density of the action tanh(u), where u is Gaussian with a spread of bounded_log_std(raw)."""
    log_std = bounded_log_std(raw)
    gaussian = -0.5 * ((u - mean) / torch.exp(log_std)) ** 2 - log_std - 0.5 * math.log(2 * math.pi)
    jacobian = torch.log(1 - torch.tanh(u) ** 2 + 1e-6)
    return (gaussian - jacobian).sum(dim=-1)


class Actor(torch.nn.Module):
    """Draws an action for a state, with its log-probability."""

    def __init__(self, state: int = 4, action: int = 2) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(state, 2 * action)

    def forward(self, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, raw = self.layer(state).chunk(2, dim=-1)
        u = mean + torch.exp(bounded_log_std(raw)) * torch.randn_like(mean)
        return torch.tanh(u), squashed_log_prob(u, mean, raw)


def main() -> None:
    torch.manual_seed(0)
    _, log_prob = Actor()(torch.randn(3, 4))
    print(f"log-probabilities of a fresh actor: {log_prob.tolist()}")
    for start in (1.0, 5.0, 10.0):
        u = torch.tensor([start], requires_grad=True)
        raw = torch.zeros(1)
        value = squashed_log_prob(u, u.detach(), raw)
        value.backward()
        jacobian = 2 * (math.log(2) - start - math.log1p(math.exp(-2 * start)))
        exact = -bounded_log_std(raw).item() - 0.5 * math.log(2 * math.pi) - jacobian
        print(f"u = {start:4}: {value.item():7.4f}, exactly {exact:7.4f}; gradient {u.grad}")


if __name__ == "__main__":
    main()
