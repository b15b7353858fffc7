"""Rows of the operations that move entries about, convert them, or make new tensors.

A movement gives entries of its operand in another place: it commutes with whatever acts entry by entry.  Where an
attribute of it is not known (a size, say) it is run as the identity.
"""

from __future__ import annotations

import math
from dataclasses import replace

from nanguard.matching.interval import Interval, hull, point
from nanguard.ops.row import CAST, COMPOSITE, LEAF, MOVEMENT, Op, Range, listed, signature

INF = math.inf


def _same(x: Interval, *rest: Interval) -> Interval:
    return x


def _all(*parts: Interval) -> Interval:
    return hull(parts)


def _or_zero(x: Interval) -> Interval:
    """A triangle of a matrix has zeros beside it."""
    return hull((x, point(0.0, x.dtype)))


def _move(
    name: str, params: str, spellings: str, torch: str | None = None, more: tuple[str, ...] = (), pair: bool = False,
    range: Range = _same, selects: bool = False,
) -> Op:  # fmt: skip
    spelled = listed(spellings, name) + more
    return Op(
        name, signature(params), MOVEMENT, torch or f"Tensor.{name}", spelled, range=range, pair=pair, selects=selects
    )


MOVEMENTS = (
    _move("reshape", "x; *shape=None", "torch.reshape(x;shape) Tensor.{} Tensor.view Tensor.view_as(x;other)"
          " Tensor.reshape_as(x;other) Tensor.unflatten(x;dim,shape) torch.unflatten(x;dim,shape)"),
    _move("flatten", "x; start_dim=0, end_dim=-1", "torch.{} Tensor.{}"
          " nn.Flatten[start_dim=1,end_dim=-1](x;start_dim=1,end_dim=-1) torch.ravel(x) Tensor.ravel(x)"),
    _move("squeeze", "x; dim=None", "torch.{} Tensor.{} Tensor.squeeze_"),
    _move("unsqueeze", "x; dim", "torch.{} Tensor.{} Tensor.unsqueeze_"),
    _move("transpose", "x; dim0, dim1", "torch.{} Tensor.{} torch.swapaxes Tensor.swapaxes"),
    _move("t", "x", "torch.{} Tensor.{}"),
    _move("permute", "x; *dims=None", "torch.permute(x;dims) Tensor.{}"),
    _move("movedim", "x; source, destination", "torch.{} Tensor.{}"),
    _move("expand", "x; *size=None", "Tensor.{} Tensor.expand_as(x;other) Tensor.repeat torch.tile Tensor.tile"
          " torch.broadcast_to(x;size) Tensor.broadcast_to(x;size)"),
    _move("repeat_interleave", "x; repeats=None, dim=None", "torch.{} Tensor.{}"),
    _move("flip", "x; *dims=None", "torch.flip(x;dims) Tensor.{} torch.fliplr torch.flipud"),
    _move("roll", "x; shifts=None, dims=None", "torch.{} Tensor.{}"),
    _move("diagonal", "x; offset=0, dim1=0, dim2=1", "torch.{} Tensor.{} torch.diag(x) Tensor.diag(x)",
          selects=True),
    _move("tril", "x; diagonal=0", "torch.{} Tensor.{} torch.triu Tensor.triu", range=_or_zero, selects=True),
    _move("select", "x; dim, index", "torch.{} Tensor.{} torch.narrow(x;dim,start,length)"
          " Tensor.narrow(x;dim,start,length)", selects=True),
    # x[...]: key holds ints, None, "..." and ("slice", start, stop, step); a key with tensors in it is a pick
    _move("index", "x; key=None", "", torch="operator.getitem", selects=True),
    _move("pick", "x; dim=None, index=None", "torch.gather torch.index_select Tensor.gather Tensor.index_select"
          " torch.take(x;index) Tensor.take(x;index) torch.take_along_dim(x;index,dim)", selects=True),
    replace(_move("masked_select", "x, mask", "torch.{} Tensor.{}", selects=True), masked=(0,)),
    # the entries of x where a one-hot mask has its 1; what stands beside them may be infinite
    Op("at_class", signature("x, mask; dim=None, keepdim=False"), MOVEMENT, None, range=_same, selects=True,
       means="sum(where(mask == 0, 0, x), dim=dim, keepdim=keepdim)"),
    _move("sort", "x; dim=-1, descending=False", "torch.{} Tensor.{} torch.topk(x;k,dim) Tensor.topk(x;k,dim)",
          pair=True),
    _move("unbind", "x; dim=0", "torch.{} Tensor.{} torch.chunk(x;chunks,dim) Tensor.chunk(x;chunks,dim)"
          " torch.split(x;size,dim) Tensor.split(x;size,dim)", selects=True),
)  # fmt: skip

