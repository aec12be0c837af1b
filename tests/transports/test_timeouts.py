"""The time limits of one call, as they are applied to a request."""

import pytest

from deliverykit.transports import Timeouts
from deliverykit.transports.timeouts import CallTimes
from deliverykit.words.wire import HttpRequest

TIMES = CallTimes(Timeouts(connect=5, read=30, total=60), bytes_per_second=10)


@pytest.mark.parametrize(("within", "total"), [(None, 60), (1.0, 1.0), (200.0, 60)])
def test_request_time_limit_shortens_the_call(within: float | None, total: float) -> None:
    request = HttpRequest(url="https://example.com", within=within)
    assert TIMES.total(request) == total
    assert max(TIMES.steps(request).values()) == min(30, total)


def test_time_to_start_limits_steps_before_the_request() -> None:
    steps = TIMES.steps(HttpRequest(url="https://example.com", time_to_start=lambda: 2.0))
    assert steps == {"connect": 2.0, "pool": 2.0, "read": 30, "write": 30}
