"""Erasing a person leaves nothing of them in any byte of the store, while the program runs."""

import base64
import html
import json
import pickle
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from email.message import EmailMessage
from urllib.parse import quote

import pytest
from engine_kit import World, message
from hypothesis import given
from hypothesis import strategies as st

from deliverykit import Address, Attachment, CalendarQuota, Env, Message
from deliverykit.providers import Mailgun
from deliverykit.words.mentions import Mentions

ANN = Address("Ann.Canary@bücher.example", "Anneliese Canary")
ADDRESS, PUNYCODE = "ann.canary@bücher.example", "ann.canary@xn--bcher-kva.example"

SPELLINGS = {
    "plain": ADDRESS,
    "upper": ADDRESS.upper(),
    "punycode": PUNYCODE,
    "percent": quote(ADDRESS, safe=""),
    "percent twice": quote(quote(ADDRESS, safe=""), safe=""),
    "entity": ADDRESS.replace("@", "&#64;"),
    "named entity": PUNYCODE.replace("@", "&commat;").replace(".", "&period;"),
    "hex entity": ADDRESS.replace("@", "&#x40;"),
    "json": json.dumps(ADDRESS.replace("@", "\u0040")).replace("@", "\\u0040"),
    "encoded word": f"=?utf-8?b?{base64.b64encode(ADDRESS.encode()).decode()}?=",
    "quoted word": "=?UTF-8?Q?ann=2Ecanary=40b=C3=BCcher.example?=",
    "quoted-printable": PUNYCODE.replace("@", "=40"),
    "base64": base64.b64encode(PUNYCODE.encode()).decode(),
    "base64 of a line": base64.b64encode(f"recipient {PUNYCODE} is blocked".encode()).decode(),
    "base64 url": base64.urlsafe_b64encode(f"?>{PUNYCODE}?>".encode()).decode().rstrip("="),
    "name": "Anneliese Canary",
    "name upper": "ANNELIESE  CANARY",
    "name reversed": "Canary, Anneliese",
    "name encoded": "=?utf-8?q?Anneliese_Canary?= <x>",
    "name percent": "Anneliese%20Canary",
    "zero width": ADDRESS.replace("@", "\u200b@"),
    "full width": ADDRESS.replace("@", "＠"),
    "mailto": f"<mailto:{quote(PUNYCODE)}?subject=x>",
    "quoted local part": '"ann.canary"@xn--bcher-kva.example',
    "escaped signs": ADDRESS.replace("@", "\\@").replace(".", "\\."),
    "json behind an escape": json.dumps("\n" + PUNYCODE),
    "long escapes": ADDRESS.replace("@", "\\U00000040"),
    "escapes in braces": ADDRESS.replace("@", "\\u{40}"),
    "old javascript": ADDRESS.replace("@", "%u0040"),
    "hexadecimal": PUNYCODE.encode().hex(),
    "base64 behind text": "id/" + base64.b64encode(f"to {PUNYCODE}".encode()).decode(),
    "folded": ADDRESS.replace("@", "@\r\n "),
    "folded domain": PUNYCODE.replace("kva", "k\r\n va"),
    "bounce": f"bounce+{PUNYCODE.replace('@', '=')}@esp.example",
    "rewritten": "SRS0=abc=de=xn--bcher-kva.example=ann.canary@esp.example",
    "relay": PUNYCODE.replace("@", "%") + "@relay.example",
    "at in brackets": ADDRESS.replace("@", " [at] "),
    "at in words": ADDRESS.replace("@", " at "),
    "ideographic dot": ADDRESS.replace(".example", "\u3002example"),
    "name of a form": "Anneliese+Canary",
    "html link": html.escape(f'<a href="mailto:{PUNYCODE}">x</a>').replace("@", "&#64;"),
}


def canaries(text: bytes) -> list[str]:
    """Which of the spellings stand in some bytes."""
    words = {*SPELLINGS.values(), "ann.canary", "nneliese", base64.b64encode(PUNYCODE.encode()).decode()[4:20]}
    lowered = text.lower()
    return [word for word in words if word.encode().lower() in lowered or word.encode("utf-16-le").lower() in lowered]


