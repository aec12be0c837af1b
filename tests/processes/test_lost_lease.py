"""A mail whose lease ended while it was being sent is sent by one of the two who then want it, never by both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from process_kit import KEY, message

from deliverykit import CalendarQuota, Mailer, SendStatus
from deliverykit.providers import SendGrid
from deliverykit.storages.sqlite import SQLiteStorage
from deliverykit.testing import ManualClock
from deliverykit.words.errors import Stage, TransportError
from deliverykit.words.wire import HttpRequest, HttpResponse


class Recovered(SQLiteStorage):
    """Books beside which another worker always looks after lost leases just before anything is decided."""

    def transact(self, account: str, keys: Sequence[str], decide: Any) -> Any:
        self.recover()
        return super().transact(account, keys, decide)


class Slow:
    """A wire on which the first mail takes two minutes and then surely did not go."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.trouble = False
        self.taken: list[bytes] = []

    def send(self, request: HttpRequest) -> HttpResponse:
        if self.trouble:
            self.trouble = False
            self.clock.advance(120)
            raise TransportError(Stage.CONNECT, "refused")
        self.taken.append(bytes(request.body))
        return HttpResponse(status=202, headers={"X-Message-Id": "x"}, body=b"")

    def close(self) -> None: ...


def test_send_leaves_a_mail_alone_that_a_worker_has_taken_over(tmp_path: Path) -> None:
    clock = ManualClock()
    wire = Slow(clock)
    mailer = Mailer(Recovered(str(tmp_path / "mail.db"), clock), clock=clock, secret_key=KEY, transport=wire)
    for id_ in ("a", "b"):
        mailer.servers.add(id=id_, name=id_, provider=SendGrid(api_key=f"SG.{id_}"), sender="n@example.com")
        assert mailer.servers.send_test(id_, to="me@example.org").proof
        mailer.servers.activate(id_)
        mailer.servers.update(id_, quota=CalendarQuota(day=10))
    mailer.routes.add("bulk", servers=["a", "b"], when_exhausted="failover")
    wire.taken.clear()
    wire.trouble = True
    result = mailer.send(message(1), route="bulk")
    assert result.status is SendStatus.QUEUED
    assert wire.taken == []
    mailer.worker().drain()
    assert len(wire.taken) == 1
    assert not any(mailer.outbox.counts().values())
    assert sum(view.used for id_ in "ab" for view in mailer.servers.quota(id_)) == 1
