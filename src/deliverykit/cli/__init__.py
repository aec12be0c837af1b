"""The command line: ``deliverykit``. Needs the extra ``deliverykit[cli]``; ``docs/cli.md`` has its commands."""

from deliverykit.cli.command import main

__all__ = ["main"]