def stored(world: World) -> dict[str, list[str]]:
    # In a process of its own: to close a file here would drop this process's locks on it.
    read = "import pathlib, pickle, sys; folder = pathlib.Path(sys.argv[1]); "
    read += "pickle.dump({p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}, sys.stdout.buffer)"
    done = subprocess.run([sys.executable, "-c", read, str(world.path.parent)], capture_output=True, check=True)
    found = {name: canaries(content) for name, content in pickle.loads(done.stdout).items()}
    return {name: words for name, words in found.items() if words}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_found(spelling):
    mentions = Mentions(ANN)
    for around in ("{}", "550 5.1.1 <{}>: no such user", "x={};y", "\n{}\n", "({})"):
        assert mentions.named(around.format(SPELLINGS[spelling]))
    assert Mentions(Address(PUNYCODE, ANN.name)).named(SPELLINGS[spelling])


@pytest.mark.parametrize(
    "text",
    ["", "550 no such user", "ann@bücher.example", "Anneliese", "canary", "ann.canary@example.org", "joann.canaryx", "%%%=?x"],
)
def test_other_texts_are_kept(text):
    assert not Mentions(ANN).named(text)


OTHERS = [
    "joann.canary@{}", "x.ann.canary@{}", "x+ann.canary@{}", "x-ann.canary@{}", "_ann.canary@{}", "ann.canary@{}.example.org",
    "ann.canary@{}x", "ann.canary@{}-x.example", "ann.canary@x.{}", "ann.canary+x@{}", "ann.canary.x@{}",
]  # fmt: skip


@pytest.mark.parametrize("other", OTHERS)
def test_addresses_that_contain_another_are_kept(other):
    mentions = Mentions(ANN)
    for domain in ("bücher.example", "xn--bcher-kva.example"):
        address = other.format(domain)
        for text in (address, f"550 <{address}>: no such user", quote(address, safe=""), json.dumps(address), address.upper()):
            assert not mentions.named(text), text


def test_erasing_one_keeps_what_is_told_of_another(world):
    mailer = world.mailer()
    world.server(mailer, "s")
    mailer.routes.add("r", ["s"])
    for one in ("ann@example.org", "joann@example.org"):  # quoted in the refusal of a message to somebody else
        world.sandbox.fault("sendgrid", "rejected", text=f"no mailbox {one}, id/{base64.b64encode(one.encode()).decode()}")
        mailer.send(message("x", to="bob@example.org"), route="r")
    mailer.servers.pause("s", reason="asked for by joann@example.org")
    mailer.erase("ann@example.org")
    assert mailer.servers.get("s").reason == "asked for by joann@example.org"
    assert [one.detail for one in mailer.log.list() if "joann@example.org" in one.detail]
    assert not [one.detail for one in mailer.log.list() if " ann@example.org" in one.detail]


@given(st.text(), st.sampled_from(sorted(SPELLINGS)), st.text(alphabet=" \t\n<>()[]:;,'\"", min_size=1, max_size=3))
def test_a_spelling_is_found_in_any_text(text, spelling, gap):
    """Whatever stands around it, and no text raises."""
    Mentions(ANN).named(text)
    plain = text.replace("%", "").replace("&", "").replace("=", "").replace("\\", "").replace("?", "")
    assert Mentions(ANN).named(f"{plain}{gap}{SPELLINGS[spelling]}{gap}{plain}")


def idle(mailer):
    """A server that is PAUSED: mail waits for it."""
    mailer.servers.add(id="s", name="S", provider=Mailgun(api_key=Env("X"), domain="example.com"), sender="n@example.com")
    return mailer


