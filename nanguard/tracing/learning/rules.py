"""The messages of exceptions, and what is learnt from each: the first that fits is tried first."""

from __future__ import annotations

from nanguard.tracing.changes import Rule
from nanguard.tracing.learning import dimensions, kinds, values

RULES: tuple[tuple[str, Rule], ...] = tuple(
    ("|".join(patterns), rule)
    for rule, *patterns in (
        # numbers of dimensions
        (dimensions.unpacked, r"(?:not enough|too many) values to unpack \(expected (?:at least )?(\d+)"),
        (dimensions.rank_said,
         r"(?i)(?:expect\w*|requires?|works?|must be|should be|be|is|have|has|only supports?|needs?|supported)"
         r"[^.]{0,60}?"
         r"\b(\d)[- ]?(?:D\b|dim|d tensor|axes)(?:[^.]{0,30}?(?:\bor\b|/|and)\s*(\d)[- ]?(?:D|dim))?"),
        (dimensions.rank_said, r"(?i)expected (?:input )?(\d)D or (\d)D"),
        (dimensions.rank_said, r"(?i)(\d)[- ]?D(?:imensional)? (?:tensor|input)s? (?:is |are )?(?:expected|required)"),
        (dimensions.rank_said, r"(?i)dimension\w* (?:to be|must be|should be|equal to|of|=+) (\d)"),
        (dimensions.rank_said, r"expected (\d) dimensions|len\(dims\) = (\d)|(\d) or more dim"),
        (dimensions.spatial_said, r"(\d) spatial dim"),
        (dimensions.ranked(2), r"must be a (?:square )?matrix|expected a matrix|2-D matri"),
        (values.to_values("ordered"), r"(?i)\bbox|increasing|ascending|sorted"),
        (dimensions.rank_more, r"number of dims don't match in permute|permute\(sparse_coo\)"),
        (dimensions.shape_said, r"(?i)shape (?:of )?[\[(]?((?:\*|[A-Z]\w*)(?:\s?[x×,*]\s?[A-Z0-9]\w*)+)"),
        (dimensions.rank_more, r"Dimension out of range", r"too many indices", r"(?:tuple|list) index out of range",
         r"Dimension specified as", r"dimensions must", r"iteration over a 0-d", r"0-d tensor", r"0-dim"),
        (dimensions.ranked(1), r"1D tensors expected", r"inconsistent tensor size, expected tensor \[\d+\] and src"),
        # dtypes
        (values.to_values("labels"), r"expected scalar type (?:Long|Int)",
         r"expected (?:dtype|object of) .*(?:int64|Long)",
         r"[Ee]xpected dtype int", r"must be (?:of (?:type|dtype) )?(?:torch\.)?(?:int64|long|Long)", r"index tensor",
         r"used as indices must be", r"Long, Int", r"'indices'", r"torch\.int64", r"LongTensor",
         r"integer (?:tensor|type|dtype)", r"must be integers", r"long dtype"),
        (values.to_floats, r"expected scalar type (?:Float|Double)", r"[Ee]xpected floating", r"floating[- ]point",
         r"not implemented for '(?:Long|Bool|Int)'", r"can't be cast to the desired output type",
         r"(?:dtype|Input) .*floating", r"Found dtype Long", r"should be float", r"float32", r"[Ee]xpected .* float",
         r"bool tensor", r"must be float"),
        (values.to_values("mask"), r"bitwise_", r"torch\.bool", r"must be bool", r"[Bb]oolean", r"BoolTensor",
         r"mask to be bool", r"expected .*[Bb]ool", r"condition to have type bool"),
        (values.to_dtype("complex64"), r"(?:be|expects?|requires?|expected|only)\b[^.]*complex"),
        # sizes
        (dimensions.at_least, r"Kernel size: \((\d+)"),
        (dimensions.spatial_more, r"[Kk]ernel size", r"smaller than (?!num)", r"too small",
         r"[Pp]adding size should be less",
         r"larger than", r"at least \d+", r"calculated output size", r"greater than actual input", r"window"),
        (values.index_range, r"index \S* ?(?:is )?out of (?:range|bounds)", r"out of bounds", r"Class values must be",
         r"index out of range", r"smaller than num_classes", r"Target \d+ is out"),
        (dimensions.products, r"mat1 and mat2 shapes cannot be multiplied \((\d+)x(\d+) and (\d+)x(\d+)\)"),
        (dimensions.channels, r"to have (\d+) channels"),
        (dimensions.channels, r"Given normalized_shape=\[(\d+)\]"),
        (dimensions.channels, r"expected input\.size\(-1\) must be equal to input_size\. Expected (\d+)"),
        (dimensions.sizes_differ, r"size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\)"),
        (dimensions.sizes_differ, r"[Ee]xpected size (\d+) but got size (\d+)",
         r"Expected input batch_size \((\d+)\) to match target batch_size \((\d+)\)",
         r"Expected size .*? \[(\d+), .*but got.*\[(\d+)",
         r"expanded size of the tensor \((\d+)\) must match the existing size \((\d+)\)"),
        (dimensions.sizes_differ, r"[Ss]hape mismatch", r"[Ss]ame (?:shape|size|length|number|batch|dim|spatial)",
         r"must match", r"do(?:es)? not match", r"mismatch", r"sizes? .*equal", r"is invalid for input of size",
         r"broadcast",
         r"incompatible", r"[Ee]xpected target size", r"inconsistent", r"[Dd]iffer(?:s|ent)? .*(?:shape|size)",
         r"target size", r"equal length"),
        (dimensions.shapes_listed, r"[\[(]\d+(?:, ?\d+)*,?[\])].*[\[(]\d+(?:, ?\d+)*,?[\])]"),
        (dimensions.numbered, r"(?i:\b(\d+) (?:elements|channels|features|columns|points|samples|frames|coordinates))",
         r"(?i:\b(two|three|single|one) (?:\w+ )?(?:mixtures?|sources?|channels?|inputs?|classes|elements|columns))"),
        # other kinds of arguments
        (kinds.missing_argument, r"missing \d+ required (?:positional|keyword-only) arguments?: (.*)"),
        (kinds.none_used, r"NoneType", r"(?:is|are) required", r"must (?:be given|be provided|provide|specify|pass)",
         r"cannot be None", r"not None", r"need to"),
        (kinds.to_callable, r"object is not callable"),
        (kinds.attribute, r"'([\w.]+)' object has no attribute '(\w+)'"),
        (kinds.key, r"^KeyError"),
        (kinds.as_dict, r"indices must be integers or slices, not str", r"string indices"),
        (kinds.to_tensor, r"must be Tensor, not",
         r"'(?:int|float|str|bool|function)' object is not (?:subscriptable|iterable)",
         r"(?:argument|input) .*must be (?:a )?Tensor", r"has no len\(\)",
         r"'(?:float|int|str|bool|function|Bunch|Config)' and", r"and '(?:float|int|str|function|Bunch|Config)'",
         r"[Ee]xpected (?:a )?(?:torch\.)?Tensor", r"to be a [tT]ensor", r"is not a (?:torch\.)?[tT]ensor"),
        (kinds.to_number, r"cannot be interpreted as an integer", r"must be (?:tuple of )?ints?",
         r"only integer tensors of a single element", r"not Tensor", r"can only convert",
         r"cannot be converted to Scalar", r"could not convert"),
        (kinds.to_list, r"tuple of Tensors", r"list of [Tt]ensors", r"sequence of", r"must be (?:a )?(?:list|tuple)",
         r"iterable"),
        (kinds.ambiguous, r"[Bb]oolean value of Tensor"),
        (kinds.one_of, r"(?i)one of|unknown|unsupported|invalid|not supported|not implemented|choose|choices|"
         r"available"),
        (kinds.numpy, r"numpy", r"ndarray"),
        # values
        (values.to_values("unit"), r"(?i)probabilit|between 0|greater (?:than )?or equal|"
         r"values? (?:to be|must be|should be)|\[0, ?1\]|range|values? in"),
        (values.to_values("positive"), r"(?i)positive|negative|GreaterThan"),
        (values.to_values("simplex"), r"(?i)simplex|sum to (?:1|one)|normali[sz]ed"),
        (values.to_values("binary"), r"(?i)binary|0 (?:and|or) 1|only .*0.*1"),
        (values.to_values("onehot"), r"(?i)one[- ]hot"),
    )
)  # fmt: skip
