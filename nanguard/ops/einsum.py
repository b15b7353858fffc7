"""What an equation of `torch.einsum` computes, as a term: a product of matrices, or a sum of products."""

from __future__ import annotations

from collections.abc import Sequence

from nanguard.term import Term, make

_MOST = 3  # operands of which the products are still written out


def contraction(equation: str, operands: Sequence[Term]) -> Term | None:
    """The term of an equation, ``bnd,bd->bn`` say, for its operands.

    None for one with dots, with a label twice on one operand, or with too many operands to write out.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    inputs = left.split(",")
    labels = [label for part in inputs for label in part]
    kept = right if arrow else "".join(sorted(label for label in set(labels) if labels.count(label) == 1))
    plain = all(part.isalpha() and len(set(part)) == len(part) for part in inputs) and (kept.isalpha() or not kept)
    if not plain or len(inputs) != len(operands) or len(inputs) > _MOST or not set(kept) <= set(labels):
        return None
    summed = "".join(dict.fromkeys(label for label in labels if label not in kept))
    if len(inputs) == 2 and len(summed) == 1:
        product = _of_matrices(inputs, kept, summed, operands)
        if product is not None:
            return product
    aligned = [_aligned(part, kept + summed, operand) for part, operand in zip(inputs, operands, strict=True)]
    result = aligned[0]
    for factor in aligned[1:]:
        result = make("mul", (result, factor))
    if not summed:
        return result
    dims = tuple(range(-len(summed), 0))
    return make("sum", (result,), (("dim", dims if len(dims) > 1 else -1), ("keepdim", False)))


def _of_matrices(inputs: Sequence[str], kept: str, summed: str, operands: Sequence[Term]) -> Term | None:
    """``bik,bkj->bij`` and ``bik,bjk->bij`` as a product of matrices, None for another order of the labels."""
    (first, second), (x, other) = inputs, operands
    batch, row, column = kept[:-2], kept[-2:-1], kept[-1:]
    if len(kept) < 2 or first != batch + row + summed:
        return None
    if second == batch + summed + column:
        return make("matmul", (x, other))
    if second == batch + column + summed:
        turned = make("transpose", (other,), (("dim0", -2), ("dim1", -1)))
        return make("matmul", (x, turned))
    return None


def _aligned(own: str, order: str, operand: Term) -> Term:
    """An operand with its dimensions in an order of all labels, and a dimension of size 1 for each that it has not."""
    sequence = "".join(label for label in order if label in own)
    if sequence != own:
        operand = make("permute", (operand,), (("dims", tuple(own.index(label) for label in sequence)),))
    for place, label in enumerate(order):
        if label not in own:
            operand = make("unsqueeze", (operand,), (("dim", place),))
    return operand