def busy(world, mailer, count=40):
    """A store in use: mail to the person in every state, refusals that name them in every spelling, and others' mail."""
    world.server(mailer, "s")
    world.server(mailer, "raw", "mailgun")
    mailer.servers.update("raw", quota=CalendarQuota(day=0))
    mailer.routes.add("r", ["s", "raw"])
    for number, text in enumerate(SPELLINGS.values()):
        world.sandbox.fault("sendgrid", "rejected", text=f"refused {text}")
        mailer.send(message(f"other{number}"), route="r")
        world.sandbox.fault("sendgrid", "rejected", text=f"refused {text}")
        mailer.send(message(to=ANN, idempotency_key=f"hi {ADDRESS}"), route="r") if not number else None
    mailer.send(message(to=ANN, idempotency_key=f"welcome-{ADDRESS}"), route="r")
    mailer.servers.update("s", quota=CalendarQuota(day=0))
    file = Attachment(filename=f"invoice for {PUNYCODE}.pdf", content=f"Dear Anneliese Canary, {ADDRESS}".encode() * 900)
    for number in range(count):
        mailer.enqueue([message(to=ANN, text=f"Dear Anneliese Canary <{ADDRESS}> {number} " * 40)], route="r")
        mailer.enqueue([message(to=[ANN, f"bob{number}@example.org"])], route="r")
        mailer.enqueue([message(number, text="Hello " * 100)], route="r")
    mailer.enqueue([message(to=ANN, attachments=[file])], route="r")
    raw = EmailMessage()
    raw["Subject"], raw["From"], raw["To"] = "Hi", "ann@example.com", str(ANN.ascii)
    raw.set_content("Dear Anneliese Canary, ann.canary@bücher.example ünicode", cte="base64")
    mailer.enqueue([Message(raw=raw.as_bytes(), sender="ann@example.com", to=ANN)], route="r")
    mailer.outbox.cancel(ids=mailer.enqueue([message(to=ANN)], route="r"))
    mailer.servers.pause("s", reason=f"complained: {SPELLINGS['percent']}")
    mailer.pause_all(f"by {SPELLINGS['entity']}")


def test_no_byte_of_a_person_is_left(world):
    mailer = world.mailer()
    busy(world, mailer)
    other = world.mailer()  # another connection of the same program
    assert len(other.outbox.list(limit=10)) == 10
    assert stored(world), "there must be something to find"
    erased = mailer.erase(ANN)
    assert stored(world) == {}
    assert erased.removed
    assert erased.changed
    assert not erased.pending
    assert not erased.mentioned
    assert erased.log
    assert sum(other.outbox.counts().values()) == sum(mailer.outbox.counts().values())
    assert mailer.log.list(recipient=ANN) == ()


def test_an_address_without_a_name_finds_the_name_too(world):
    mailer = world.mailer()
    busy(world, mailer, 3)
    mailer.erase(PUNYCODE.upper())
    assert stored(world) == {}


def test_the_key_of_an_erased_mail_is_free_again(world):
    mailer = world.mailer()
    world.server(mailer, "s")
    alone = message(to="ann@example.org", idempotency_key="ann@example.org")
    shared = message(to=["ann@example.org", "bob@example.org"], idempotency_key="ann+bob")
    first, both = mailer.send(alone), mailer.send(shared)
    assert mailer.send(alone).id == first.id
    waiting = mailer.enqueue([message(to="ann@example.org", idempotency_key="waits")])
    mailer.erase("ann@example.org")
    assert mailer.send(alone).id != first.id
    assert mailer.enqueue([message(to="ann@example.org", idempotency_key="waits")]) != waiting
    assert mailer.send(shared).id == both.id, "bob must not get it twice"


def test_idempotency_keys_are_keyed_hashes(world, restarted):
    import hashlib

    mailer = idle(world.mailer())
    mailer.enqueue([message(idempotency_key="welcome-ann@example.org")])
    with closing(sqlite3.connect(world.path)) as books:
        ((key, print_),) = books.execute("select key, print from dk_once").fetchall()
    assert key != hashlib.sha256(b"welcome-ann@example.org").hexdigest()
    other = world.path.with_name("other.db")
    another = idle(world.mailer(url=f"sqlite:///{other}", secret_key="x" * 42 + "w"))
    another.enqueue([message(idempotency_key="welcome-ann@example.org")])
    with closing(sqlite3.connect(other)) as books:
        ((key2, print2),) = books.execute("select key, print from dk_once").fetchall()
    assert key != key2
    assert print_ != print2


