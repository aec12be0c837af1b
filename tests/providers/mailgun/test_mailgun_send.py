"""What goes to Mailgun: read back by werkzeug's parser and held against Mailgun's own description."""

import base64
import functools
import io
from email import policy
from email.header import decode_header, make_header
from email.parser import BytesParser
from email.utils import parseaddr
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from werkzeug.datastructures import FileStorage
from werkzeug.formparser import FormDataParser

from deliverykit.contracts.provider import Outgoing
from deliverykit.providers.mailgun import File, Mailgun
from deliverykit.providers.mailgun.multipart import encoded
from deliverykit.records.server import DeliveryServer
from deliverykit.words.addresses import Address
from deliverykit.words.enclosures import Attachment
from deliverykit.words.errors import ConfigurationError, MessageError
from deliverykit.words.outcomes import Scope
from deliverykit.words.wire import HttpRequest
from outgoing_mail import NOW, OUR_ID, mails, outgoing
from shared_files import shared

MAILGUN = Mailgun(api_key="key-1", domain="mg.example.com")


class Form:
    """A request's form as another reader sees it."""

    def __init__(self, request: HttpRequest) -> None:
        kind, _, rest = request.headers["Content-Type"].partition(";")
        options = {"boundary": rest.strip().removeprefix("boundary=")}
        _, fields, files = FormDataParser(stream_factory=lambda **_: io.BytesIO(), silent=False).parse(
            io.BytesIO(request.body), kind, len(request.body), options
        )
        self.fields: dict[str, list[str]] = {name: fields.getlist(name) for name in fields}
        self.files: dict[str, list[tuple[str, str, bytes]]] = {
            name: [self._file(one) for one in files.getlist(name)] for name in files
        }

    @staticmethod
    def _file(one: FileStorage) -> tuple[str, str, bytes]:
        return one.filename or "", one.mimetype, one.stream.read()

    def one(self, name: str) -> str | None:
        found = self.fields.get(name, [None])
        assert len(found) == 1, f"{name} stands {len(found)} times"
        return found[0]

    @property
    def instance(self) -> dict[str, Any]:
        """As the description's schema wants it: text, or a list where a field is repeated."""
        plain: dict[str, Any] = {name: found[0] if len(found) == 1 else found for name, found in self.fields.items()}
        return plain | {name: [one[2].decode("latin-1") for one in found] for name, found in self.files.items()}


def sent(mail: Outgoing, mailgun: Mailgun = MAILGUN) -> Form:
    return Form(mailgun.request(mail, NOW))


@functools.cache
def schema(kind: str) -> Draft202012Validator:
    spec = yaml.safe_load(shared("esp/specs/mailgun/openapi-send-webhooks-relaxed.yaml").read_text(encoding="utf-8"))
    content = spec["paths"][f"/v3/{{domain_name}}/{kind}"]["post"]["requestBody"]["content"]
    return Draft202012Validator(content["multipart/form-data"]["schema"])


def mailbox(header: str) -> tuple[str, str]:
    """Name and address of an address header, encoded words read."""
    name, email = parseaddr(header)
    return str(make_header(decode_header(name))), email


FULL = outgoing(
    to=["Ann <ann@example.org>", '"Büro, Zoë (2)" <zoe@bücher.example>'],
    cc=["cc@example.org"],
    bcc=["bcc@example.org"],
    subject="Grüße: 会社",
    text="Hällo\nthere\r\n.",
    html='<img src="cid:logo@x"> ünd',
    headers={"X-Campaign": "Herbst", "X-Umlaut": "früh"},
    attachments=[
        Attachment(filename="résumé “1”.pdf", content=b"%PDF\r\n--\x00\xff", content_type="application/pdf"),
        Attachment(filename='a"b\\c.txt', content=b""),
        Attachment(filename="logo.png", content=b"\x89PNG", content_id="logo@x"),
    ],
    tags=["one", "two", "three"],
    metadata={"order": "7", "Note": "é"},
    unsubscribe="https://example.org/u",
    track_opens=True,
    track_clicks=False,
    reply_to=('"Reply, Inc" <r@example.com>', "s@example.com"),
)


