"""Settling a batch: each answer finds what those before it in the same batch have left."""

from typing import Any

import pytest

from deliverykit.contracts.books import LaneKey
from deliverykit.contracts.limit import Record
from deliverykit.contracts.storage import View
from deliverykit.engine.admission.admit import Grant
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.gates import BRAKE, brake_name, circuit, closings
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.engine.settling.batch import Landing
from deliverykit.engine.settling.settle import Settle
from deliverykit.engine.settling.verdicts import Next, Verdict
from deliverykit.providers import SendGrid
from deliverykit.records.account import Account
from deliverykit.records.server import DeliveryServer
from deliverykit.words.outcomes import About, Accepted, NotSent, Rejected, Scope

NOW = 1_795_393_800_000
SERVER = DeliveryServer(id="s", account="default", name="S", provider=SendGrid(api_key="SG.none"))
OTHER = DeliveryServer(id="o", account="default", name="O", provider=SendGrid(api_key="SG.other"))
CONFIG = Config(
    version=0, account=Account(id="default", timezone="UTC"), servers={"s": SERVER, "o": OTHER}, routes={}, budgets={}
)
ANSWERS = {
    "accepted": Verdict(next=Next.DONE, outcome=Accepted("id")),
    "fault": Verdict(next=Next.LATER, outcome=NotSent("no route"), fault=True),
    "rejected": Verdict(next=Next.BACK, outcome=Rejected("no"), reason="no", about=About.UNKNOWN),
}


def settled(*answers: str, before: Record | None = None) -> Record:
    """The limit states after a batch of answers, all of mail that was granted in one claim."""
    charges = {id_: tuple((gate, 0) for gate in CONFIG.gates(CONFIG.servers[id_], "")) for id_ in CONFIG.servers}
    landings = []
    for row, answer in enumerate(answers, 1):
        word, _, by = answer.partition(" by ")
        server = CONFIG.servers[by or "s"]
        grant = Grant(server.id, 1, NOW, NOW, NOW + 60_000, charges[server.id])
        landings.append(
            Landing(uid=f"m{row}", row=row, token="t", lane=LaneKey("default", "r", "", ""), ticket=Ticket(), server=server,
                    grant=grant, verdict=ANSWERS[word])
        )  # fmt: skip
    nothing: Any = None  # an archive is needed to write servers only
    step = Settle(CONFIG, tuple(landings), nothing)(View(NOW, 0, (before or {},)))
    assert len(step.changes) == len(answers)
    return {
        name: state for name, state in ((step.records[0] if step.records[0] is not None else before) or {}).items() if state
    }


def test_three_alike_refusals_open_the_circuit_unless_one_is_accepted_between() -> None:
    name = brake_name("s")
    assert BRAKE.is_open(settled("rejected", "rejected", "rejected")[name])
    assert not BRAKE.is_open(settled("rejected", "rejected", "accepted", "rejected", "rejected", "accepted by o")[name])
    assert not BRAKE.is_open(settled("accepted", "rejected", "rejected", "accepted", "rejected", "rejected")[name])
    assert BRAKE.is_open(settled("rejected", "rejected", "accepted by o", "rejected")[name])


@pytest.mark.parametrize(("answer", "left"), [("fault", circuit(SERVER).name)])
def test_an_accepted_mail_lifts_what_an_answer_before_it_in_its_batch_has_left(answer: str, left: str) -> None:
    assert list(settled(answer)) == [left]
    assert list(settled("accepted", answer)) == [left]
    assert settled(answer, "accepted") == {}
    assert settled("accepted", answer, "accepted") == {}
    assert list(settled("accepted", answer, "accepted", answer, "accepted by o")) == [left]
    assert settled(answer, "accepted by o", "accepted") == {}


def test_an_accepted_mail_opens_a_door_whose_time_has_come() -> None:
    door = closings(SERVER)[Scope.SERVER].name
    assert settled("accepted by o", "accepted", before={door: (NOW, 1, 0)}) == {}
    assert list(settled("accepted by o", "accepted", before={door: (NOW + 1, 1, 0)})) == [door]
