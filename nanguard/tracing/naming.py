"""Naming: what the name of a parameter or an attribute says of its value, as losses are written."""

from __future__ import annotations

import re

# Roles of tensors, each with the words that name them; the first that fits decides.
_ROLES = (
    ("logits", r"logits?|scores?|pred_logits"),
    ("boxes", r"boxes|bbox(es)?"),
    ("lengths", r"lens?|lengths?|seq_?lens?|num_frames"),
    ("mask", r"masks?|valid|is_\w+|observed|censored|padding|keep"),
    ("weight", r"weights?|pos_weight|class_weights?|sample_weights?"),
    ("index", r"idx|index|indices|ids?|idx_durations|classes|class_ids?|actions?"),
    ("events", r"events?"),
    ("times", r"times?|durations?"),
    ("labels", r"labels?|category|categories|ref_labels"),
    ("target", r"targets?|y|t|gts?|truth|true|y_true|ground_truth|y_gt|tgt|reference|label_map"),
    ("unit", r"probs?|probabilities|probas?|p|q|confidence|alphas?|images?|img\d?|imgs|y_prob"),
    ("positive", r"var|variance|std|sigma|scale|rate|concentration|evidence|theta|counts?|radius|distances?|dist_?mat"),
)
_PATTERNS = tuple((role, re.compile(rf"(^|_)({words})(_?\d*)($|_)")) for role, words in _ROLES)

# Shapes that go with a name, likeliest first, in the letters of `SIZES`.
_SHAPES = (
    (r"ims?|imgs?|images?|img\d|frames?|flow|depth|disparity|heatmaps?|seg\w*|pixels?", ("NCHW",)),
    (r"waveforms?|wavs?|audio|signals?|speech|est_targets?|estimate|estimated|source|sources", ("NT", "NCT")),
    (r"boxes|bbox(es)?|boxes\d", ("NX",)),
    (r"embeddings?|emb|feats?|features?|anchors?|mu|logvar|log_var|latents?|z\d?|ref_emb|hidden", ("NC",)),
    (r"points?|vert(ice)?s|cloud|xyz|coords?|keypoints?", ("NTD", "NC")),
    (r"log_probs|logprobs", ("NC", "NTC")),
    (r"homographies|homography|dst_homo_src|rotations?|matrix|matrices", ("NDD",)),
)
_SHAPE_PATTERNS = tuple((re.compile(rf"(^|_)({words})\d?($|_)"), shapes) for words, shapes in _SHAPES)

# Sizes of the letters that shapes are written with; others get `SIZE`.
SIZES = {
    "N": 4, "B": 4, "C": 3, "H": 8, "W": 8, "T": 6, "L": 6, "D": 3, "X": 4, "S": 3, "F": 5, "K": 2, "M": 5,
    "BATCH": 4, "CLASSES": 3, "CHANNELS": 3, "HEIGHT": 8, "WIDTH": 8, "TIME": 6,
}  # fmt: skip
SIZE = 5

# Numbers by name: exact names first, then the words that a name holds.
_NUMBERS: dict[str, float] = {
    "temperature": 0.5, "tau": 0.5, "alpha": 0.25, "beta": 0.5, "gamma": 2.0, "margin": 0.5, "eps": 1e-6,
    "epsilon": 1e-6, "scale": 2.0, "lam": 0.5, "lambda_": 0.5, "delta": 1.0, "smoothing": 0.1, "dim": -1,
    "axis": -1, "k": 1, "p": 2, "t": 0.5, "sigma": 0.5, "reduction_ratio": 2, "dropout": 0.0, "power": 2,
    "ignore_index": -100, "data_range": 1.0, "quantile": 0.5, "q": 0.5, "level": 50, "window_size": 3,
    "kernel_size": 3, "n": 2, "b": 2, "seed": 0, "blur": 0.5, "m": 2, "s": 2.0, "h": 2, "horizon": 6,
    "seasonality": 2, "sample_rate": 16000, "sr": 16000,
}  # fmt: skip
_WORDS: tuple[tuple[str, float], ...] = (
    ("num_class", 3), ("n_class", 3), ("nclass", 3), ("classes", 3), ("embedding", 3), ("embed", 3), ("feature", 3),
    ("channel", 3), ("n_src", 3), ("num_src", 3), ("dims", 3), ("margin", 0.5), ("temperature", 0.5),
    ("eps", 1e-6), ("smooth", 0.1), ("lambda", 0.5), ("weight", 0.5), ("coef", 0.5), ("factor", 2.0),
    ("prob", 0.5), ("ratio", 0.5), ("rate", 0.5), ("threshold", 0.5), ("thresh", 0.5), ("alpha", 0.25),
    ("beta", 0.5), ("gamma", 2.0), ("kernel", 3), ("window", 3), ("length", 6), ("_len", 6), ("dropout", 0.0),
    ("momentum", 0.9), ("quantile", 0.5), ("scale", 2.0),
    ("layer", 1), ("head", 1), ("step", 2), ("iter", 2), ("epoch", 2), ("size", 3), ("dim", 3), ("num", 3),
    ("count", 3), ("n_", 3), ("width", 8), ("height", 8),
)  # fmt: skip
_FLAGS = re.compile(r"^(is|use|with|has|do|should|return|apply|normalize|squared|sigmoid|softmax|from|include)(_|$)")
_CALLABLES = re.compile(
    r"(^|_)(fn|func|function|criterion|callable|activation|act|loss_func|loss_fn|base_loss|metric|distance|reducer|"
    r"kernel_fn|transform|nonlinearity|collector|miner|sampler)s?$"
)
_MODELS = re.compile(
    r"(^|_)(model|module|net|network|encoder|decoder|discriminator|backbone|extractor|teacher|student|critic|generator)$"
)
_CONFIGS = re.compile(r"(^|_)(config|cfg|args|opt|opts|hparams|params|options|hyper_params)$")


def role(name: str) -> str:
    """What a tensor of this name holds, "normal" where the name does not say."""
    lower = name.lower()
    return next((role for role, pattern in _PATTERNS if pattern.search(lower)), "normal")


def shapes(name: str) -> tuple[str, ...]:
    """Shapes that go with a name, as letters."""
    lower = name.lower()
    return next((found for pattern, found in _SHAPE_PATTERNS if pattern.search(lower)), ())


def number(name: str) -> float | None:
    """The number that a parameter of this name may be, None where the name is not that of a number."""
    lower = name.lower().strip("_")
    if lower in _NUMBERS:
        return _NUMBERS[lower]
    return next((value for word, value in _WORDS if word in lower), None)


def is_hyper_parameter(name: str) -> bool:
    """Whether a name is that of a number as losses have them, rather than of a tensor."""
    return len(name) > 1 and name.lower().strip("_") in _NUMBERS


def is_flag(name: str) -> bool:
    """Whether a name asks a question that is answered with true or false."""
    return _FLAGS.search(name.lower()) is not None


def is_callable(name: str) -> bool:
    """Whether a name is that of a function or of another loss."""
    lower = name.lower()
    return _CALLABLES.search(lower) is not None or lower in ("loss", "criterion", "f", "fn")


def is_model(name: str) -> bool:
    """Whether a name is that of a module."""
    return _MODELS.search(name.lower()) is not None


def is_config(name: str) -> bool:
    """Whether a name is that of an object full of options."""
    return _CONFIGS.search(name.lower()) is not None
