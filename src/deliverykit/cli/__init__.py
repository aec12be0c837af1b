"""The command line: ``deliverykit demo`` and ``deliverykit sandbox``. Needs the extra ``deliverykit[cli]``."""

from deliverykit.cli.command import main

__all__ = ["main"]
