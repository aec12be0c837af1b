"""Floor 3: the quotas, paces and closed doors that decide when mail may leave. Pure arithmetic over whole numbers."""

from deliverykit.limits.brake import Brake
from deliverykit.limits.calendar import CalendarQuota
from deliverykit.limits.checks import check_new
from deliverykit.limits.circuit import Circuit
from deliverykit.limits.closed import Closed
from deliverykit.limits.pace import Pause, Rate, in_blocks, pace
from deliverykit.limits.rolling import RollingQuota
from deliverykit.limits.slowed import Slowed

__all__ = [
    "Brake", "CalendarQuota", "Circuit", "Closed", "Pause", "Rate", "RollingQuota", "Slowed", "check_new", "in_blocks", "pace",
]  # fmt: skip
