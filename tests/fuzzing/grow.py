"""Grow: random trees, with weight on what the rules are about."""

from __future__ import annotations

from functools import cache
from random import Random

from fuzzing.spelling import ways
from fuzzing.tree import LEAVES, Dims, Misfit, Node, call, is_mask, leaf, leaves, met, number
from nanguard import ops
from nanguard.matching import rules
from nanguard.term import Attr, Hole, Term

_RISKY = (
    "log", "exp", "sqrt", "div", "pow", "sigmoid", "softmax", "vector_norm", "clamp", "where", "log1p", "expm1",
    "tanh", "softplus", "rsqrt", "reciprocal", "std", "var", "logsumexp", "log_softmax", "square", "sub", "add", "mul",
    "sum", "mean", "neg",
)  # fmt: skip
_NUMBERS = (1, 2, 1.0, 0.5, 2.0, -1.0, 3, 0.1, 1e-8, 1e-12, 1e-6, 1e-3, 0.0, 10.0, 100, -0.5)


@cache
def spelled() -> tuple[str, ...]:
    """The operations that a program can call: rows with a spelling, whose operands the fuzzer can give."""
    left_out = {
        "linear", "permute", "movedim", "expand", "repeat_interleave", "roll", "diagonal", "pick", "masked_select",
        "unbind", "dropout", "rand", "randn", "arange", "one_hot", "eye", "numel", "argmax", "scatter_add", "scatter",
        "zeros", "ones", "full", "new_tensor", "count_nonzero", "index", "to", "poisson_nll_loss", "gaussian_nll_loss",
        "matrix_norm",
    }  # fmt: skip
    named = {spelling.op for listed in ops.spellings().values() for spelling in listed}
    return tuple(name for name in ops.rows() if name in named and name not in left_out)


@cache
def patterns() -> tuple[Term, ...]:
    """The left sides of the rules, the identities, the guards and the relations."""
    loaded = rules.load()
    found = [variant.match for rule in loaded.rules for variant in rule.variants]
    found += [identity.source for identity in (*loaded.identities, *loaded.spellings, *loaded.guards)]
    found += [relation.source for relation in loaded.relations]
    return tuple(dict.fromkeys(term for term in found if term.args))


def tree(random: Random, size: int = 4) -> Node:
    """A random tree that computes from at least one argument."""
    while True:
        grower = _Grower(random)
        root = grower.grown(size)
        if is_mask(root):
            continue
        if root.shape and random.random() < 0.6:
            root = call(random.choice(("mean", "sum")), [root])
        if root.op not in ("leaf", "number") and leaves(root) and not is_mask(root) and _floats(root):
            return root


def _floats(root: Node) -> bool:
    """Whether it is made of floats on the way from some argument: a test alone has no hazard."""
    if is_mask(root):
        return False
    if root.op == "leaf":
        return LEAVES[str(root.value)].kind == "float"
    return any(_floats(part) for part in root.parts)