_CONVERSIONS = tuple(
    f"Tensor.{method}(x) -> to(x, dtype='{dtype}')"
    for method, dtype in (("half", "float16"), ("bfloat16", "bfloat16"), ("float", "float32"), ("double", "float64"))
)

CASTS = (*(
    Op(name, signature(params), CAST, f"Tensor.{name}", listed(spellings, name) + more, range=_same)
    for name, params, spellings, more in (
        ("to", "x; dtype=None", "Tensor.to Tensor.type Tensor.type_as(x;other) Tensor.cuda(x) Tensor.cpu(x)"
         " torch.as_tensor torch.tensor torch.scalar_tensor torch.from_numpy", _CONVERSIONS),
        ("contiguous", "x", "Tensor.contiguous Tensor.clone torch.clone Tensor.requires_grad_(x)"
         " nn.Identity[] torch.atleast_1d torch.atleast_2d Tensor.retain_grad", ()),
        ("dropout", "x; p=0.5, training=False", "F.dropout nn.Dropout[p=0.5] F.dropout1d F.dropout2d", ()),
    )),
    # a number of Python, or an array of numpy, has no gradient
    Op("detach", signature("x"), CAST, "Tensor.detach", ("Tensor.detach", "Tensor.detach_", "Tensor.item(x)",
       "Tensor.tolist(x)", "Tensor.numpy(x)", "builtins.float(x)"), range=_same, cuts=True),
    Op("trunc", signature("x"), COMPOSITE, "torch.trunc",
       ("Tensor.long", "Tensor.int", "torch.trunc", "builtins.int", "Tensor.short", "Tensor.byte"),
       range=lambda x: replace(x, integer=True, low_open=False, high_open=False, nonzero=x.nonzero and x.integer,
                               low=x.low if math.isinf(x.low) else float(int(x.low)),
                               high=x.high if math.isinf(x.high) else float(int(x.high))), cuts=True),
    # a fact that reading found on the way here (a test that was passed, a mask): value `x`, within the bounds
    Op("assume", signature("x; low=None, high=None, low_open=False, high_open=False"), CAST, None, (),
       range=None),
)  # fmt: skip


def _between(low: float, high: float, integer: bool = False, low_open: bool = False, high_open: bool = False) -> Range:
    def result(*operands: Interval) -> Interval:
        dtype = operands[0].dtype if operands else "float32"
        return Interval(low, high, low_open, high_open, integer=integer, nonzero=low > 0, dtype=dtype)

    return result


