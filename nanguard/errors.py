"""What nanguard raises, and what it warns with."""

from __future__ import annotations


class NanguardError(Exception):
    """Something the user can mend; the message names the place, what was wrong and what to do."""


class NanguardWarning(UserWarning):
    """A call that runs as it was written, because what nanguard made of it could not be proved the same."""
