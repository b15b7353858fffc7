"""The exit statuses."""

CLEAN, FOUND, FAILED, INTERRUPTED = 0, 1, 2, 130