CREATION = (
    Op("zeros", signature("; *size=None"), LEAF, "torch.zeros", ("torch.zeros", "torch.empty", "torch.zeros_like",
       "torch.empty_like", "Tensor.new_zeros(x;*size=None)", "Tensor.new_empty(x;*size=None)"),
       range=_between(0.0, 0.0, True)),
    Op("ones", signature("; *size=None"), LEAF, "torch.ones", ("torch.ones", "torch.ones_like",
       "Tensor.new_ones(x;*size=None)"), range=_between(1.0, 1.0, True)),
    Op("full", signature("value; size=None"), LEAF, "torch.full", ("torch.full(size, fill_value) -> full(fill_value)",
       "torch.full_like(x, fill_value) -> full(fill_value)", "Tensor.new_full(x, size, fill_value) -> full(fill_value)",
       ), range=_same),
    Op("rand", signature("; *size=None"), LEAF, "torch.rand", ("torch.rand", "torch.rand_like", "Tensor.uniform_(x)"),
       range=_between(0.0, 1.0, high_open=True), pure=False),
    Op("randn", signature("; *size=None"), LEAF, "torch.randn",
       ("torch.randn", "torch.randn_like", "Tensor.normal_(x)", "torch.distributions.utils._standard_normal"),
       range=_between(-6.0, 6.0), pure=False),
    Op("arange", signature("; end=None"), LEAF, "torch.arange", ("torch.arange", "builtins.range"),
       range=_between(0.0, INF, True)),
    Op("one_hot", signature("x; num_classes=-1"), COMPOSITE, "F.one_hot", ("F.one_hot", "torch.nn.functional.one_hot"),
       range=_between(0.0, 1.0, True)),
    # what is drawn for each probability, and the bin of each number: no gradient comes back
    Op("bernoulli", signature("x; p=None, generator=None"), COMPOSITE, None, ("torch.bernoulli", "Tensor.bernoulli"),
       range=_between(0.0, 1.0, True), cuts=True),
    Op("multinomial", signature("x; num_samples=None, replacement=False, generator=None"), COMPOSITE, None,
       ("torch.multinomial", "Tensor.multinomial"), range=_between(0.0, INF, True), cuts=True),
    Op("bucketize", signature("x, edges; out_int32=False, right=False, side=None, sorter=None"), COMPOSITE, None,
       ("torch.bucketize", "torch.searchsorted"), range=_between(0.0, INF, True), cuts=True),
    # how many entries fall under each number, or into each bin: none into some
    Op("bincount", signature("x; weights=None, minlength=0"), COMPOSITE, None, ("torch.bincount", "Tensor.bincount",
       "torch.histc(x;bins=100,min=0,max=0)", "Tensor.histc(x;bins=100,min=0,max=0)"), range=_between(0.0, INF, True)),
    Op("eye", signature("; n=None"), LEAF, "torch.eye", ("torch.eye",), range=_between(0.0, 1.0, True)),
    # a size along a dimension, if that is said: two dimensions are two numbers
    Op("numel", signature("x; dim=None"), COMPOSITE, "torch.numel", tuple(f"{name}(x)" for name in
       ("torch.numel", "Tensor.numel", "builtins.len", "Tensor.size", "Tensor.dim", "Tensor.nelement",
        "Tensor.ndimension")), range=_between(1.0, INF, True)),
    # a number of the program as a tensor of the dtype of `x`; the number of entries along one dimension; no entry but 0
    Op("new_tensor", signature("x, data"), COMPOSITE, "Tensor.new_tensor", ("Tensor.new_tensor",), "data"),
    Op("length", signature("x; dim"), COMPOSITE, "Tensor.size", (),
       "amax(sum(0 * x + 1, dim=dim, keepdim=false), dim=none, keepdim=false)", range=_between(1.0, INF, True)),
    Op("zeros_as", signature("x"), COMPOSITE, "torch.zeros_like", (), "0 * x", range=_between(0.0, 0.0, True)),
    # no entry is below 0; a decomposition is not evaluated
    Op("svdvals", signature("x"), COMPOSITE, None, ("torch.linalg.svdvals",), range=_between(0.0, INF)),
    Op("count_nonzero", signature("x"), COMPOSITE, "torch.count_nonzero", ("torch.count_nonzero",
       "Tensor.count_nonzero"), range=_between(0.0, INF, True)),
    Op("argmax", signature("x; dim=None"), COMPOSITE, "torch.argmax", ("torch.argmax", "Tensor.argmax", "torch.argmin",
       "Tensor.argmin", "torch.argsort", "Tensor.argsort"), range=_between(0.0, INF, True)),
)  # fmt: skip

SCATTERED = (
    # an entry gets what lands on it: none, one (as it is run) or more of the source's entries
    Op("scatter_add", signature("x, src; dim=None"), COMPOSITE, None, tuple(
        f"{name}(x, dim, index, src) -> scatter_add(x, src)" for name in
        ("Tensor.scatter_add_", "Tensor.scatter_add", "torch.scatter_add", "Tensor.index_add_", "Tensor.index_add",
         "torch.index_add")), "x + src", lambda x, src: Interval(
            x.low if src.low >= 0 else -INF, x.high if src.high <= 0 else INF, dtype=x.dtype)),
    Op("scatter", signature("x, src; dim=None"), COMPOSITE, None, tuple(
        f"{name}(x, dim, index, src) -> scatter(x, src)" for name in
        ("Tensor.scatter_", "Tensor.scatter", "torch.scatter")), "src", lambda x, src: hull((x, src))),
    # a result that a statement drops: `x` stays what it was
    Op("dropped", signature("x, result"), COMPOSITE, None, (), "x", range=lambda x, result: x),
)  # fmt: skip

# any number of operands: no call spells them and no expression of a rule writes them
JOINS = (
    Op("stack", signature("parts"), MOVEMENT, "torch.stack", (), range=_all),
    # values that meet after an if: one of them, it is not known which
    Op("either", signature("parts"), COMPOSITE, None, (), range=_all),
    # what reading cannot see through; the operands are kept
    Op("opaque", signature("parts"), LEAF, None, ()),
)

_FLAT = (
    "trunc", "arange", "one_hot", "eye", "numel", "length", "count_nonzero", "argmax", "bernoulli", "multinomial",
    "bucketize",
)  # fmt: skip
_SIZES = ("numel", "length")
ROWS = tuple(
    replace(row, flat=row.name in _FLAT, size=row.name in _SIZES) for row in MOVEMENTS + CASTS + CREATION + SCATTERED
)
