"""Every fault of an ESP, at every ESP, under load: nothing twice, nothing lost, and the books say what the ESP has."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from attrs import field, frozen
from engine_kit import ESPS, World, eventually, message, messages, running, used

from deliverykit import CalendarQuota, SendStatus, Status
from deliverykit.words.errors import ClockError

MAILS = 24
STRUCK = 6
"""More than open a circuit."""
QUOTA = CalendarQuota(month=1000)
LOST = {"ses": "sendgrid", "sendgrid": "mailgun", "mailgun": "elasticemail", "elasticemail": "ses"}
"""Which ESP the second server is of."""


@frozen
class Case:
    """A fault, and what becomes of the mail that meets it."""

    kind: str
    options: Mapping[str, Any] = field(factory=dict)
    ends: str = "doubt"
    """``doubt``: it is in doubt. ``again``: surely not sent, so it goes later or by the other. ``waits``: likewise, and no
    attempt is spent. ``paused``: likewise, and the server is PAUSED. ``either``: in doubt or again, as the wire tells."""
    taken: bool = False
    """Whether the ESP has it all the same."""


CASES = {
    "hang after the body": Case("hang", {"seconds": 0.05}, taken=True),
    "hang, and not taken": Case("hang", {"seconds": 0.05, "accepted": False}),
    "reset after the body": Case("reset", taken=True),
    "reset before the body": Case("reset", {"when": "before"}, "either"),
    "500": Case("server_error", {"status": 500}),
    "500, and taken": Case("server_error", {"status": 500, "accepted": True}, taken=True),
    "502": Case("server_error", {"status": 502}),
    "504": Case("server_error", {"status": 504}),
    "503": Case("server_error", {"status": 503}, "again"),
    "a captive portal's 200": Case("garbage"),
    "an empty 200 of whatever is between": Case("garbage", {"text": " "}),
    "a captive portal's 511": Case("garbage", {"status": 511}),
    "a proxy's 403": Case("garbage", {"status": 403}, "again"),
    "garbage, and taken": Case("garbage", {"text": '{"ok": true}', "accepted": True}, taken=True),
    "a redirect": Case("redirect", ends="again"),
    "slow drip": Case("drip", {"seconds": 20}, taken=True),
    "half an answer": Case("truncate", taken=True),
    "a huge body": Case("huge", {"size": 12_000_000}, taken=True),
    "throttled": Case("throttle", {"retry_after": 60}, "waits"),
    "its quota is spent": Case("quota", {"retry_after": 3600}, "waits"),
    "a bad key": Case("bad_key", ends="paused"),
}


def pair(world: World, mailer: Any, esp: str, word: str, **values: Any) -> None:
    """Two servers of two ESPs, both with a quota that lasts."""
    world.server(mailer, "a", esp, quota=QUOTA, **values)
    world.server(mailer, "b", LOST[esp], quota=QUOTA)
    mailer.routes.add("r", ["a", "b"], when_exhausted=word)


def went(world: World, esp: str) -> Counter[str]:
    """How often an ESP accepted mail to each recipient."""
    return Counter(mail.to[0] for mail in world.sandbox.received(esp))


def _settled(mailer: Any) -> bool:
    """Whether nothing is left but what is in doubt."""
    return not any(number for state, number in mailer.outbox.counts().items() if state != "in_doubt")


def finish(world: World, mailer: Any) -> None:
    """Let everything go that can, over the coming days; the month's quota stays the same."""
    for _ in range(4):
        if _settled(mailer):
            break
        world.clock.advance(timedelta(hours=25))
        mailer.worker(concurrency=8).drain()


def balanced(world: World, mailer: Any, esp: str, ids: Any) -> set[str]:
    """What must hold whatever happened; the recipients of mail in doubt."""
    other = LOST[esp]
    by_id = dict(zip(ids, (f"u{number}@example.org" for number in range(len(ids))), strict=True))
    at_esp = went(world, esp) + went(world, other)
    assert max(at_esp.values(), default=1) == 1, "something came twice"
    sent: dict[str, set[str]] = {"a": set(), "b": set()}
    for uid, to in by_id.items():
        for line in mailer.log.get(uid).lines:
            if line.outcome == "accepted":
                sent[line.server].add(to)
    doubt: dict[str, set[str]] = {"a": set(), "b": set()}
    waiting: set[str] = set()
    for mail in mailer.outbox.list(limit=1000):
        assert mail.state != "dead", mail.reason
        (doubt[mail.server] if mail.state == "in_doubt" else waiting).add(by_id[mail.id])
    everywhere = [*sent["a"], *sent["b"], *doubt["a"], *doubt["b"], *waiting]
    assert sorted(everywhere) == sorted(by_id.values()), "something is lost, or counted twice"
    for server, where in (("a", esp), ("b", other)):
        got = set(went(world, where))
        assert sent[server] <= got, "what we call sent is there"
        assert got <= sent[server] | doubt[server], "what is there is sent, or in doubt"
        assert sum(used(mailer, server).values()) == len(sent[server]) + len(doubt[server]), "quota is what may have gone"
    return doubt["a"] | doubt["b"]


