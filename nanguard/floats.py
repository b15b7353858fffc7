"""The four floating-point formats: rounding, neighbours and limits, without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """A binary floating-point format: `bits` of significand, exponents of normal numbers from `least` to `most`."""

    name: str
    bits: int
    least: int
    most: int

    @property
    def eps(self) -> float:
        """The spacing above 1."""
        return math.ldexp(1.0, 1 - self.bits)

    @property
    def tiny(self) -> float:
        """The smallest normal number."""
        return math.ldexp(1.0, self.least)

    @property
    def smallest(self) -> float:
        """The smallest subnormal number."""
        return math.ldexp(1.0, self.least - self.bits + 1)

    @property
    def max(self) -> float:
        """The largest finite number."""
        return math.ldexp(2.0 - self.eps, self.most)

    def round(self, value: float) -> float:
        """The nearest number of the format, ties to even, infinite past the largest."""
        if value == 0 or not math.isfinite(value):
            return value
        exponent = max(math.frexp(value)[1] - 1, self.least)
        unit = exponent - self.bits + 1
        steps = round(math.ldexp(value, -unit))  # exact: scaled by a power of two to at most so many bits
        if exponent > self.most or (exponent == self.most and abs(steps) >> self.bits):
            return math.copysign(math.inf, value)
        return math.ldexp(steps, unit)

    def ordinal(self, value: float) -> int:
        """The number of floats between 0 and `value`, with its sign: neighbours have neighbouring ordinals."""
        magnitude = abs(value)
        if magnitude == 0:
            return 0
        if math.isinf(magnitude):
            count = (self.most - self.least + 2) << (self.bits - 1)
        else:
            exponent = max(math.frexp(magnitude)[1] - 1, self.least)
            steps = int(math.ldexp(magnitude, self.bits - 1 - exponent))
            count = steps + ((exponent - self.least) << (self.bits - 1))
        return count if value > 0 else -count

    def from_ordinal(self, ordinal: int) -> float:
        """The inverse of `ordinal`."""
        count = abs(ordinal)
        block, offset = count >> (self.bits - 1), count & ((1 << (self.bits - 1)) - 1)
        if block == 0:
            magnitude = math.ldexp(offset, self.least - self.bits + 1)
        elif block > self.most - self.least + 1:
            magnitude = math.inf
        else:
            magnitude = math.ldexp(offset + (1 << (self.bits - 1)), block - 1 + self.least - self.bits + 1)
        return magnitude if ordinal >= 0 else -magnitude

    def above(self, value: float) -> float:
        """The next number of the format above `value`, which need not be one itself."""
        rounded = self.round(value)
        return rounded if rounded > value or rounded == math.inf else self.from_ordinal(self.ordinal(rounded) + 1)

    def below(self, value: float) -> float:
        """The next number of the format below `value`, which need not be one itself."""
        return -self.above(-value)


HALVES = ("float16", "bfloat16")
FORMATS = {
    "float16": Format("float16", 11, -14, 15),
    "bfloat16": Format("bfloat16", 8, -126, 127),
    "float32": Format("float32", 24, -126, 127),
    "float64": Format("float64", 53, -1022, 1023),
}
