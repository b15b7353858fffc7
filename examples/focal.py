"""Binary focal loss computed from probabilities.

What goes wrong: a confident logit makes p exactly 0 or 1, so one of the two logarithms is -inf, and a
correct confident answer multiplies it by a label of 0, which gives nan.
"""

import torch
from torch import nn


class FocalLoss(nn.Module):
    """Cross entropy that counts easy examples less (Lin et al., 2017)."""

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        p = torch.sigmoid(logits)
        positive = -self.alpha * (1 - p) ** self.gamma * torch.log(p) * targets
        negative = -(1 - self.alpha) * p**self.gamma * torch.log(1 - p) * (1 - targets)
        return (positive + negative).mean()


def main() -> None:
    loss = FocalLoss()
    for logit, target in [(2.0, 1.0), (20.0, 0.0), (20.0, 1.0), (-100.0, 1.0)]:
        value = loss(torch.tensor([logit]), torch.tensor([target]))
        print(f"logit {logit:6}, target {target}: {value.item()}")


if __name__ == "__main__":
    main()
