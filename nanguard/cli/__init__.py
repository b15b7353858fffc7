"""The command line: a file per command, and what they share.

What a command needs is imported when the command runs, so that help and rules answer at once and without
torch.
"""

from nanguard.cli.entry import cli, main

__all__ = ["cli", "main"]
