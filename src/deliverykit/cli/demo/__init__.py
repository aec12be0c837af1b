"""``deliverykit demo``: the whole story on real input, and its proof."""

from deliverykit.cli.demo.story import run

__all__ = ["run"]
