"""A guarded loss beside the same loss written stable by hand and beside the naive one, and the bars to stay under.

Every pair is measured in turn (A B A B ...) in one process, on one thread, by the time of the processor, in several
rounds; of either the least of the medians of its rounds counts, since what else the machine does only adds.  What
torch takes for the stable calls themselves is a line of its own: no guard of the naive loss can be faster than the
stable one by hand, which works out two exponentials where the naive loss works out one sigmoid.  The mode, which runs
where no graph can be made, has no bar of its own; watching is to be cheaper than `torch.autograd.detect_anomaly`.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch
import torch.nn.functional as F

import nanguard

SIZES = (1, 1_000, 1_000_000)
SECONDS = 0.4  # for one round of a pair
FEWEST = 9  # runs of each in a round
ROUNDS = 7

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def naive(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    p = torch.sigmoid(logits)
    positive = -torch.log(p) * target
    negative = -torch.log(1 - p) * (1 - target)
    weight = 0.25 + 0.5 * target
    loss = weight * (positive + negative)
    return loss.mean()


def by_hand(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    positive = -F.logsigmoid(logits) * target
    negative = -F.logsigmoid(-logits) * (1 - target)
    weight = 0.25 + 0.5 * target
    loss = weight * (positive + negative)
    return loss.mean()


_calls: list[int] = []


def counting(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The naive loss with an effect that a graph would not have."""
    _calls.append(1)
    return naive(logits, target)


def ten_lines(logits: torch.Tensor, target: torch.Tensor, temperature: float = 0.5) -> torch.Tensor:
    scaled = logits / temperature
    p = torch.sigmoid(scaled)
    q = 1 - p
    positive = torch.log(p) * target
    negative = torch.log(q) * (1 - target)
    entropy = p * torch.log(p) + q * torch.log(q)
    weight = torch.where(target > 0.5, 0.75, 0.25)
    focal = weight * (positive + negative)
    smooth = 0.9 * focal + 0.1 * entropy
    return -smooth.mean()


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    ours: float
    theirs: float
    bar: float | None

    def __str__(self) -> str:
        bar = "" if self.bar is None else f"{self.bar:.2f}"
        return (
            f"{self.what:52} {self.ours * 1e6:12.1f} {self.theirs * 1e6:12.1f} {self.ours / self.theirs:8.2f} {bar:>6}"
        )


def step(loss: Loss, logits: torch.Tensor, target: torch.Tensor) -> float:
    """Seconds for one forward and backward run."""
    logits.grad = None
    start = time.process_time()
    loss(logits, target).backward()
    return time.process_time() - start


def pair(ours: Loss, theirs: Loss, size: int) -> tuple[float, float]:
    """The least medians of both losses on tensors of a size."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(size, generator=generator).requires_grad_()
    target = torch.rand(size, generator=generator)
    for loss in (ours, theirs, ours, theirs):
        step(loss, logits, target)
    least = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        times: tuple[list[float], list[float]] = ([], [])
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end or len(times[0]) < FEWEST:
            for loss, kept in zip((ours, theirs), times, strict=True):
                kept.append(step(loss, logits, target))
        least = [min(known, median(kept)) for known, kept in zip(least, times, strict=True)]
    return least[0], least[1]


def call_rows(sizes: Sequence[int]) -> list[Row]:
    guarded = nanguard.guard(naive)
    rows: list[Row] = []
    for size in sizes:
        bar = 1.05 if size >= 1_000_000 else 1.3
        rows.append(Row(f"guarded / stable by hand, {size} elements", *pair(guarded, by_hand, size), bar))
    rows.append(Row(f"guarded / naive, {sizes[-1]} elements", *pair(guarded, naive, sizes[-1]), 1.0))
    rows.append(Row(f"stable by hand / naive, {sizes[-1]} elements", *pair(by_hand, naive, sizes[-1]), None))
    return rows


def moded_rows(sizes: Sequence[int]) -> list[Row]:
    """The same loss where it can only run under the function mode."""
    guarded = nanguard.guard(counting)
    return [
        Row(f"under the mode / stable by hand, {size} elements", *pair(guarded, by_hand, size), None) for size in sizes
    ]


def watched(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """One step of the stable loss that is watched, backward included."""
    with nanguard.watch():
        loss = by_hand(logits, target)
        loss.backward(retain_graph=True)
    return loss * 0


def with_anomalies_detected(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """One step of the stable loss under torch's own search for a nan."""
    with torch.autograd.detect_anomaly():
        loss = by_hand(logits, target)
        loss.backward(retain_graph=True)
    return loss * 0


def watching_rows(sizes: Sequence[int]) -> list[Row]:
    """Watching beside torch's own way; each step has the same small backward run beside its own."""
    return [
        Row(f"watch / detect_anomaly, {size} elements", *pair(watched, with_anomalies_detected, size), 1.0)
        for size in sizes
    ]


def first_call() -> tuple[float, float]:
    """Seconds of processor time for the first call of a guarded loss, the first in the process and a later one."""
    logits, target = torch.randn(32, requires_grad=True), torch.rand(32)
    taken: list[float] = []
    for _ in range(5):
        loss = nanguard.guard(ten_lines)
        start = time.process_time()
        loss(logits, target)
        taken.append(time.process_time() - start)
    return taken[0], min(taken[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    sizes = parser.parse_args().sizes
    torch.set_num_threads(1)
    first, later = first_call()
    print(f"first call of a ten-line loss: {later * 1e3:.0f} ms (bar 50), {first * 1e3:.0f} ms with loading the rules")
    print(f"{'forward and backward, microseconds':52} {'guarded':>12} {'other':>12} {'ratio':>8} {'bar':>6}")
    warnings.simplefilter("ignore")  # detect_anomaly warns that it is slow
    for rows in (call_rows, moded_rows, watching_rows):
        for row in rows(sizes):
            print(row)


if __name__ == "__main__":
    main()
