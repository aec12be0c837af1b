"""From, recipients and our id at Mailgun: nothing on the way can change them."""

import io
from email import policy
from email.parser import BytesParser
from email.utils import getaddresses
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from werkzeug.formparser import FormDataParser

from deliverykit.contracts.provider import Outgoing
from deliverykit.providers.mailgun import Mailgun
from deliverykit.words.errors import ConfigurationError, MessageError
from deliverykit.words.wire import HttpRequest
from outgoing_mail import NOW, OUR_ID, outgoing

MAILGUN = Mailgun(api_key="key-1", domain="mg.example.com")
EVIL = "evil@evil.example"
RAW = b"Subject: x\r\n\r\nbody"


def form(request: HttpRequest) -> tuple[dict[str, list[str]], bytes]:
    kind, _, rest = request.headers["Content-Type"].partition(";")
    parser = FormDataParser(stream_factory=lambda **_: io.BytesIO(), silent=False)
    boundary = rest.strip().removeprefix("boundary=")
    _, fields, files = parser.parse(io.BytesIO(request.body), kind, len(request.body), {"boundary": boundary})
    return {name: fields.getlist(name) for name in fields}, files["message"].stream.read() if "message" in files else b""


FIELDS = [
    "from", "to", "cc", "bcc", "recipient-variables", "message", "v:deliverykit_id", "h:From", "h:Sender", "h:To", "h:Cc", "h:Bcc",
    "h:Return-Path", "h:Resent-To", "h:Resent-From", "h:X-Deliverykit-Id", "h:X-Mailgun-Variables", "h:X-Mailgun-Recipient-Variables",
]  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("spell", [str, str.upper, str.title, str.swapcase])
@pytest.mark.parametrize("raw", [{}, {"raw": RAW}])
def test_extra_cannot_touch_what_mailgun_promises(field: str, spell: Any, raw: dict[str, bytes]) -> None:
    with pytest.raises(MessageError, match="cannot be changed this way"):
        MAILGUN.request(outgoing(**raw, extra={"mailgun": {spell(field): EVIL}}), NOW)


def test_a_stored_template_cannot_bring_its_from_into_raw_mail() -> None:
    with pytest.raises(MessageError, match="template"):
        MAILGUN.request(outgoing(raw=RAW, extra={"mailgun": {"template": "t"}}), NOW)
    assert form(MAILGUN.request(outgoing(extra={"mailgun": {"template": "t"}}), NOW))[0]["template"] == ["t"]


@pytest.mark.parametrize(
    "field",
    [
        "to[]",
        "to[1]",
        "from ",
        " to",
        "h:From ",
        "h: From",
        "h:From:",
        "h:Fr om",
        'to"; name="x',
        "to\r\nX: y",
        "h:\r\nFrom",
        "tö",
        "",
    ],
)
def test_another_spelling_of_a_field_is_no_field(field: str) -> None:
    with pytest.raises(MessageError, match="not a field name"):
        MAILGUN.request(outgoing(extra={"mailgun": {field: EVIL}}), NOW)


@given(key=st.text(max_size=24), prefix=st.sampled_from(["", "h:", "H:", "v:", "to", "from", "h:from", "bcc"]))
def test_whatever_the_key_extra_adds_no_sender_and_no_recipient(key: str, prefix: str) -> None:
    name = prefix + key
    try:
        request = MAILGUN.request(outgoing(extra={"mailgun": {name: EVIL}}), NOW)
    except MessageError:
        return
    fields, _ = form(request)
    assume(fields)
    assert (fields["from"], fields["to"], fields["v:deliverykit_id"]) == (
        ["News <news@example.com>"],
        ["ann@example.org"],
        [OUR_ID],
    )
    touched = {one.strip().lower().rstrip(": ") for one, values in fields.items() if values == [EVIL]}
    assert not touched & {one.lower() for one in FIELDS}


@pytest.mark.parametrize("name", ["Resent-To", "resent-bcc", "X-Mailgun-Recipient-Variables"])
def test_a_header_cannot_touch_what_mailgun_promises(name: str) -> None:
    with pytest.raises(MessageError, match="headers"):
        MAILGUN.request(outgoing(headers={name: EVIL}), NOW)


# -- raw MIME -------------------------------------------------------------------------------------

HEADS = {
    "plain": b"From: evil@evil.example\r\nSender: evil@evil.example\r\n",
    "odd case": b"fRoM: evil@evil.example\r\nSENDER: evil@evil.example\r\n",
    "folded": b"From:\r\n evil@evil.example\r\nSender:\r\n\tevil@evil.example\r\n",
    "blank before the colon": b"From : evil@evil.example\r\nSender\t: evil@evil.example\r\n",
    "line feeds": b"X: y\nFrom: evil@evil.example\nSender: evil@evil.example\n",
    "leading blank lines": b"\r\n\r\nFrom: evil@evil.example\r\n",
    "leading blank": b" From: evil@evil.example\r\nSender: evil@evil.example\r\n",
    "bcc and envelope": b"Bcc: evil@evil.example\r\nReturn-Path: <evil@evil.example>\r\nResent-Bcc: evil@evil.example\r\nResent-From: evil@evil.example\r\n",
    "our id": b"X-Deliverykit-Id: evil@evil.example\r\n",
}