def test_a_mail_with_everything_arrives_at_mailgun_field_by_field() -> None:
    form = sent(FULL)
    assert form.one("from") == "News <news@example.com>"
    assert [mailbox(one) for one in form.fields["to"]] == [
        ("Ann", "ann@example.org"),
        ("Büro, Zoë (2)", "zoe@xn--bcher-kva.example"),
    ]
    assert (form.fields["cc"], form.fields["bcc"]) == (["cc@example.org"], ["bcc@example.org"])
    assert (form.one("subject"), form.one("text"), form.one("html")) == (
        "Grüße: 会社",
        "Hällo\nthere\r\n.",
        '<img src="cid:logo@x"> ünd',
    )
    assert form.one("h:Reply-To") == '"Reply, Inc" <r@example.com>, s@example.com'
    assert form.one("h:X-Campaign") == "Herbst"
    assert str(make_header(decode_header(form.one("h:X-Umlaut") or ""))) == "früh"
    assert form.one("h:List-Unsubscribe") == "<https://example.org/u>"
    assert form.one("h:List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
    assert (form.one("v:deliverykit_id"), form.one("h:X-Deliverykit-Id")) == (OUR_ID, OUR_ID)
    assert (form.one("v:order"), form.one("v:Note")) == ("7", "é")
    assert form.fields["o:tag"] == ["one", "two", "three"]
    assert (form.one("o:tracking-opens"), form.one("o:tracking-clicks")) == ("yes", "no")
    assert form.files["attachment"] == [
        ("résumé “1”.pdf", "application/pdf", b"%PDF\r\n--\x00\xff"),
        ('a"b\\c.txt', "text/plain", b""),
    ]
    # Mailgun shows an inline image under its file name.
    assert form.files["inline"] == [("logo@x", "image/png", b"\x89PNG")]
    schema("messages").validate(form.instance)


def test_the_request_is_a_post_with_basic_auth_and_always_the_same_bytes() -> None:
    request = MAILGUN.request(FULL, NOW)
    assert (request.method, request.url) == ("POST", "https://api.mailgun.net/v3/mg.example.com/messages")
    assert base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")) == b"api:key-1"
    assert MAILGUN.request(FULL, NOW + 1) == request
    bare = sent(outgoing())
    assert sorted(bare.fields) == ["from", "h:X-Deliverykit-Id", "subject", "text", "to", "v:deliverykit_id"]


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"region": "eu"}, "https://api.eu.mailgun.net/v3/mg.example.com/messages"),
        ({"base_url": "http://127.0.0.1:9000/"}, "http://127.0.0.1:9000/v3/mg.example.com/messages"),
        ({"domain": "Bücher.Example"}, "https://api.mailgun.net/v3/xn--bcher-kva.example/messages"),
    ],
)
def test_where_a_mail_goes(fields: dict[str, str], url: str) -> None:
    assert Mailgun(**{"api_key": "k", "domain": "mg.example.com", **fields}).request(outgoing(), NOW).url == url


@given(mail=mails(max_tags=3, metadata=True, max_reply_to=2))
def test_any_mail_survives_the_form(mail: Outgoing) -> None:
    form, message = sent(mail), mail.message
    schema("messages").validate(form.instance)
    assert parseaddr(form.one("from") or "")[1] == mail.sender.ascii
    for name in ("to", "cc", "bcc"):
        assert [mailbox(one)[1] for one in form.fields.get(name, [])] == [one.ascii for one in getattr(message, name)]
    assert form.one("v:deliverykit_id") == OUR_ID
    assert {name: form.one(f"v:{name}") for name in message.metadata} == message.metadata
    assert (form.one("subject"), form.one("text"), form.one("html")) == (message.subject, message.text, message.html)
    plain = [one for one in message.attachments if not one.inline]
    assert [one[2] for one in form.files.get("attachment", [])] == [one.content for one in plain]
    assert [(one[0], one[2]) for one in form.files.get("inline", [])] == [
        (a.content_id, a.content) for a in message.attachments if a.inline
    ]
    for found, given_file in zip(form.files.get("attachment", []), plain, strict=True):
        # werkzeug reads %22 as a quote, as browsers write it; Go and Python's email do not.
        assert found[0] == given_file.filename.replace("%22", '"')


_POISON = st.lists(st.sampled_from([b"--", b"\r\n", b"deliverykit-", b"x"]), max_size=6).map(b"".join)


@given(
    contents=st.lists(st.one_of(st.binary(max_size=40), _POISON), max_size=4), seed=st.text(max_size=10), clash=st.booleans()
)
def test_no_content_can_end_a_part_of_the_form(contents: list[bytes], seed: str, clash: bool) -> None:
    if clash:  # a file that holds the very boundary the form would have had without it
        _, kind = encoded([], seed)
        contents = [*contents, b"\r\n--" + kind.rpartition("=")[2].encode() + b"--\r\n"]
    body, kind = encoded([("attachment", File(filename=f"{n}", content=content)) for n, content in enumerate(contents)], seed)
    form = Form(HttpRequest(url="https://x.example", headers={"Content-Type": kind}, body=body))
    assert [one[2] for one in form.files.get("attachment", [])] == contents
    boundary = kind.rpartition("=")[2].encode()
    assert not any(boundary in content for content in contents)
    assert len(boundary) <= 70  # RFC 2046


