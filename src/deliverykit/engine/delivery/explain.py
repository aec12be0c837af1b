"""The dry run: what ``send()`` would do with a message now, and why. Asked in one step, and nothing is written."""

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from deliverykit.contracts.storage import Step, View
from deliverykit.engine.admission.admit import Admission, Grant, Refusal, Standings, admit
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.decisions import braked, keeps, without
from deliverykit.engine.admission.gates import ACCOUNT, BRAKE, CIRCUIT, brake_name, circuit
from deliverykit.engine.admission.lanes import Ticket, hashed, own_lane
from deliverykit.engine.admission.reasons import unable
from deliverykit.engine.context import Context
from deliverykit.engine.delivery.intake import judged, refusal, typed
from deliverykit.engine.ports import Ports
from deliverykit.limits import Brake, Slowed
from deliverykit.records.route import Route
from deliverykit.records.server import DeliveryServer
from deliverykit.words.clock import NEVER, instant, moment
from deliverykit.words.message import Message
from deliverykit.words.outcomes import first_rest
from deliverykit.words.results import Explanation, SendStatus, ServerView, Wait

__all__ = ["explain"]


async def explain(context: Context, ports: Ports, account: str, message: Message, route: str) -> Explanation:
    """What ``send()`` would do with it now, and why; spends and writes nothing."""
    message = typed(message)
    config = await ports.store(context.catalog.fresh, account)
    config.usable(route)

    def make(config: Config) -> Survey:
        found = judged(context, config, message, config.members(route), config.route(route).strategy)
        problem = refusal(context, message) or _doubtful(context, message, config.route(route))
        lacking = dict.fromkeys(found.refusals, (problem,)) if problem else found.refusals
        return Survey(
            config=config, route=route, ticket=found.ticket, message=message, patience=context.max_wait,
            problem=problem, lacking=lacking,
        )  # fmt: skip

    return await context.decided(ports, account, make)


def _doubtful(context: Context, message: Message, route: Route) -> str:
    if keeps(route) or not first_rest(message.in_doubt or route.in_doubt, context.lease):
        return ""
    return "in_doubt: the route rejects what cannot go now, so nothing waits on it to be sent again; give in_doubt='hold'"


