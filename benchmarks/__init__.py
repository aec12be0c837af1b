"""What deliverykit costs, each claim measured against its floor in the same run. ``python -m benchmarks`` runs them all."""