def test_a_file_name_is_utf8_in_quotes_never_rfc_2231() -> None:
    body = MAILGUN.request(outgoing(attachments=[Attachment(filename='zo"é\\.txt', content=b"x")]), NOW).body
    assert 'name="attachment"; filename="zo\\"é\\\\.txt"\r\n'.encode() in body
    assert b"filename*" not in body


# -- raw ------------------------------------------------------------------------------------------

RAW = (
    b"From: Somebody <x@elsewhere.example>\r\nSender: y@elsewhere.example\r\nTo: List <list@example.org>\r\n"
    b"Bcc: hidden@example.org\r\n"
    b"Reply-To: old@elsewhere.example\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n\r\nbody \xff \r\n\r\n.\r\n"
)


def test_raw_mail_goes_to_the_mime_call_with_our_from_and_its_own_body() -> None:
    mail = outgoing(
        raw=RAW, to=["Ann <ann@example.org>", "b@bücher.example"], tags=["t"], metadata={"k": "v"}, track_opens=False
    )
    request = MAILGUN.request(mail, NOW)
    form = Form(request)
    assert request.url == "https://api.mailgun.net/v3/mg.example.com/messages.mime"
    schema("messages.mime").validate(form.instance)
    assert form.fields == {
        "to": ["ann@example.org", "b@xn--bcher-kva.example"], "v:deliverykit_id": [OUR_ID], "v:k": ["v"], "o:tag": ["t"],
        "o:tracking-opens": ["no"],
    }  # fmt: skip
    [(_, _, raw)] = form.files["message"]
    read = BytesParser(policy=policy.default).parsebytes(raw)
    assert read.get_all("From") == ["News <news@example.com>"]
    assert (read["Sender"], read["Bcc"]) == (None, None)
    assert (read["To"], read["Subject"], read["Reply-To"]) == ("List <list@example.org>", "Grüße", "old@elsewhere.example")
    assert read["X-Deliverykit-Id"] == OUR_ID
    assert raw.endswith(b"\r\n\r\nbody \xff \r\n\r\n.\r\n")


def test_raw_mail_takes_the_reply_to_that_is_given() -> None:
    [(_, _, raw)] = sent(outgoing(raw=RAW, reply_to=("Zoë <z@example.com>",))).files["message"]
    read = BytesParser(policy=policy.default).parsebytes(raw)
    assert read.get_all("Reply-To") == ["Zoë <z@example.com>"]


# -- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["ünd", "x" * 129])
def test_a_tag_mailgun_would_change_is_refused(tag: str) -> None:
    with pytest.raises(MessageError, match="tags"):
        MAILGUN.request(outgoing(tags=[tag]), NOW)
    assert sent(outgoing(tags=["x" * 128])).one("o:tag") == "x" * 128


def test_an_eleventh_tag_or_a_foreign_local_part_is_unsupported() -> None:
    assert any("tags" in why for why in MAILGUN.unsupported(outgoing(tags=list("abcdefghijk")).message))
    assert MAILGUN.unsupported(outgoing(tags=list("abcdefghij")).message) == ()
    assert MAILGUN.unsupported(outgoing(to="zoë@example.org").message)
    assert MAILGUN.unsupported(FULL.message) == ()


def test_options_beyond_16_kb_are_refused_by_name() -> None:
    with pytest.raises(MessageError, match=r"takes at most 16384"):
        MAILGUN.request(outgoing(headers={"X-Long": "x" * 16_300, "X-More": "y" * 100}), NOW)
    assert sent(outgoing(headers={"X-Long": "x" * 16_000})).one("h:X-Long")


def test_metadata_that_would_cut_our_id_out_of_the_events_is_refused() -> None:
    with pytest.raises(MessageError, match="metadata"):
        MAILGUN.request(outgoing(metadata={"k": "é" * 2048}), NOW)
    assert sent(outgoing(metadata={"k": "é" * 2000})).one("v:k")