UNDER_LOAD = [(esp, name) for esp in ESPS for name, case in CASES.items() if case.kind != "drip" or esp == "sendgrid"]
"""A drip takes as long as its time limit, and is read alike from every ESP."""


@pytest.mark.parametrize(("esp", "name"), UNDER_LOAD)
def test_a_fault_under_load(plain: World, esp: str, name: str) -> None:
    case = CASES[name]
    word = "failover" if sorted(CASES).index(name) % 2 else "queue"
    pair(plain, plain.mailer(), esp, word)
    # The time limit is for the drip alone, and long enough for any other answer on a busy machine.
    mailer = plain.mailer(**({"transport": plain.hasty(6.0)} if case.kind == "drip" else {}))
    ids = mailer.enqueue(messages(MAILS), route="r")
    plain.sandbox.fault(esp, case.kind, times=STRUCK, **case.options)
    mailer.worker(concurrency=8).drain()

    struck = [one for one in plain.sandbox.requests(esp) if one.fault == case.kind]
    in_doubt = balanced(plain, mailer, esp, ids)
    assert len(struck) == STRUCK, "under load it was met"
    if case.ends == "doubt":
        assert len(in_doubt) == STRUCK, "each is in doubt"
        assert len({one.id for one in struck}) == STRUCK, "by one submission each"
        assert [one.accepted for one in struck] == [case.taken] * STRUCK
    elif case.ends != "either":
        assert not in_doubt
        assert not any(one.accepted for one in struck)
    server = mailer.servers.get("a")
    if case.ends == "paused":
        assert (server.status, server.paused_by) == (Status.PAUSED, "engine")
        assert server.reason
    else:
        assert server.active
    if case.ends in ("waits", "paused"):
        assert {mail.attempts for mail in mailer.outbox.list()} <= {0}
        assert mailer.servers.health("a").faults == 0
    assert mailer.servers.get("b").active

    finish(plain, mailer)
    assert balanced(plain, mailer, esp, ids) == in_doubt, "what is in doubt stays so"
    assert sum(mailer.outbox.counts().values()) == len(in_doubt), "all else went"
    assert len([one for one in plain.sandbox.requests(esp) if one.fault == case.kind]) == STRUCK


@pytest.mark.parametrize("esp", ESPS)
def test_the_forced_sender_is_not_verified_any_more(plain: World, esp: str) -> None:
    """The whole server is PAUSED, with the ESP's words; no mail is spoilt, none is tried on it twice."""
    mailer = plain.mailer()
    pair(plain, mailer, esp, "failover")
    plain.sandbox.verify_only(esp, ["elsewhere.example"])
    ids = mailer.enqueue(messages(MAILS), route="r")
    mailer.worker(concurrency=8).drain()
    server = mailer.servers.get("a")
    assert (server.status, server.paused_by) == (Status.PAUSED, "engine")
    assert "verif" in server.reason
    assert balanced(plain, mailer, esp, ids) == set()
    assert (plain.sandbox.count(esp), plain.sandbox.count(LOST[esp])) == (0, MAILS)
    assert used(mailer, "a") == {"the server a": 0}


@pytest.mark.parametrize("esp", ["ses", "sendgrid", "elasticemail"])  # Mailgun takes any From
def test_the_from_of_a_message_is_not_verified_here(plain: World, esp: str) -> None:
    """That message goes by the other; the server carries everybody else's mail as before."""
    mailer = plain.mailer()
    pair(plain, mailer, esp, "queue", sender=None)
    plain.sandbox.verify_only(esp, ["example.com"])
    mails = [message(number, sender="ann@strange.example" if number % 3 == 0 else "ann@example.com") for number in range(MAILS)]
    ids = mailer.enqueue(mails, route="r")
    mailer.worker(concurrency=8).drain()
    assert mailer.servers.get("a").active
    assert balanced(plain, mailer, esp, ids) == set()
    assert set(went(plain, LOST[esp])) == {f"u{number}@example.org" for number in range(0, MAILS, 3)}
    health = mailer.servers.health("a")
    assert (health.faults, health.circuit, health.throttled_until, health.slowed) == (0, "closed", None, None)


