"""The one exception class of nanguard."""

from __future__ import annotations


class NanguardError(Exception):
    """Something the user can mend; the message names the place, what was wrong and what to do."""