def test_what_extra_may_hold() -> None:
    extra = {
        "o:testmode": True,
        "o:deliver-within": "1h",
        "t:variables": {"a": [1]},
        "h:X-Own": "x",
        "o:sending-ip-pool": ["p"],
        "v:n": 3,
    }
    form = sent(outgoing(extra={"mailgun": extra, "sendgrid": {"from": "ignored"}}))
    assert {name: form.one(name) for name in extra} == {
        "o:testmode": "yes", "o:deliver-within": "1h", "t:variables": '{"a": [1]}', "h:X-Own": "x",
        "o:sending-ip-pool": "p", "v:n": "3",
    }  # fmt: skip


@pytest.mark.parametrize(
    "extra",
    [{"attachment": "text"}, {"o:tag": None}, {"o:tag": [None]}, {"O:testmode": True}, {"h:X-A": "b\r\nBcc: c@d.example"}],
)
def test_what_fits_in_no_form_is_a_message_error(extra: dict[str, Any]) -> None:
    with pytest.raises(MessageError, match="Mailgun field"):
        MAILGUN.request(outgoing(extra={"mailgun": extra}), NOW)


# -- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "domain",
    [
        "a/b.example",
        "mg.example.com/../x",
        "mg.example.com?x",
        "mg.example.com#",
        "a b.example",
        "localhost",
        "..",
        "a%2fb.example",
        "x.example.",
    ],
)
def test_only_a_domain_name_gets_into_the_path(domain: str) -> None:
    with pytest.raises(ConfigurationError, match="Mailgun domain"):
        Mailgun(api_key="k", domain=domain)


def test_an_unknown_region_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"region.*'us' or 'eu'"):
        Mailgun(api_key="k", domain="mg.example.com", region="de")


@pytest.mark.parametrize(
    ("domain", "parent"),
    [
        ("mg.example.com", ["example.com"]),
        ("a.mg.example.com", ["mg.example.com"]),
        ("mg.ibm.com", ["ibm.com"]),
        ("mg.x.com", ["x.com"]),
        ("mail.example.co.uk", ["example.co.uk"]),
        ("mail.beispiel.de", ["beispiel.de"]),
        ("mg.four.de", ["four.de"]),
        ("mg.ibm.de", []),  # as short as the com.au of example.com.au: name senders=
        ("example.com", []),
        ("example.co.uk", []),
        ("example.com.au", []),
        ("example.gouv.fr", []),
        ("sandbox123.mailgun.org", []),
    ],
)
def test_whom_a_server_may_send_for(domain: str, parent: list[str]) -> None:
    assert Mailgun(api_key="k", domain=domain).senders() == (domain, f"*.{domain}", *parent)


@pytest.mark.parametrize(
    ("sender", "may"),
    [
        ("a@mg.example.com", True),
        ("a@news.mg.example.com", True),
        ("a@deep.news.MG.example.com", True),
        ("a@example.com", True),
        ("a@sales.example.com", False),
        ("a@evilmg.example.com", False),
        ("a@com", False),
        ("a@mg.example.com.evil.org", False),
    ],
)
def test_subdomains_of_the_sending_domain_may_send(sender: str, may: bool) -> None:
    server = DeliveryServer(id="m", account="default", name="m", provider=MAILGUN)
    assert (server.may_send(Address(sender)) == "") is may


def test_what_is_throttled_together() -> None:
    other = Mailgun(api_key="key-1", domain="other.example.com")
    assert MAILGUN.scope_key(Scope.DOMAIN) == "mg.example.com"
    assert (
        MAILGUN.scope_key(Scope.ACCOUNT)
        == other.scope_key(Scope.ACCOUNT)
        != Mailgun(api_key="key-2", domain="x.example").scope_key(Scope.ACCOUNT)
    )
    assert len(MAILGUN.scope_key(Scope.ACCOUNT)) == 16
    assert MAILGUN.scope_key(Scope.SERVER) == ""


def test_mailgun_s_key_is_in_no_repr_and_no_error() -> None:
    mailgun = Mailgun(api_key="key-very-secret", domain="mg.example.com")
    request = mailgun.request(FULL, NOW)
    encoded_key = base64.b64encode(b"api:key-very-secret").decode()
    with pytest.raises(MessageError) as caught:
        mailgun.request(outgoing(extra={"mailgun": {"from": "x@evil.example"}}), NOW)
    shown = f"{mailgun!r} {mailgun} {request!r} {mailgun.plain()} {caught.value!r} {mailgun.payload(FULL)!r}"
    assert "very-secret" not in shown
    assert encoded_key not in shown
    assert "%PDF" not in shown