@frozen(kw_only=True)
class Survey:
    """The same questions as ``send()`` asks, on the same records, and what each server of the route has to say."""

    config: Config
    route: str
    ticket: Ticket
    message: Message
    patience: int
    """How many ms ``send()`` waits for a pace."""
    problem: str = ""
    """Why the message is refused whatever the servers."""
    lacking: Mapping[str, tuple[str, ...]]
    """Why each server can never carry it, by id."""

    def __call__(self, view: View) -> Step[Explanation]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        self.config.current(view)
        members = self.config.members(self.route)
        lacking = {one.id: self.lacking.get(one.id, ()) for one in members}
        able = [one for one in members if not lacking[one.id]]
        candidates = self.config.candidates(self.config.route(self.route), self._ticket(view), self.message.stream)
        standings = Standings(candidates, view.records, view.now)
        order = standings.order(self._cost)
        admission = self._admission(standings)
        grant = next(iter(admission.grants), None)
        answer = self._answer(view.now, able, grant, admission.refusal)
        taker = answer.server
        return Step(
            result=evolve(
                answer,
                order=order,
                fallback_for=self._instead(standings, able, taker) if taker else None,
                servers=tuple(self._server(one, lacking[one.id], standings, grant if taker else None) for one in members),
            )
        )

    def _ticket(self, view: View) -> Ticket:
        """As ``send()`` would go by it: a From domain that a server of the route has stopped has a lane of its own."""
        sender = self.message.sender
        if sender is None:
            return self.ticket
        for server in self.config.members(self.route):
            stopped = BRAKE.domains(view.records[ACCOUNT].get(brake_name(server.id), ()))
            if server.sender is None and (
                hashed(sender.domain) in stopped or self.config.domain_held(sender.domain, server.id) is not None
            ):
                return own_lane(self.ticket, sender.domain)
        return self.ticket

    @property
    def _cost(self) -> int:
        return len(self.message.recipients)

    def _admission(self, standings: Standings) -> Admission:
        """As ``send()`` would be answered; where only a pace refuses, when it asks again, as long as it does."""
        if (refusal := braked(self.config) or self._held()) is not None:
            return Admission((), refusal, (None,) * len(standings.records))
        now, patience = standings.now, self.patience
        while True:
            admission = admit(standings.candidates, [self._cost], standings.records, now)
            refusal = admission.refusal
            if refusal is None or not refusal.paces or refusal.at - now > patience:
                return admission
            wait = max(refusal.at - now, 1)
            patience -= wait
            now += wait

    def _held(self, server: str = "") -> Refusal | None:
        """Why its lane waits for a person: at every server, or at this one too."""
        hold = self.config.held(self.config.route(self.route).name, self.message.stream, self.ticket, server)
        if hold is None and server and self.message.sender is not None and self.config.servers[server].sender is None:
            hold = self.config.domain_held(self.message.sender.domain, server)
        return Refusal(NEVER, hold.reason, braked=True) if hold is not None else None

    def _answer(self, now: int, able: Sequence[DeliveryServer], grant: Grant | None, refusal: Refusal | None) -> Explanation:
        """The whole, without its servers."""
        keep = keeps(self.config.route(self.route))
        plain = Explanation(route=self.route, server=None, goes_at=None, servers=(), status=SendStatus.REJECTED)
        if self.problem:
            return evolve(plain, reason=self.problem)
        if not able:
            return evolve(plain, reason="no server of the route can ever carry it")
        if self.message.expires_at is not None and instant(self.message.expires_at) <= now:
            return evolve(plain, reason="its expires_at has passed")
        if self.message.send_at is not None and instant(self.message.send_at) > now:
            if not keep:
                return evolve(plain, goes_at=self.message.send_at, reason="the route keeps no mail that waits for its send_at")
            return evolve(plain, status=SendStatus.QUEUED, goes_at=self.message.send_at, reason="it waits for its send_at")
        if grant is not None:
            later = moment(grant.start) if grant.start > now else None
            return evolve(plain, server=grant.server, goes_at=later, status=SendStatus.ACCEPTED)
        at = moment(refusal.at if refusal else NEVER)
        words = "" if refusal is None else refusal.words
        if refusal is not None and refusal.nobody:
            words = without(self.config, self.config.route(self.route))
        return evolve(plain, goes_at=at, status=SendStatus.QUEUED if keep else SendStatus.REJECTED, reason=words)

    def _instead(self, standings: Standings, able: Sequence[DeliveryServer], taker: str) -> str | None:
        """Who would come first if every server were in the order and had quota; ``None`` where that is the taker."""
        circuits = {name for one in able for name in (circuit(one).name, brake_name(one.id))}
        stream = self.message.stream
        gates = {one.id: tuple(gate for gate in self.config.gates(one, stream) if gate.name not in circuits) for one in able}
        whole = evolve(standings, candidates=evolve(standings.candidates, gates=gates))
        first = next(iter(whole.order(self._cost)), taker)
        return first if first != taker else None

    def _server(
        self, server: DeliveryServer, lacking: tuple[str, ...], standings: Standings, grant: Grant | None
    ) -> ServerView:
        view = ServerView(server=server.id, name=server.name, verdict="is passed over")
        if lacking:
            return evolve(view, verdict="never", reason="; ".join(lacking))
        if not server.active:
            return evolve(view, reason=unable(server))
        if grant is not None and grant.server == server.id:
            later = grant.start > standings.now
            view = evolve(view, reason=self._slowed(server, standings))
            return evolve(view, verdict="takes it" if later else "takes it now", at=moment(grant.start) if later else None)
        if (refusal := braked(self.config) or self._held(server.id)) is not None:
            return evolve(view, verdict="waits", reason=refusal.words)
        if server.id not in standings.candidates.gates:
            return evolve(view, reason="; ".join(self.ticket.refuses(server)))
        order = standings.order(self._cost)
        refusals = standings.refusals(server.id, self._cost)
        waits = tuple(Wait(one.words, moment(one.at)) for one in refusals)
        state = standings.records[0].get(circuit(server).name, ())
        if CIRCUIT.is_open(state) and server.id not in order:
            words = f"its circuit is open, after {state[0]} faults in a row"
            return evolve(view, reason=words, at=moment(CIRCUIT.probe_at(state)), waits=waits)
        brake = next((gate.limit for gate in standings.candidates.gates[server.id] if isinstance(gate.limit, Brake)), BRAKE)
        state = standings.records[ACCOUNT].get(brake_name(server.id), ())
        if brake.is_open(state) and server.id not in order:
            words = f"its circuit is open: it refused {brake.run} messages for the same reason, and is tried by one at a time"
            return evolve(view, reason=words, at=moment(brake.probe_at(state)), waits=waits)
        if refusals:
            slow = self._slowed(server, standings) if refusals[0].by.startswith("pace of ") else ""
            return evolve(view, verdict="waits", reason=slow or refusals[0].words, at=waits[0].until, waits=waits)
        if server.id not in order:
            return evolve(view, reason="the route's router leaves it out")
        return evolve(view, reason="another comes first in the order" if server.id != order[0] else "could take it now")

    def _slowed(self, server: DeliveryServer, standings: Standings) -> str:
        """Where its ESP was asked too fast, what gap it keeps."""
        for gate in self.config.gates(server):
            if isinstance(gate.limit, Slowed):
                gap = gate.limit.gap(gate.known(standings.records[ACCOUNT]), standings.now)
                return f"slowed to one email in {gap / 1000:g} s, because its ESP was asked too fast" if gap else ""
        return ""