class _Grower:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.made: list[Node] = []  # what may be used again

    def grown(self, size: int) -> Node:
        """A tree of any shape."""
        chance = self.random.random()
        if size <= 0 or chance < 0.08:
            return self.leaf()
        if chance < 0.14 and self.made:
            return self.random.choice(self.made)
        for _ in range(20):
            try:
                node = self.from_pattern(size) if chance < 0.5 else self.operation(size)
            except Misfit:
                continue
            self.made.append(node)
            return node
        return self.leaf()

    def leaf(self) -> Node:
        names = [name for name, known in LEAVES.items() if known.kind == "float"]
        return leaf(self.random.choice(["x", "x", "y", *names]))

    def mask(self, size: int) -> Node:
        """A node that gives true and false."""
        if self.random.random() < 0.3:
            return leaf("mask")
        tested = self.grown(min(size - 1, 1))
        return call(
            self.random.choice(("gt", "ge", "lt", "le")), [tested, number(self.random.choice((0, 0.0, 1, 0.5)))]
        )

    def beside(self, others: list[Node], size: int, numbers: bool = True) -> Node:
        """A node that broadcasts with others."""
        shape = met([node.shape for node in others])
        if numbers and self.random.random() < 0.4:
            return number(self.random.choice(_NUMBERS))
        for _ in range(4):
            node = self.grown(size)
            if _fits(node.shape, shape) and not is_mask(node):
                return node
        fitting = [name for name, known in LEAVES.items() if known.kind == "float" and _fits(known.shape, shape)]
        return leaf(self.random.choice(fitting)) if fitting else number(self.random.choice(_NUMBERS))

    def operation(self, size: int) -> Node:
        """A call of the table."""
        name = self.random.choice(_RISKY if self.random.random() < 0.55 else spelled())
        row = ops.rows()[name]
        parts: list[Node] = []
        for index, (operand, default) in enumerate(row.signature.operands):
            parts.append(self.operand(name, operand, default, index, parts, size - 1))
        node = call(name, parts, **self.attributes(name, parts))
        if not ways(node):
            raise Misfit(name)
        return node

    def operand(self, name: str, operand: str, default: Attr, index: int, parts: list[Node], size: int) -> Node:
        if operand in ("condition", "mask") or name in (
            "logical_and",
            "logical_or",
            "logical_xor",
            "logical_not",
            "any",
            "all",
        ):
            return self.mask(size)
        if operand == "index":
            return leaf("labels")
        if operand == "eps":
            return number(default if isinstance(default, float) else 1e-8)
        if operand in ("alpha", "negative_slope"):
            return number(self.random.choice((default, 2.0, 0.2)))  # type: ignore[arg-type]
        if operand == "target" and name.startswith(("binary", "kl_div")):
            return leaf("p")
        if name == "clamp" and index:
            if index == 1:
                return number(self.random.choice((None, 1e-8, 0, 1e-3, -5.0)))
            return number(self.random.choice((1.0, 0.9999, 1e4, *((None,) if parts[1].value is not None else ()))))
        if name == "pow" and index:
            return number(self.random.choice((2, 2.0, 0.5, 3, -1, 1.5, -0.5, 4)))
        if index == 0:
            while is_mask(first := self.grown(size)):
                pass
            return first
        return self.beside(parts, size, numbers=name not in ("dot", "matmul", "cdist", "cosine_similarity"))

    def attributes(self, name: str, parts: list[Node]) -> dict[str, Attr]:
        """Attributes for the operands, at random."""
        rank = len(parts[0].shape) if parts else 0
        given: dict[str, Attr] = {}
        for key, default in ops.rows()[name].signature.attrs:
            given[key] = self.attribute(name, key, default, rank, parts)
        if name in ("vector_norm", "logsumexp") and given.get("dim") is None:
            given["dim"] = -1
        if "keepdim" in given and given.get("dim") is None:
            given["keepdim"] = False
        return given

    def attribute(self, name: str, key: str, default: Attr, rank: int, parts: list[Node]) -> Attr:
        random = self.random
        match key:
            case "dim" | "dim0" | "dim1" | "dims":
                choices: list[Attr] = [*range(-rank, rank)] or [0]
                if ops.rows()[name].family == ops.REDUCE:
                    choices += [None, None] if rank != 2 else [None, None, (0, 1), -1, 1]
                return random.choice(choices)
            case "keepdim":
                return random.random() < 0.5
            case "correction":
                return random.choice((1, 0))
            case "ord" | "p":
                return random.choice((2, 2, 1, 2.0)) if key == "ord" else 2.0
            case "reduction":
                return random.choice(("mean", "sum", "none"))
            case "shape":
                return random.choice([(6,), (3, 2), (-1,), (2, 3), (1, 6)])
            case "index":
                return random.choice((0, 1))
            case "training":
                return False
            case "descending":
                return random.random() < 0.5
        return default

    # --- from the left side of a rule ------------------------------------------------------------------

    def from_pattern(self, size: int) -> Node:
        """The left side of a rule, its variables replaced by what fits."""
        source = self.random.choice(patterns())
        holes: dict[str, Attr] = {}
        variables: dict[str, Node] = {}
        return self.filled(source, variables, holes, size, False)

    def filled(
        self, term: Term, variables: dict[str, Node], holes: dict[str, Attr], size: int, condition: bool
    ) -> Node:  # fmt: skip
        if term.op == "const":
            value = term.value
            if not isinstance(value, int | float | None) or isinstance(value, bool):
                raise Misfit(str(value))
            return number(value)
        if term.op == "variable":
            if term.name not in variables:
                variables[term.name] = self.variable(term.name, size - 2, condition)
            return variables[term.name]
        if term.op not in spelled():
            raise Misfit(term.op)
        parts = [
            self.filled(
                arg, variables, holes, size, term.op.startswith("logical") or (term.op == "where" and index == 0)
            )
            for index, arg in enumerate(term.args)
        ]
        attrs = {key: self.hole(term.op, key, value, holes, parts) for key, value in term.attrs}
        node = call(term.op, parts, **attrs)
        if not ways(node):
            raise Misfit(term.op)
        return node

    def variable(self, name: str, size: int, condition: bool) -> Node:
        if condition:
            return self.mask(size)
        if name == "index":
            return leaf("labels")
        if name in ("eps", "e", "c", "k", "a", "b", "n", "low", "high") and self.random.random() < 0.7:
            small = name in ("eps", "e", "a", "low")  # a bound above is none that is always met
            return number(self.random.choice((1e-8, 1e-12, 1e-6) if small else (1.0, 2, 0.5)))
        while is_mask(node := self.grown(size)):
            pass
        return node

    def hole(self, op: str, key: str, value: Attr, holes: dict[str, Attr], parts: list[Node]) -> Attr:
        if not isinstance(value, Hole):
            return value
        if value.name not in holes:
            holes[value.name] = self.attribute(op, key, None, len(parts[0].shape), parts)
        return holes[value.name]


def _fits(shape: Dims, other: Dims) -> bool:
    try:
        return met([shape, other]) == other or met([shape, other]) == shape
    except Misfit:
        return False
