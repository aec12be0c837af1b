"""Answers that users met, kept beside the checkout: each is the outcome it should be."""

import json
from typing import Any

from deliverykit.words.enclosures import Attachment
from deliverykit.words.outcomes import NotSent, Throttled
from esp_answers import PROVIDERS, about, letter, said
from outgoing_mail import NOW
from shared_files import shared


def test_every_public_answer_has_its_outcome() -> None:
    rows = json.loads(shared("esp/answers.json").read_text("utf-8"))["answers"]
    assert len(rows) > 40
    wrong = [f"{row['esp']} {row['status']} {row['text']}: {problem}" for row in rows if (problem := _problem(row))]
    assert wrong == []


def _problem(row: dict[str, Any]) -> str:
    provider, forced = PROVIDERS[row["esp"]], row.get("forced_sender", False)
    other = "other.example" in row["text"]
    mail = letter(forced, "me@other.example" if other else "news@example.com")
    response = said(row["esp"], row["status"], row["text"], row.get("code", ""), **row.get("headers", {}))
    outcome = provider.outcome(response, mail, NOW)
    if type(outcome).__name__ != row["outcome"]:
        return f"{outcome} instead of {row['outcome']}"
    found = about(provider, response, mail, outcome)
    if "about" in row and found is not None and found != row["about"]:
        return f"about {found} instead of {row['about']}"
    if row.get("clock") and not (isinstance(outcome, NotSent) and outcome.reason.startswith("clock:")):
        return "not known as a fault of the clock"
    seconds = row.get("seconds") or row.get("headers", {}).get("Retry-After")
    if seconds is not None and not (isinstance(outcome, Throttled) and outcome.until == NOW + int(seconds) * 1000):
        return f"{outcome} instead of {seconds} s"
    return ""


# The rows that are to be refused at hand-over: a message that would cause each.
KNOWN_BEFORE = {
    "The attachment type cannot contain ';', or CRLF characters.": letter(
        attachments=[Attachment(filename="a.txt", content=b"x", content_type="text/plain; charset=utf-8")]
    ),
    "You cannot provide more than 50 transactional recipients": letter(to=[f"u{number}@example.org" for number in range(51)]),
}


def test_answer_that_can_be_known_before_is_refused_at_hand_over() -> None:
    rows = json.loads(shared("esp/answers.json").read_text("utf-8"))["answers"]
    known = [row for row in rows if row.get("known_before")]
    assert {row["text"] for row in known} == set(KNOWN_BEFORE)
    for row in known:
        mail, provider = KNOWN_BEFORE[row["text"]], PROVIDERS[row["esp"]]
        assert provider.unsupported(mail.message, mail.sender), row
        assert provider.unsupported(letter().message, mail.sender) == ()
