"""Outside: what the expressions around a finding make of the value that is not finite there.

``exp(-log(1 + exp(x)))`` is 0 where the sum in it has overflown: the value of the loss is finite, its gradient is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nanguard.proof import leaves
from nanguard.proof.confirm import Proof
from nanguard.proof.points import given
from nanguard.proof.run import NotEvaluable, gradient, run
from nanguard.term import Term, walk


def seen_from_outside(proof: Proof, around: Sequence[Term], dtype: str) -> Proof:
    """The proof of a non-finite value, as one of a non-finite gradient where the value ends in a finite one.

    `around` are the terms that the value goes into, from the inside out.
    """
    shown = any(part is not None and not bool(torch.isfinite(part).all()) for part in proof.point.gradients)
    if proof.hazard != "forward-nonfinite" or not shown:  # the witness has to show what is claimed
        return proof
    inner = given(proof.cut, proof.point.values, proof.point.shape, dtype)
    for term in around:
        tensors = {**inner, **_others(term, inner, proof.point.shape, dtype)}
        free = [tensor for tensor in inner.values() if tensor.requires_grad]
        try:
            output = run(term, tensors)
            slopes = gradient(output, free)
        except (NotEvaluable, RuntimeError):
            continue  # of another shape than the witness, say
        if bool(torch.isfinite(output).all()):
            spoiled = any(slope is not None and not bool(torch.isfinite(slope).all()) for slope in slopes)
            return replace(proof, hazard="gradient-nonfinite") if spoiled else proof
    return proof


def _others(term: Term, inner: dict[Term, Tensor], shape: tuple[int, ...], dtype: str) -> dict[Term, Tensor]:
    """Ordinary values for the leaves of a term that lie elsewhere."""
    found: dict[Term, Tensor] = {}
    kind = getattr(torch, dtype)
    for node in walk(term, known=inner):
        if node.op != "const" and leaves.is_leaf(node):
            setting = leaves.is_setting(node)
            found[node] = torch.full(() if setting else shape, leaves.typical(node), dtype=kind)
    return found
