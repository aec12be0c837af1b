"""A host's own provider, quota, pace and router: registered they work after a restart and elsewhere; unregistered they break one server."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from attrs import frozen
from engine_kit import KEY, OWN_PARTS, Backwards, Breather, CompanySendGrid, Ever, eventually, message, messages, running

from deliverykit import Budget, CalendarQuota, ConfigurationError, SendStatus, Status
from deliverykit.contracts.limit import QuotaPolicy, State
from deliverykit.routers import RoundRobin

HERE = Path(__file__).parent


def own_servers(world, mailer):
    world.server(mailer, "own", fields={}, provider=CompanySendGrid(api_key="SG.own", base_url=world.sandbox.url("sendgrid")))
    mailer.servers.update("own", quota=Ever(most=3), pause=Breather(length=timedelta(milliseconds=30)))
    world.server(mailer, "std")
    mailer.routes.add("r", ["std", "own"], strategy=Backwards())


def test_they_work_on_a_stored_server_after_a_restart(world, restarted):
    own_servers(world, world.mailer(register=OWN_PARTS))
    mailer = restarted(register=OWN_PARTS)
    server = mailer.servers.get("own")
    assert server.active
    assert server.limits == (Ever(most=3), Breather(length=timedelta(milliseconds=30)))
    begun = world.clock.monotonic()
    mailer.enqueue(messages(5), route="r")
    mailer.worker().drain()
    assert sorted(world.carriers()) == ["own", "own", "own", "std", "std"]
    assert sum(b'"ip_pool_name":"company"' in mail.raw.replace(b" ", b"") for mail in world.sandbox.received()) == 3
    assert world.clock.monotonic() - begun >= 0.06
    (view,) = mailer.servers.quota("own")
    assert (view.window, view.used, view.left) == ("ever", 3, 0)


def test_in_two_processes(live):
    """Two real processes share the file: never more than the policy allows, over both."""
    mailer = live.mailer(register=OWN_PARTS)
    own_servers(live, mailer)
    mailer.routes.add("only", ["own"])
    mailer.enqueue(messages(8), route="only")
    script = (
        f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
        "from datetime import timedelta\nfrom deliverykit import Mailer\nfrom engine_kit import OWN_PARTS\n"
        f"with Mailer('sqlite:///{live.path}', secret_key={KEY!r}, register=OWN_PARTS) as mailer:\n"
        "    print(mailer.worker(concurrency=2).drain(timedelta(seconds=20)).accepted)\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(map(int, said)) == 3
    assert live.sandbox.count() == 3
    assert mailer.outbox.counts(route="only")["ready"] == 5


def test_unregistered_they_break_one_server(world, restarted):
    own_servers(world, world.mailer(register=OWN_PARTS))
    mailer = restarted()
    own = mailer.servers.get("own")
    assert own.status is Status.BROKEN
    assert "company-sendgrid" in own.reason
    assert "register=" in own.reason
    assert mailer.servers.get("std").active
    assert mailer.send(message()).status is SendStatus.ACCEPTED
    assert world.carriers() == ["std"]
    mailer = restarted(register=[CompanySendGrid, Backwards])
    assert mailer.servers.get("own").status is Status.BROKEN
    assert "'ever'" in mailer.servers.get("own").reason
    with pytest.raises(ConfigurationError, match="ever"):
        # Its limits cannot be read here, so they cannot be kept either.
        mailer.servers.update("own", provider=world.provider())
    assert restarted(register=OWN_PARTS).servers.get("own").limits[0] == Ever(most=3)


def test_an_unregistered_router_breaks_one_route(world, restarted):
    own_servers(world, world.mailer(register=OWN_PARTS))
    mailer = restarted(register=[CompanySendGrid, Ever, Breather])
    assert [server.active for server in mailer.servers.list()] == [True, True]
    assert mailer.send(message()).status is SendStatus.ACCEPTED  # by the default route
    with pytest.raises(ConfigurationError, match=r"backwards.*register="):
        mailer.send(message(), route="r")
    with pytest.raises(ConfigurationError, match=r"backwards.*register="):
        mailer.enqueue(messages(1), route="r")
    mailer.worker().drain()
    assert [route.name for route in mailer.routes.list()] == ["r"]
    registered = restarted(register=OWN_PARTS)
    (uid,) = registered.enqueue(messages(1), route="r")
    restarted(register=[CompanySendGrid, Ever, Breather]).worker().drain()
    mailer = restarted(register=OWN_PARTS)
    assert mailer.outbox.get(uid).state == "ready"
    mailer.worker().drain()
    assert world.carriers()[-1] == "own"


def test_an_unregistered_budget_breaks_its_servers(world, restarted):
    mailer = world.mailer(register=OWN_PARTS)
    world.server(mailer, "a", budgets=[Budget(name="plan", limits=(Ever(most=2),))])
    world.server(mailer, "b")
    mailer = restarted()
    assert mailer.servers.get("a").status is Status.BROKEN
    assert "ever" in mailer.servers.get("a").reason
    assert mailer.servers.get("b").active
    assert mailer.send(message()).status is SendStatus.ACCEPTED
    assert world.carriers() == ["b"]


def test_an_account_with_unregistered_limits_stops_alone(world, restarted):
    mailer = world.mailer(register=OWN_PARTS)
    mailer.accounts.add("acme", timezone="Asia/Tokyo", quota=Ever(most=3))
    acme = mailer.account("acme")
    world.server(acme, "a")
    world.server(mailer, "b")
    acme.enqueue(messages(1))
    mailer.enqueue(messages(1))
    mailer = restarted()
    mailer.worker().drain()
    assert world.carriers() == ["b"]
    broken = mailer.account("acme").servers.get("a")
    assert broken.status is Status.BROKEN
    assert "'ever' is not registered" in broken.reason
    assert mailer.account("acme").send(message()).status is SendStatus.QUEUED
    with pytest.raises(ConfigurationError, match="ever"):
        mailer.accounts.update("acme", timezone="Asia/Seoul")
    mailer = restarted(register=OWN_PARTS)
    mailer.worker().drain()
    assert world.carriers() == ["b", "a", "a"]


def test_what_is_not_registered_cannot_be_stored(world):
    mailer = world.mailer()
    world.server(mailer, "s")
    own = CompanySendGrid(api_key="SG.own", base_url=world.sandbox.url("sendgrid"))
    for call in (
        lambda: mailer.servers.add(name="S", provider=own),
        lambda: mailer.servers.update("s", quota=Ever(most=2)),
        lambda: mailer.servers.update("s", pause=Breather(length=timedelta(seconds=1))),
        lambda: mailer.routes.add("r", ["s"], strategy=Backwards()),
    ):
        with pytest.raises(ConfigurationError, match=r"register=\["):
            call()
    assert mailer.servers.get("s").limits == ()
    assert len(mailer.servers.list()) == 1


def test_what_cannot_be_registered(world):
    class Unfinished(CalendarQuota):
        name = "calendar"

    @frozen
    class Abstract(QuotaPolicy):
        name: ClassVar[str] = "abstract"

    @frozen
    class Nameless(RoundRobin):
        name: ClassVar[str] = ""

    @frozen
    class Twin(RoundRobin):
        pass

    for wrong, because in (
        (dict, "is not an attrs class"), (Unfinished, "both named 'calendar'"), (Abstract, "Abstract does not define give, "),
        (Nameless, "Nameless has no name"), (Twin, "both named 'round_robin'"),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match=f"register: .*{because}"):
            world.mailer(register=[wrong])


def test_a_worker_that_lacks_a_part_leaves_the_lane_open(live):
    mailer = live.mailer(register=OWN_PARTS)
    own_servers(live, mailer)
    mailer.routes.add("only", ["own"])
    with running(live.mailer()), running(mailer):
        mailer.enqueue(messages(2), route="only")
        assert eventually(lambda: live.sandbox.count() == 2)


@frozen(kw_only=True)
class Grudging(Ever):
    """Takes, and raises where it is to give back."""

    name: ClassVar[str] = "grudging"

    def give(self, state: State, mark: int, n: int) -> State:
        raise RuntimeError("nothing is given back")


def test_a_limit_that_raises_while_mail_is_settled_hurts_that_mail_alone(world, caplog):
    mailer = world.mailer(register=[Grudging])
    world.server(mailer, "std")
    world.server(mailer, "own", "mailgun", quota=Grudging(most=9))
    for server in ("std", "own"):
        mailer.routes.add(server, [server])
    world.sandbox.fault("mailgun", "server_error", times=2, status=503)  # surely not sent: the unit is to be given back
    ids = mailer.enqueue(messages(2), route="own")
    mailer.enqueue([message(number) for number in range(2, 7)], route="std")
    mailer.worker().drain(timedelta(seconds=30))
    assert world.carriers() == ["std"] * 5
    assert [mail.state for mail in mailer.outbox.list()] == ["sending"] * 2
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert sorted(line.partition(":")[0] for line in told) == sorted(
        f"mail {id_} cannot be settled; its lease will end" for id_ in ids
    )
    world.clock.advance(timedelta(minutes=2))
    mailer.worker().drain()
    assert {mail.id for mail in mailer.outbox.in_doubt()} == set(ids)
    assert world.sandbox.count("mailgun") == 0