def test_a_clock_that_ses_refuses_stops_the_worker_and_not_the_server(plain: World) -> None:
    mailer = plain.mailer()
    pair(plain, mailer, "ses", "failover")
    plain.sandbox.check_clock(True)  # the test's clock is far from the sandbox's
    ids = mailer.enqueue(messages(MAILS), route="r")
    with pytest.raises(ClockError, match="refuses this machine's clock"):
        mailer.worker(concurrency=8).drain()
    assert mailer.servers.get("a").active
    assert mailer.servers.health("a").faults == 0
    assert {(mail.state, mail.attempts) for mail in mailer.outbox.list(limit=MAILS)} == {("ready", 0)}
    assert len(plain.sandbox.requests("ses")) <= 8, "no more than what was under way"
    assert balanced(plain, mailer, "ses", ids) == set()
    plain.sandbox.check_clock(False)
    mailer.worker(concurrency=8).drain()
    assert plain.sandbox.count("ses") == MAILS
    assert balanced(plain, mailer, "ses", ids) == set()


def test_the_probe_of_a_circuit_is_one_email_over_all_workers(plain: World) -> None:
    """Three Mailers on one file, a worker each: as the circuit may be tried, one of them does, by one email."""
    pair(plain, plain.mailer(), "mailgun", "queue")
    plain.sandbox.fault("mailgun", "server_error", times=None, status=500)
    mailers = [plain.mailer() for _ in range(3)]
    ids = list(mailers[0].enqueue(messages(5), route="r"))
    mailers[0].worker(concurrency=5).drain()
    assert [one.servers.health("a").circuit for one in mailers] == ["open"] * 3
    assert len(plain.sandbox.requests("mailgun")) == 5
    for turn, seconds in enumerate((31, 61, 121)):
        plain.clock.advance(seconds)
        assert mailers[1].servers.health("a").circuit == "half-open"
        ids += mailers[2].enqueue([message(len(ids) + number) for number in range(30)], route="r")
        with ExitStack() as workers:  # they run and do not drain: a worker that drains moves the clock while it idles
            for one in mailers:
                workers.enter_context(running(one, concurrency=10))
            assert eventually(lambda: _settled(mailers[0]))
        assert len(plain.sandbox.requests("mailgun")) == 6 + turn
        assert {one.servers.health("a").circuit for one in mailers} == {"open"}
    assert len(balanced(plain, mailers[0], "mailgun", ids)) == 8
    assert plain.sandbox.count(LOST["mailgun"]) == 87


@pytest.mark.parametrize("esp", ESPS)
def test_send_into_every_fault_in_turn(plain: World, esp: str) -> None:
    """``send()`` says what the books say: accepted is there, in doubt may be, what is queued is not."""
    pair(plain, plain.mailer(), esp, "failover")
    mailer, hasty = plain.mailer(), plain.mailer(transport=plain.hasty(1.0))
    results = []
    for number, case in enumerate(CASES.values()):
        plain.sandbox.fault(esp, case.kind, **case.options)
        results.append((hasty if case.kind == "drip" else mailer).send(message(number), route="r"))
        plain.sandbox.clear_faults()
        if not mailer.servers.get("a").active:
            mailer.servers.activate("a")
        plain.clock.advance(timedelta(hours=25))
        assert mailer.send(message(f"after{number}"), route="r").status is SendStatus.ACCEPTED  # closes what is closed
    assert [one.status for one in results if one.status is SendStatus.REJECTED] == []
    for case, result in zip(CASES.values(), results, strict=True):
        if case.ends == "doubt":
            assert result.status is SendStatus.IN_DOUBT, case
        elif case.ends != "either":
            assert (result.status, result.attempts[-1].server) == (SendStatus.ACCEPTED, "b"), case
    at_esp = went(plain, esp) + went(plain, LOST[esp])
    assert max(at_esp.values()) == 1
    for number, (case, result) in enumerate(zip(CASES.values(), results, strict=True)):
        there = at_esp[f"u{number}@example.org"] == 1
        assert there == (result.status is SendStatus.ACCEPTED or case.taken), case
