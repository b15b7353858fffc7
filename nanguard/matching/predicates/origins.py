"""Where an operand comes from: arguments, settings, parameters, random numbers."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from nanguard import ops
from nanguard.matching.predicates.asked import Ranges, core
from nanguard.ops.names import counts_up, decomposes
from nanguard.term import Term, number, walk


def varies(ranges: Ranges, x: Term) -> bool:
    """`x` depends on a tensor of the program: it is no number or hyper-parameter."""
    below, seen = [x], set[Term]()
    while below:
        node = below.pop()
        if node in seen or (node.op == "opaque" and counts_up(node.name)):
            continue
        if node.op == "opaque" or (node.op == "symbol" and node.attr("kind") == "tensor"):
            return True
        seen.add(node)
        below.extend(node.args)
    return False


def computed(ranges: Ranges, x: Term) -> bool:
    """`x` is an operation on something, not an argument or an attribute as it came."""
    return x.op not in ("symbol", "opaque", "const", "variable") and ops.family(x) != ops.MOVEMENT


def plain(ranges: Ranges, x: Term) -> bool:
    """`x` is an argument or an attribute as it came."""
    return x.op == "symbol"


def attribute(ranges: Ranges, x: Term) -> bool:
    """An attribute as it stands, or what something unknown makes of settings: a schedule say."""
    x = core(x)
    if x.op == "opaque":
        return not any(node.attr("kind") == "tensor" for node in walk(x))
    return x.op == "symbol" and x.name.startswith("self.")


_LINEAR = ("symbol", "opaque", "const", "add", "mul", "abs", "relu", "clamp", "either")


def linear(ranges: Ranges, x: Term) -> bool:
    """`x` is as likely small as its arguments are: no power, exponential or sum over entries stands between them."""
    below, seen = [x], set[Term]()
    while below:
        node = below.pop()
        if node in seen or (node.op == "pow" and number(node.args[1]) == -1):
            continue
        seen.add(node)
        if node.op not in _LINEAR and ops.family(node) != ops.MOVEMENT:
            return False
        below.extend(node.args)
    return True


def positions(ranges: Ranges, x: Term) -> bool:
    """`x` is worked out from positions, 0, 1, 2 and so on: it is 0 or of ordinary size."""
    return any(node.op == "arange" for node in walk(x))


def data(ranges: Ranges, m: Term) -> bool:
    """Something that a program is given goes into `m`, a mask say: it is not worked out from sizes alone."""
    return any(node.op == "opaque" or node.attr("kind") in ("tensor", "mask") for node in walk(m))


def learned(ranges: Ranges, x: Term) -> bool:
    """Parameters of a module and numbers alone, no input of it: their norm is not 0 once they are initialised.

    One that is cut off at a bound stays there.
    """
    below, found = [x], False
    while below:
        node = below.pop()
        if node.op == "opaque" and node.name == "Parameter":
            found = True
        elif node.op in ("opaque", *_CUT_OFF) or (node.op == "symbol" and node.attr("kind") == "tensor"):
            return False
        else:
            below.extend(node.args)
    return found


_CUT_OFF = ("relu", "clamp")


def starts_at(ranges: Ranges, x: Term, value: float) -> bool:
    """A parameter of a module that is this number when training starts."""
    return core(x).attr("start") == value


def starts_above(ranges: Ranges, x: Term, value: float) -> bool:
    """A parameter of a module that starts above a number, and that nothing keeps there."""
    start = core(x).attr("start")
    return isinstance(start, float) and start > value


_LENGTHS = ("vector_norm", "sum", "mean", "pow", "mul", "std", "var", "amax", "amin", "abs")


def length_of_noise(ranges: Ranges, x: Term) -> bool:
    """A norm, a maximum or a spread of random numbers, or of what they are added to: it is not all 0."""
    for node in walk(x, known=_known_noisy):
        noisy = [_known_noisy[arg] for arg in node.args]
        if node.op == "symbol":
            found = ops.random(node)
        elif ops.family(node) == ops.MOVEMENT and node.args:
            found = noisy[0]
        elif node.op in ("add", "sub"):  # data and noise are not the same by chance
            found = any(noisy)
        else:
            others = [arg for arg, random in zip(node.args, noisy, strict=True) if not random]
            found = node.op in _LENGTHS and any(noisy) and all(number(arg) is not None for arg in others)
        _known_noisy[node] = found
    return _known_noisy[x]


_known_noisy: WeakKeyDictionary[Term, bool] = WeakKeyDictionary()  # what is shared is asked about once


_THROUGH = ("vector_norm", "sqrt", "sum", "mean", "pow", "mul", "square")


def of_factor(ranges: Ranges, x: Term) -> bool:
    """A length of the rows or columns of what a matrix is decomposed into, scaled maybe: eigenvectors, a triangle.

    They make up a matrix of full rank, so none of them is 0.
    """
    below = [x]
    while below:
        node = below.pop()
        made = (node, *node.args[:1]) if node.op == "opaque" else ()
        if any(part.op == "opaque" and decomposes(part.name) for part in made):
            return True
        if node.op in _THROUGH or ops.family(node) in (ops.MOVEMENT, ops.CAST):
            below.extend(node.args)
    return False


def schedule(ranges: Ranges, x: Term) -> bool:
    """What the constructor of a module has worked out of settings, the steps of a schedule say: it is the same always.

    In a constructor nothing is differentiated, so reading has detached what it made.
    """
    below, found = [x], False
    while below:
        node = below.pop()
        if node.op == "detach":
            if any(part.op == "symbol" and part.attr("kind") == "tensor" for part in walk(node)):
                return False
            found = True
        elif node.args:
            below.extend(node.args)
        elif node.op != "const" and not (node.op == "symbol" and node.attr("kind") in ("number", "size")):
            return False
    return found


def drawn(ranges: Ranges, x: Term) -> bool:
    """Random numbers that are drawn from [0, 1), a clamp or an offset of them, or a product with them.

    A sum with a tensor, data that noise is added to say, is 0 where the tensor has it so, and not where the noise is.
    """
    for node in walk(x, known=_known_drawn):
        drawn = ops.random(node) and node.attr("low") == 0
        kept = ops.family(node) in (ops.MOVEMENT, ops.CAST, ops.ELEMENTWISE)
        others = [arg for arg in node.args if not _known_drawn.get(arg, False)]
        mixed = node.op != "mul" and any(varies(ranges, arg) for arg in others)
        _known_drawn[node] = drawn or (kept and len(others) < len(node.args) and not mixed)
    return _known_drawn[x]


_known_drawn: WeakKeyDictionary[Term, bool] = WeakKeyDictionary()  # in a graph of thousands of terms each asks


def predicted(ranges: Ranges, p: Term) -> bool:
    """An argument that is called a prediction or a probability, or some of its entries."""
    p = core(p)
    return p.op == "symbol" and any(word in p.name.lower() for word in ("pred", "prob"))


def foretold(ranges: Ranges, p: Term) -> bool:
    """An argument, or what a call gives that is not followed, of which nothing or just the range [0, 1] is known."""
    p = core(p)
    held = ranges.interval(p)
    if p.attr("buffer") or not (p.op == "opaque" or (p.op == "symbol" and p.attr("kind") == "tensor")):
        return False
    return p.name != "Parameter" and (held.unknown or (held.low, held.high) == (0.0, 1.0))


def apart(ranges: Ranges, x: Term, y: Term) -> bool:
    """No tensor goes into both: what a call gives, or a part of an argument, is one by itself."""
    return _tensors(x).isdisjoint(_tensors(y))


def _tensors(x: Term) -> set[Term]:
    """The outermost leaves of a term."""
    below, found = [x], set[Term]()
    while below:
        node = below.pop()
        if node.op in ("symbol", "opaque"):
            found.add(node)
        else:
            below.extend(node.args)
    return found


def called_log(ranges: Ranges, x: Term) -> bool:
    """An argument that is called the logarithm of something: log_var, logsigma."""
    return x.op == "symbol" and x.name.lower().rpartition(".")[2].startswith("log")


def length(ranges: Ranges, n: Term) -> bool:
    """A number of entries or of classes: the size of a tensor, or an argument that is one."""
    return ops.size(n)


def setting(ranges: Ranges, x: Term) -> bool:
    """A number or a size: a constant, an argument that is no tensor, or a product of such."""
    if x.op in ("mul", "pow", "floordiv"):
        return all(setting(ranges, part) for part in x.args)
    return number(x) is not None or x.attr("kind") == "number" or ops.size(x)