def test_an_idempotency_key_survives_a_new_secret_key(world, restarted):
    from engine_kit import KEY, OTHER_KEY

    mailer = idle(world.mailer(secret_key=None))
    one, two = message(1, idempotency_key="one"), message(2, idempotency_key="two")
    first = mailer.enqueue([one])
    mailer = restarted(secret_key=KEY)
    assert mailer.enqueue([one, two])[:1] == first
    second = mailer.enqueue([two])
    mailer = restarted(secret_key=[OTHER_KEY, KEY])
    assert mailer.enqueue([two, one]) == [*second, *first]


READER = """
    import sqlite3, sys
    books = sqlite3.connect(sys.argv[1], isolation_level=None)
    books.execute("begin")
    books.execute("select count(*) from dk_letter").fetchone()
    print("reads", flush=True)
    sys.stdin.readline()
"""


def test_a_reader_elsewhere_is_reported_and_outlived(world):
    """Another process holds an older state: the result says so, and a worker finishes once it has let go."""
    mailer = world.mailer()
    busy(world, mailer, 3)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(READER), str(world.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "reads\n"
        erased = mailer.erase(ANN)
        assert erased.pending
        assert set(stored(world)) <= {"mail.db-wal", "mail.db"}
        assert stored(world)
        world.clock.advance(60)
        mailer.worker().drain()
        assert stored(world), "the reader still has it"
    finally:
        process.communicate("\n")
    another = world.mailer()
    world.clock.advance(60)
    another.worker().drain()
    assert stored(world) == {}
    assert not mailer.erase(ANN).pending


@pytest.mark.parametrize("text", ["naming nobody", f"for {ADDRESS}", f"<b>{ADDRESS.replace('@', '&#64;')}</b>"])
def test_mail_to_others_that_names_the_person_is_reported(world, text):
    mailer = idle(world.mailer())
    (uid,) = mailer.enqueue([message(to="bob@example.org", html=text)])
    raw = EmailMessage()
    raw["Subject"], raw["From"], raw["To"] = "Hi", "ann@example.com", "bob@example.org"
    raw.set_content(text + " ü" * 50, cte="base64")
    (sent,) = mailer.enqueue([Message(raw=raw.as_bytes(), sender="ann@example.com", to="bob@example.org")])
    erased = mailer.erase(ANN)
    assert set(erased.mentioned) == (set() if "nobody" in text else {uid, sent})
    assert not erased.removed


KEYS = [
    "kGeQ8vX7JpZ0c5d-_Y1rT2bW3nM4qL6sA9hF0uEiO8k",
]


@pytest.mark.parametrize(
    "spell",
    [
        lambda key: key + "=",
        lambda key: key,
        lambda key: (key + "=").encode(),
        lambda key: f"  {key}=\n",
        lambda key: f"{key}=\r\n".encode(),
        lambda key: key.replace("-", "+").replace("_", "/") + "=",
        lambda key: [key, key + "="],
    ],
    ids=["padded", "bare", "bytes", "blanks", "line end", "standard", "twice"],
)
def test_all_spellings_of_a_key_are_one_key(world, restarted, spell):
    key = KEYS[0]
    mailer = world.mailer(secret_key=key + "=")
    world.server(mailer, "s")
    mailer.send(message(to="ann@example.org", idempotency_key="once"))
    mailer = restarted(secret_key=spell(key))
    assert mailer.servers.get("s").active
    assert len(mailer.log.list(recipient="ann@example.org")) == 1
    assert mailer.send(message(to="ann@example.org", idempotency_key="once")).repeated
    mailer.erase("ann@example.org")
    mailer = restarted(secret_key=key + "=")
    assert mailer.log.list(recipient="ann@example.org") == ()


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        [],
        [""],
        "short",
        KEYS[0][:-1],
        KEYS[0] + "A",
        KEYS[0] + "==A",
        KEYS[0][:20] + " " + KEYS[0][20:],
        5,
        b"\xff" * 32,
        ["x", 5],
        {},
    ],
)
def test_what_is_no_key_is_refused(world, wrong):
    from deliverykit import ConfigurationError

    with pytest.raises(ConfigurationError, match="secret_key"):
        world.mailer(secret_key=wrong)
