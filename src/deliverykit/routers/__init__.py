"""Who orders a route's servers."""

from deliverykit.routers.rotating import RoundRobin, Weighted
from deliverykit.routers.strict import Priority

__all__ = ["Priority", "RoundRobin", "Weighted"]
