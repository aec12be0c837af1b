"""A message from options, or from an .eml file: for ``send`` and ``explain``."""

import mimetypes
import sys
from argparse import Namespace
from datetime import tzinfo
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

from deliverykit.cli.arguments import Parser, pair, when
from deliverykit.words.arguments import shown
from deliverykit.words.enclosures import Attachment
from deliverykit.words.errors import MessageError
from deliverykit.words.message import Message
from deliverykit.words.outcomes import InDoubt

__all__ = ["add_message", "message"]

_PLAIN = ("sender", "to", "cc", "bcc", "reply_to", "subject", "stream", "priority", "idempotency_key", "in_doubt")


def add_message(parser: Parser) -> None:
    """The options of a message."""
    group = parser.add_argument_group("the message")
    add = group.add_argument
    add("--eml", metavar="FILE", help="an .eml file ('-': standard input); options replace what it says")
    add("--raw", action="store_true", help="send the file as it is (SES, Mailgun); give its recipients with --to")
    add("--from", dest="sender", metavar="ADDRESS", help="the From; a server's forced sender replaces it")
    for name, words in (("to", "a recipient"), ("cc", "a copy"), ("bcc", "a blind copy"), ("reply-to", "where answers go")):
        add(f"--{name}", action="append", metavar="ADDRESS", help=f"{words}; repeatable")
    add("--subject", help="its subject")
    add("--text", metavar="FILE", help="a file with its text ('-': standard input)")
    add("--html", metavar="FILE", help="a file with its HTML")
    add("--attach", action="append", metavar="FILE", help="a file to attach; repeatable")
    add("--header", action="append", type=pair, metavar="NAME=VALUE", help="another header; repeatable")
    add("--tag", action="append", metavar="TAG", help="repeatable")
    add("--metadata", action="append", type=pair, metavar="NAME=VALUE", help="comes back with the ESP's events; repeatable")
    add("--stream", metavar="NAME", help="the class of mail that it queues with")
    add("--priority", type=int, metavar="N", help="higher goes first within its stream")
    add("--send-at", type=when, metavar="TIME", help="when it may go: 2h, or 2026-11-23T18:30")
    add("--expires-at", type=when, metavar="TIME", help="after which it is not sent any more")
    add("--in-doubt", choices=[one.value for one in InDoubt], help="where its fate is unknown")
    add("--idempotency-key", metavar="KEY", help="handed in again within a day it is the same mail")


def message(options: Namespace, zone: tzinfo, *, sample: bool = False) -> Message:
    """The message. ``sample`` fills in a recipient and a text, where only the way of a mail is asked for."""
    if options.raw and not options.eml:
        raise MessageError("raw: --raw is about an .eml file; give --eml")
    fields: dict[str, Any] = {name: getattr(options, name) for name in _PLAIN}
    for name in ("send_at", "expires_at"):
        found = getattr(options, name)
        fields[name] = found and found.after_now(zone)
    fields |= {
        "tags": options.tag,
        "metadata": options.metadata and dict(options.metadata),
        "headers": options.header and dict(options.header),
        "text": options.text and _bytes(options.text, "text").decode("utf-8", "replace"),
        "html": options.html and _bytes(options.html, "html").decode("utf-8", "replace"),
        "attachments": options.attach and [_attached(path) for path in options.attach],
    }
    given = {name: value for name, value in fields.items() if value is not None}
    if options.eml and options.raw:
        return Message(raw=_bytes(options.eml, "eml"), **given)
    if options.eml:
        return Message.from_email(_parsed(_bytes(options.eml, "eml")), **given)
    if sample:
        given = {"to": "somebody@example.org", "subject": "…", **given}
        given |= {} if {"text", "html"} & given.keys() else {"text": "…"}
    return Message(**given)


def _parsed(content: bytes) -> EmailMessage:
    email = BytesParser(policy=policy.default).parsebytes(content)
    if not email.keys():
        raise MessageError("eml: the file has no headers; give a whole message, as a mail program saves it")
    return email


def _attached(path: str) -> Attachment:
    kind, encoding = mimetypes.guess_type(path)
    kind = kind if kind and not encoding else "application/octet-stream"
    return Attachment(filename=Path(path).name, content=_bytes(path, "attach"), content_type=kind)


def _bytes(path: str, what: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not the name of a file"
        text = f"--{what} {shown(path)}: takes the name of a file, and this one cannot be read ({reason})"
        hint = f"; for the text itself write --{what} - and give it on standard input" if what in ("text", "html") else ""
        raise MessageError(f"{text}{hint}") from None
