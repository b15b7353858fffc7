"""Variational autoencoder for binary data: Bernoulli reconstruction and Gaussian KL divergence.

What goes wrong: a confident decoder makes a probability exactly 0 or 1, so a correct pixel gives 0 * -inf,
which is nan; and sqrt(exp(logvar)) overflows above 88.7 and has a nan gradient below -104.
"""

import torch
from torch import nn


class VAE(nn.Module):
    """Linear encoder and decoder around a diagonal Gaussian code."""

    def __init__(self, pixels: int = 16, code: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Linear(pixels, 2 * code)
        self.decoder = nn.Linear(code, pixels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        logits = self.decoder(sample(mu, logvar))
        return vae_loss(logits, x, mu, logvar)


def sample(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    std = torch.sqrt(torch.exp(logvar))
    return mu + std * torch.randn_like(std)


def vae_loss(logits: torch.Tensor, x: torch.Tensor, mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """Negative evidence lower bound, averaged over the batch."""
    p = torch.sigmoid(logits)
    on = (x * torch.log(p)).sum(dim=1)
    off = ((1 - x) * torch.log(1 - p)).sum(dim=1)
    kl = -0.5 * (1 + logvar - mu**2 - torch.exp(logvar)).sum(dim=1)
    return (kl - on - off).mean()


def main() -> None:
    torch.manual_seed(0)
    x = (torch.rand(4, 16) > 0.5).float()
    zero = torch.zeros(4, 2)
    print(f"fresh model: {VAE()(x).item()}")
    for scale in (5.0, 20.0):
        value = vae_loss(scale * (2 * x - 1), x, zero, zero)
        print(f"all pixels right, logits of size {scale}: {value.item()}")
    logvar = torch.tensor([[-120.0]], requires_grad=True)
    sample(torch.zeros(1, 1), logvar).sum().backward()
    print(f"gradient of a sample at logvar -120: {logvar.grad}")


if __name__ == "__main__":
    main()
