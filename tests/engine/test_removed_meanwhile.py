"""Another process acts between any two steps of a removal, and a removal between any two of its steps: nothing is stranded."""

from datetime import timedelta

import pytest
from engine_kit import NOON, message, messages

from deliverykit import ConfigurationError, DeliveryError, NotFound
from deliverykit.words.results import SendStatus


class Between:
    """A storage; before its n-th call somebody else does something, once."""

    def __init__(self, inner):
        self._inner = inner
        self.calls = 0
        self.at = None
        self.meanwhile = None

    def arm(self, at, meanwhile):
        self.calls, self.at, self.meanwhile = 0, at, meanwhile

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def call(*given, **named):
            self.calls += 1
            if self.calls == self.at:
                self.meanwhile()
            return value(*given, **named)

        return call


class Scene:
    """Two Mailers on one file: one acts step by step, the other in between. All that was acknowledged is remembered."""

    def __init__(self, world):
        self.world = world
        self.other = world.mailer()
        world.server(self.other, "a")
        world.server(self.other, "b")
        for route in ("r", "to"):
            self.other.routes.add(route, ["a"])
        self.between = Between(self.other._context.storage)
        self.mailer = world.mailer(url=self.between)
        self.mailer.servers.list()
        self.acknowledged = []
        (dead,) = self.other.enqueue([message("dead")], route="r")
        self.other.outbox.cancel(ids=[dead])
        self.dead = dead

    def holds(self):
        """Every message that was acknowledged is on a route that is there, or dead with a reason."""
        routes = {route.name for route in self.other.routes.list()} | {"default"}
        left = {one.id: one for one in self.other.outbox.list(limit=100)}
        for id_ in self.acknowledged:
            one = left[id_]
            assert one.route in routes or one.state == "dead", (one.state, one.route)
        assert left[self.dead].state == "dead" or left[self.dead].route in routes


def attempt(what):
    try:
        return what()
    except DeliveryError:
        return None


def enqueue(scene, mailer):
    scene.acknowledged += attempt(lambda: mailer.enqueue(messages(2), route="r")) or []


def enqueue_in_chunks(scene, mailer):
    scene.acknowledged += attempt(lambda: mailer.enqueue(messages(3), route="r", chunk=1)) or []


def schedule(scene, mailer):
    result = attempt(lambda: mailer.send(message(send_at=NOON + timedelta(days=1)), route="r"))
    scene.acknowledged += [result.id] if result is not None else []


def requeue(scene, mailer):
    attempt(lambda: mailer.outbox.requeue(ids=[scene.dead]))


def move(_scene, mailer):
    attempt(lambda: mailer.routes.remove("r", move_to="to"))


def cancel(_scene, mailer):
    attempt(lambda: mailer.routes.remove("r", cancel=True))


def remove(_scene, mailer):
    attempt(lambda: mailer.routes.remove("r"))


def remove_target(_scene, mailer):
    attempt(lambda: mailer.routes.remove("to"))


WRITERS = [enqueue, enqueue_in_chunks, schedule, requeue]
REMOVALS = [move, cancel, remove]
PAIRS = [
    *((removal, writer) for removal in REMOVALS for writer in WRITERS),
    *((writer, removal) for removal in REMOVALS for writer in WRITERS),
    (move, remove_target),
    (remove_target, move),
]


@pytest.mark.parametrize(("stepwise", "meanwhile"), PAIRS, ids=lambda one: one.__name__)
def test_what_is_acknowledged_keeps_a_route(plain, stepwise, meanwhile, tmp_path):
    for at in range(1, 60):
        plain.path = tmp_path / f"{at}.db"
        scene = Scene(plain)
        if stepwise in REMOVALS:
            scene.acknowledged += scene.other.enqueue(messages(1), route="r")
        scene.between.arm(at, lambda scene=scene: meanwhile(scene, scene.other))
        stepwise(scene, scene.mailer)
        over = scene.between.calls < at
        scene.holds()
        for mailer in plain.opened:
            mailer.close()
        plain.opened.clear()
        if over:
            break
    assert over
    assert at > 2


def test_a_server_is_not_removed_from_under_mail_in_doubt(plain, tmp_path):
    for at in range(1, 40):
        plain.path = tmp_path / f"{at}.db"
        scene = Scene(plain)
        plain.sandbox.fault("sendgrid", "reset")

        def doubt(scene=scene):
            attempt(lambda: scene.other.send(message(), server="b"))

        scene.between.arm(at, doubt)
        try:
            scene.mailer.servers.remove("b")
            removed = True
        except ConfigurationError:
            removed = False
        plain.sandbox.clear_faults()
        doubtful = [one for one in scene.other.outbox.in_doubt() if one.server == "b"]
        assert not (removed and doubtful)
        over = scene.between.calls < at
        for mailer in plain.opened:
            mailer.close()
        plain.opened.clear()
        if over:
            break
    assert over


def test_a_busy_route_is_moved_and_then_removed(world):
    mailer = world.mailer(transport=world.hasty())
    world.server(mailer, "a")
    mailer.routes.add("r", ["a"])
    mailer.routes.add("to", ["a"])
    world.sandbox.fault("sendgrid", "reset")
    result = mailer.send(message(), route="r")
    assert result.status is SendStatus.IN_DOUBT
    (waits,) = mailer.enqueue(messages(1), route="r")
    with pytest.raises(ConfigurationError, match="mail waits on route 'r' or is in flight"):
        mailer.routes.remove("r", move_to="to")
    assert mailer.outbox.get(waits).route == "to"
    mailer.outbox.resolve(ids=[result.id], as_sent=True)
    mailer.routes.remove("r", move_to="to")
    with pytest.raises(NotFound):
        mailer.routes.get("r")
