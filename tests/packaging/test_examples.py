"""The example data are what they claim to be."""

import csv
import email
import email.policy
import runpy

import pytest

from checkout import ROOT
from deliverykit.words.addresses import Address
from deliverykit.words.errors import MessageError
from deliverykit.words.message import Message

EXAMPLES = ROOT / "examples"


def _rows(name: str) -> list[dict[str, str]]:
    with (EXAMPLES / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_two_thousand_different_mailboxes() -> None:
    people = [Address(row["email"], row["name"]) for row in _rows("recipients.csv")]
    assert len(people) == 2_000
    assert len({one.key for one in people}) == 2_000
    assert not any(one.international for one in people)
    assert sum(not one.email.isascii() for one in people) > 100, "hardly any domain that needs IDNA"
    assert sum(not one.name.isascii() for one in people) > 1_000, "hardly any name beyond ASCII"


def test_they_are_made_the_same_every_time() -> None:
    made = runpy.run_path(str(EXAMPLES / "make_recipients.py"))
    assert [tuple(row.values()) for row in _rows("recipients.csv")] == made["recipients"]()
    assert (EXAMPLES / "recipients-with-mistakes.csv").read_text(encoding="utf-8") == made["MISTAKES"]


def test_the_file_with_mistakes_has_four() -> None:
    mistakes = 0
    for row in _rows("recipients-with-mistakes.csv"):
        try:
            Address(row["email"], row["name"])
        except MessageError:
            mistakes += 1
    assert (mistakes, len(_rows("recipients-with-mistakes.csv"))) == (4, 12)


def test_the_newsletter_becomes_a_message() -> None:
    parsed = email.message_from_bytes((EXAMPLES / "newsletter.eml").read_bytes(), policy=email.policy.default)
    assert not [part.defects for part in parsed.walk() if part.defects]
    message = Message.from_email(parsed, to="ann@example.org")
    assert message.sender == Address("news@example.org", "Bücherei am Markt")
    assert message.subject.startswith("Frühlingsbrief")
    assert "Zoë Dvořák" in (message.text or "")
    assert [(one.filename, one.inline) for one in message.attachments] == [("logo.png", True), ("Frühlingsprogramm.pdf", False)]
    assert f"cid:{message.attachments[0].content_id}" in (message.html or "")
    assert message.attachments[0].content.startswith(b"\x89PNG\r\n")
    assert message.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest.mark.parametrize("name", ["recipients.csv", "recipients-with-mistakes.csv"])
def test_the_columns(name: str) -> None:
    assert list(_rows(name)[0]) == ["email", "name", "language", "country"]