def check_raw(mail: Outgoing) -> None:
    fields, raw = form(MAILGUN.request(mail, NOW))
    read = BytesParser(policy=policy.compat32).parsebytes(raw)
    assert read.get_all("From") == ["News <news@example.com>"]
    assert read.get_all("X-Deliverykit-Id") == [OUR_ID]
    for name in ("Sender", "Bcc", "Return-Path", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Bcc"):
        assert name not in read
    assert (fields["to"], fields["v:deliverykit_id"]) == (["ann@example.org"], [OUR_ID])
    assert not set(fields) & {"from", "cc", "bcc"}


def carried_rightly_or_refused(raw: bytes) -> None:
    try:
        mail = outgoing(raw=raw)
        MAILGUN.request(mail, NOW)
    except MessageError:
        return
    check_raw(mail)


@pytest.mark.parametrize("head", HEADS)
def test_raw_mail_cannot_keep_another_from(head: str) -> None:
    mail = outgoing(raw=HEADS[head] + b"Subject: x\r\n\r\nbody")
    check_raw(mail)
    assert EVIL.encode() not in form(MAILGUN.request(mail, NOW))[1]


_PIECES = [
    b"From",
    b"from",
    b"Sender",
    b"Bcc",
    b"Resent-To",
    b"X-Deliverykit-Id",
    b":",
    b" ",
    b"\t",
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n ",
    b"a@evil.example",
]


@given(head=st.lists(st.one_of(st.sampled_from(_PIECES), st.binary(max_size=3)), max_size=12).map(b"".join))
def test_no_header_block_gets_a_sender_past_us(head: bytes) -> None:
    carried_rightly_or_refused(b"Subject: x\r\n" + head + b"\r\n\r\nbody")


@pytest.mark.parametrize(
    "head", [b"From: a@evil.example\r\nX: y\r\nFROM: b@evil.example\r\n", b"From: a@evil.example, b@evil.example\r\n"]
)
def test_raw_mail_of_several_authors_has_ours_alone(head: bytes) -> None:
    carried_rightly_or_refused(head + RAW)


def test_a_bare_cr_among_raw_headers_is_refused() -> None:
    with pytest.raises(MessageError, match="CR without LF"):
        MAILGUN.request(outgoing(raw=b"Subject: x\rFrom: evil@evil.example\r\n\r\nbody"), NOW)


@pytest.mark.parametrize("name", [b"X-Mailgun-Variables", b"x-mailgun-recipient-variables"])
def test_raw_mail_cannot_carry_mailgun_s_own_variables(name: bytes) -> None:
    with pytest.raises(MessageError, match="raw"):
        MAILGUN.request(outgoing(raw=name + b': {"deliverykit_id": "x"}\r\n' + RAW), NOW)


# -- subclasses -----------------------------------------------------------------------------------


class PooledMailgun(Mailgun):
    """What a host writes to change one thing."""

    name = "pooled-mailgun"

    def payload(self, mail: Outgoing) -> dict[str, Any]:
        return super().payload(mail) | {"o:sending-ip-pool": "transactional"}


def test_a_subclass_of_mailgun_in_ten_lines() -> None:
    mine = PooledMailgun(api_key="k", domain="mg.example.com")
    fields, _ = form(mine.request(outgoing(extra={"mailgun": {"o:testmode": "yes"}}), NOW))
    assert (fields["o:sending-ip-pool"], fields["o:testmode"]) == (["transactional"], ["yes"])


@pytest.mark.parametrize("field", FIELDS)
def test_a_subclass_cannot_touch_what_mailgun_promises(field: str) -> None:
    class Greedy(Mailgun):
        def payload(self, mail: Outgoing) -> dict[str, Any]:
            return super().payload(mail) | {field.swapcase(): EVIL}

    with pytest.raises(ConfigurationError, match="library promises"):
        Greedy(api_key="k", domain="mg.example.com").request(outgoing(), NOW)


@pytest.mark.parametrize("field", ["from", "to", "v:deliverykit_id", "h:X-Deliverykit-Id"])
def test_a_subclass_cannot_leave_out_what_mailgun_promises(field: str) -> None:
    class Forgetful(Mailgun):
        def payload(self, mail: Outgoing) -> dict[str, Any]:
            return {name: value for name, value in super().payload(mail).items() if name != field}

    with pytest.raises(ConfigurationError, match="library promises"):
        Forgetful(api_key="k", domain="mg.example.com").request(outgoing(), NOW)


@pytest.mark.parametrize("method", ["request", "sealed", "encode"])
def test_the_seal_of_mailgun_cannot_be_overridden(method: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be overridden"):
        type("Opened", (Mailgun,), {method: lambda *_: None})


def test_the_from_is_the_server_s_own_also_where_it_forces_none() -> None:
    fields, _ = form(MAILGUN.request(outgoing(forced=False), NOW))
    assert getaddresses(fields["from"]) == [("News", "news@example.com")]
