"""Who orders a route's servers."""

from deliverykit.routers.least_used import LeastUsed
from deliverykit.routers.rotating import RoundRobin, Weighted
from deliverykit.routers.sticky import By
from deliverykit.routers.strict import Priority

__all__ = ["By", "LeastUsed", "Priority", "RoundRobin", "Weighted"]
