"""Answers in each ESP's own shape, and what a provider makes of them."""

import json
from typing import Any
from xml.sax.saxutils import escape

from deliverykit.contracts.answers import Answer, row_for
from deliverykit.contracts.provider import Outgoing, Provider
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid
from deliverykit.words.addresses import address
from deliverykit.words.message import Message
from deliverykit.words.outcomes import About, Outcome, Rejected, Unfit
from deliverykit.words.wire import HttpResponse
from outgoing_mail import NOW, OUR_ID

__all__ = ["PROVIDERS", "SHAPES", "about", "check", "letter", "said"]

PROVIDERS: dict[str, Provider] = {
    "ses": SES(region="eu-west-1", access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="wJalr"),
    "sendgrid": SendGrid(api_key="SG.x"),
    "mailgun": Mailgun(api_key="key-1", domain="mg.example.com"),
    "elasticemail": ElasticEmail(api_key="x"),
}

SHAPES: dict[str, tuple[str, ...]] = {
    "ses": ("header", "address", "__type", "namespace", "coral", "code", "Code", "nested", "xml"),
    "sendgrid": ("plain", "help"),
    "mailgun": ("plain",),
    "elasticemail": ("plain", "data"),
}
"""The ways in which each ESP writes the same error."""


def letter(forced: bool = False, sender: str = "news@example.com", to: Any = "ann@example.org", **fields: Any) -> Outgoing:
    """A message as it is handed to a provider."""
    message = Message(**{"to": to, "subject": "Hello", "text": "Hi", **fields})
    return Outgoing(id=OUR_ID, message=message, sender=address(sender), forced=forced)


def said(esp: str, status: int, text: str, code: str = "", shape: str = "", **headers: str) -> HttpResponse:
    """An error with this text; a text that begins with ``<`` is a page of somebody else's."""
    shape = shape or SHAPES[esp][0]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if text.startswith("<"):
        return HttpResponse(status=status, headers={"Content-Type": "text/html", **named}, body=text.encode())
    body: Any = {"message": text}
    if esp == "ses":
        body, more = _ses(code, text, shape)
        named |= more
    elif esp == "sendgrid":
        entry = {"message": text, "field": None, "help": "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#x"}
        body = {"errors": [entry if shape == "help" else {"message": text, "field": None, "help": None}]}
    elif esp == "elasticemail":
        body = {"Error": text, **({"ErrorData": {"x": 1}} if shape == "data" else {})}
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=status, headers=named, body=sent)


def _ses(code: str, text: str, shape: str) -> tuple[Any, dict[str, str]]:
    match shape:
        case "address":
            return {"Message": text}, {"x-amzn-ErrorType": f"{code}:http://internal.amazon.com/coral/com.amazonaws.ses/"}
        case "__type":
            return {"__type": code, "message": text}, {}
        case "namespace":
            return {"__type": f"com.amazonaws.ses#{code}", "Message": text}, {}
        case "coral":
            return {"message": text}, {"x-amzn-ErrorType": f"com.amazon.coral.service#{code}"}
        case "code":
            return {"code": code, "message": text}, {}
        case "Code":
            return {"Code": code, "Message": text}, {}
        case "nested":
            return {"Error": {"Type": "Sender", "Code": code, "Message": text}, "RequestId": "1-2"}, {}
        case "xml":
            xml = (
                '<?xml version="1.0"?>\n<ErrorResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/">\n  <Error>\n'
                f"    <Type>Sender</Type>\n    <Code>{code}</Code>\n    <Message>{escape(text)}</Message>\n  </Error>\n"
                "  <RequestId>42d59b56-7407-4c4a-be0f-4c88daeea257</RequestId>\n</ErrorResponse>\n"
            )
            return xml.encode(), {"Content-Type": "text/xml"}
        case _:
            return {"message": text}, {"x-amzn-ErrorType": code}


def about(provider: Provider, response: HttpResponse, mail: Outgoing, outcome: Outcome) -> About | None:
    """What the text is about: as the outcome says, else as the row that matched says; ``None`` where no row did."""
    if isinstance(outcome, Rejected | Unfit):
        return outcome.about
    text = provider.error(response)
    answer = Answer(status=response.status, text=text or "", response=response, mail=mail, now=NOW)
    row = row_for(provider.table, answer) if text is not None else None
    return row.subject(answer) if row is not None else None


def check(esp: str, response: HttpResponse, mail: Outgoing, outcome: Any, subject: About | None) -> Any:
    """Return the outcome, after asserting its class and what it is about."""
    found = PROVIDERS[esp].outcome(response, mail, NOW)
    assert type(found) is outcome, found
    if subject is not None:
        assert about(PROVIDERS[esp], response, mail, found) is subject, found
    return found
