"""Looking after a whole store: what ails it, a clock set right, a person erased, what it holds in figures."""
