"""Answers that users met, armed in the sandbox: over HTTP they are judged as the ESP's own would be."""

import json

from attrs import evolve

from deliverykit.sandbox import Sandbox
from deliverykit.transports import HttpTransport
from esp_answers import PROVIDERS, letter
from outgoing_mail import NOW
from shared_files import shared


def test_sandbox_gives_every_public_answer(sandbox: Sandbox) -> None:
    rows = json.loads(shared("esp/answers.json").read_text("utf-8"))["answers"]
    transport, wrong = HttpTransport(), []
    sandbox.check_clock(False)
    for row in rows:
        esp, forced = row["esp"], row.get("forced_sender", False)
        provider = evolve(PROVIDERS[esp], base_url=sandbox.url(esp))
        mail = letter(forced, "me@other.example" if "other.example" in row["text"] else "news@example.com")
        page = row["text"].startswith("<")
        code = {} if page or not row.get("code") else {"code": row["code"]}
        sandbox.fault(esp, "garbage" if page else "rejected", status=row["status"], text=row["text"], **code)
        response = transport.send(provider.request(mail, NOW))
        outcome = provider.outcome(response, mail, NOW)
        if type(outcome).__name__ != row["outcome"]:
            wrong.append(f"{esp} {row['status']} {row['text']}: {outcome}")
    transport.close()
    assert wrong == []
