"""Rewriting large graphs with all rules, beside torch.fx.subgraph_rewriter with five patterns on the same graphs.

A graph is a chain of layers with an unstable expression in every eighth; times are of the processor, with one thread,
the least of several runs.  "matching" is finding the replacements, with all rules; "nanguard" the whole rewrite, which
also copies the graph, compiles it, and runs it before and after, with gradients, to check it, which the peer does not.
"torch" is what torch takes for that alone: one copy, one compilation and the runs of the check; no rewrite that checks
what it gives can take less.  The peer compiles its graph once for each pattern.  The bars: 20 times faster at 8,000
nodes, and at most 2.2 times the time for twice the nodes.
"""

import argparse
import copy
import inspect
import time
from collections.abc import Callable, Sequence

import torch
from torch import fx
from torch.fx import subgraph_rewriter

from nanguard import collector
from nanguard.matching import rules
from nanguard.matching.match import matcher
from nanguard.runtime.captured import Options
from nanguard.runtime.graphs import Given, rewritten_module
from nanguard.runtime.rewriting import plans
from nanguard.tracing.arguments import taken_apart

SIZES = (1_000, 2_000, 4_000, 8_000)
RUNS = 3  # of which the least counts
CHECKS = 3  # sets of inputs on which a rewrite is checked
Pattern = Callable[[torch.Tensor], torch.Tensor]

PATTERNS: tuple[tuple[Pattern, Pattern], ...] = (
    (lambda x: torch.log(torch.sigmoid(x)), lambda x: torch.nn.functional.logsigmoid(x)),
    (lambda x: torch.log(1 - torch.sigmoid(x)), lambda x: torch.nn.functional.logsigmoid(-x)),
    (lambda x: torch.log(1 + torch.exp(x)), lambda x: -torch.nn.functional.logsigmoid(-x)),
    (lambda x: torch.log(torch.softmax(x, -1)), lambda x: torch.log_softmax(x, -1)),
    (lambda x: torch.sqrt(torch.exp(x)), lambda x: torch.exp(x / 2)),
)


def graph(nodes: int) -> fx.GraphModule:
    """A chain of about as many nodes."""
    result = fx.Graph()
    x, y = result.placeholder("x"), result.placeholder("y")
    layer = 0
    while len(result.nodes) < nodes - 2:
        layer += 1
        x = result.call_function(torch.add, (result.call_function(torch.mul, (x, 0.5)), y))
        if layer % 8 == 0:
            x = result.call_function(torch.log, (result.call_function(torch.sigmoid, (x,)),))
        else:
            x = result.call_function(torch.tanh, (x,))
    result.output(x)
    return fx.GraphModule({}, result)


def seconds_of_rules(nodes: int) -> float:
    module = graph(nodes)
    start = time.process_time()
    rewritten_module(module, Options(), (torch.rand(3), torch.rand(3)))
    return time.process_time() - start


def seconds_of_matching(nodes: int) -> float:
    module = graph(nodes)
    given = Given(module.graph, module, taken_apart(inspect.Signature(), {}), {})
    start = time.process_time()
    with collector.paused():
        plans(given, matcher(rules.load(), "float32"), Options().form("float32"))
    return time.process_time() - start


def seconds_of_torch(nodes: int) -> float:
    """What a rewrite cannot do without: a copy of the graph, its compilation, and the runs of the check."""
    module = graph(nodes)
    x, y = torch.rand(3, requires_grad=True), torch.rand(3, requires_grad=True)
    start = time.process_time()
    copied = fx.GraphModule(module, copy.copy(module.graph))
    for _ in range(CHECKS):
        for run in (module, copied):
            torch.autograd.grad(run.forward(x, y).sum(), (x, y))
    return time.process_time() - start


def seconds_of_patterns(nodes: int) -> float:
    module = graph(nodes)
    start = time.process_time()
    for pattern, replacement in PATTERNS:
        subgraph_rewriter.replace_pattern(module, pattern, replacement)
    return time.process_time() - start


def least(seconds: Callable[[int], float], nodes: int) -> float:
    """The least of several runs."""
    return min(seconds(nodes) for _ in range(RUNS))


def print_table(sizes: Sequence[int]) -> None:
    torch.set_num_threads(1)
    rewritten_module(graph(40), Options(), (torch.rand(3), torch.rand(3)))  # which loads the rules
    columns = {
        "matching": seconds_of_matching, "nanguard": seconds_of_rules, "torch": seconds_of_torch,
        "patterns": seconds_of_patterns,
    }  # fmt: skip
    titles = " ".join(f"{f'{title} s':>11} {'growth':>7}" for title in columns)
    print(f"{'nodes':>6} {titles} {'patterns/matching':>18} {'patterns/nanguard':>18}")
    before: dict[str, float] = {}
    for size in sizes:
        times = {title: least(seconds, size) for title, seconds in columns.items()}
        grown = {title: f"{now / before[title]:.2f}" if before else "" for title, now in times.items()}
        cells = " ".join(f"{now:11.3f} {grown[title]:>7}" for title, now in times.items())
        ratios = [times["patterns"] / times[title] for title in ("matching", "nanguard")]
        print(f"{size:6} {cells} {ratios[0]:18.2f} {ratios[1]:18.2f}")
        before = times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    print_table(parser.parse_args().sizes)


if __name__ == "__main__":
    main()
