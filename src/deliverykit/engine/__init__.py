"""Floor 4: the algorithms, each written once, speaking to the world only through ports."""
