"""One account's 100,000 waiting mails and ten others' few, over several worker processes on one file."""

from collections import Counter

from process_kit import ROUTE, Stage, eventually, message

from deliverykit.contracts.books import LaneKey, NewMail
from deliverykit.providers import SendGrid
from deliverykit.records.letter import pack

BACKLOG = 100_000
SMALL = [f"small{number}" for number in range(10)]
EACH = 20
WORKERS = 3
CONCURRENCY = 8
IN_HAND = WORKERS * CONCURRENCY * 3 // 2
"""What all workers together have claimed at any instant, at the most."""
APART = WORKERS * 3
"""A worker has two mails of each of eleven accounts in hand, and rounds up once: so far apart may two of them be."""


def furnish(stage: Stage, account: str) -> None:
    stage.mailer.accounts.add(account, timezone="UTC")
    desk = stage.mailer.account(account)
    provider = SendGrid(api_key=f"SG.{account}", base_url=stage.sandbox.url("sendgrid"))
    desk.servers.add(id="s", name="S", provider=provider, sender=f"{account}@example.com")
    desk.servers.send_test("s", to="me@example.org")
    desk.servers.activate("s")
    desk.routes.add(ROUTE, servers=["s"])


def waiting(account: str, count: int) -> list[NewMail]:
    """As ``enqueue`` writes it, all of one letter."""
    letter, _ = pack(message(0))
    lane = LaneKey(account, ROUTE, "", "")
    return [NewMail(uid=f"{account}-{number}", lane=lane, cost=1, letter=letter) for number in range(count)]


def test_a_backlog_of_one_account_starves_none_of_ten_others_over_three_processes(stage: Stage) -> None:
    for account in ("big", *SMALL):
        furnish(stage, account)
    stage.sandbox.clear()
    storage = stage.mailer._context.storage
    storage.enqueue(waiting("big", BACKLOG))
    workers = [stage.start("run", gate=True, concurrency=CONCURRENCY, poll=50) for _ in range(WORKERS)]
    stage.release(WORKERS)
    assert eventually(lambda: stage.sandbox.count("sendgrid") >= 50)
    storage.enqueue([mail for account in SMALL for mail in waiting(account, EACH)])  # at one instant
    before = stage.sandbox.count("sendgrid")
    assert eventually(lambda: not any(storage.counts(account) for account in SMALL))
    for worker in workers:
        worker.terminate()
    stage.finished(*workers)
    received = stage.sandbox.received("sendgrid")
    assert len({mail.id for mail in received}) == len(received)
    arrived = [mail.sender.partition("@")[0] for mail in received]
    assert Counter(arrived) - Counter(big=BACKLOG) == dict.fromkeys(SMALL, EACH)
    # Once there is other mail, what is in hand of the backlog goes first; then it has an equal share.
    others = [place for place, account in enumerate(arrived) if account != "big"]
    first, last = others[0], others[-1]
    assert first <= before + IN_HAND
    assert arrived[first:last].count("big") <= IN_HAND + EACH + APART
    # And the ten are served alike: when the first of them has had all its mail, the others lack little.
    done = next(place for place in others if arrived[: place + 1].count(arrived[place]) == EACH)
    shares = Counter(arrived[: done + 1])
    assert all(shares[account] >= EACH - APART for account in SMALL), shares
