"""Suppressing findings: by comments in the files, and by a baseline."""
