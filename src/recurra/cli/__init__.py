"""The command line: how people reach Recurra from a shell. Data on stdout, talk on stderr, `--json` on every command."""

from recurra.cli.main import main

__all__ = ["main"]
