"""Contrastive loss (InfoNCE) in which the softmax is written by hand.

What goes wrong: exp overflows in float32 once a similarity divided by the temperature exceeds 88.7, and
inf / inf is nan; with a temperature of 0.07 a dot product of 6.3 is enough.
"""

import torch


def info_nce(queries: torch.Tensor, keys: torch.Tensor, temperature: float = 0.07) -> torch.Tensor:
    """Mean loss of telling, for each query, the key of the same row from the keys of all other rows."""
    similarity = queries @ keys.T / temperature
    pos = similarity.diagonal()
    losses = -torch.log(torch.exp(pos) / torch.exp(similarity).sum(dim=1))
    return losses.mean()


def main() -> None:
    torch.manual_seed(0)
    queries = torch.randn(8, 32)
    keys = queries + 0.1 * torch.randn(8, 32)
    for scale in (0.2, 0.4, 0.6):
        value = info_nce(scale * queries, scale * keys)
        largest = (scale * queries @ keys.T * scale).max().item()
        print(f"largest dot product {largest:5.2f}: {value.item()}")


if __name__ == "__main__":
    main()
