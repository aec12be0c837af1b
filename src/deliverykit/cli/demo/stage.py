"""The cast: four delivery servers at the four ESPs, in two accounts of two time zones, and two routes."""

from datetime import timedelta
from math import ceil
from typing import Final

from attrs import frozen

from deliverykit.cli.demo.check import Rule
from deliverykit.contracts.provider import Provider
from deliverykit.limits import CalendarQuota
from deliverykit.mailer import AccountMailer
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid
from deliverykit.records.server import DeliveryServer
from deliverykit.sandbox import Sandbox
from deliverykit.words.addresses import Address

__all__ = ["BRANCHES", "ESP_NAMES", "RETRY_AFTER", "Branch", "Cast", "added", "cast"]

RETRY_AFTER: Final = 2
"""Seconds for which the throttling ESP wants to be left alone."""
KOLKATA: Final = "Asia/Kolkata"
NEW_YORK: Final = "America/New_York"
ESP_NAMES: Final = {"ses": "Amazon SES", "sendgrid": "SendGrid", "mailgun": "Mailgun", "elasticemail": "Elastic Email"}


@frozen(kw_only=True)
class Branch:
    """An account of the demo, and its route."""

    account: str
    city: str
    timezone: str
    route: str
    when_exhausted: str


BRANCHES: Final = (
    Branch(account="default", city="Kolkata", timezone=KOLKATA, route="spring-kolkata", when_exhausted="failover"),
    Branch(account="new-york", city="New York", timezone=NEW_YORK, route="spring-new-york", when_exhausted="queue"),
)


@frozen(kw_only=True)
class Cast:
    """How many mails each branch sends, and what its two servers promise: the first of the route, then the second."""

    shares: tuple[int, int]
    rules: tuple[tuple[Rule, Rule], tuple[Rule, Rule]]

    def killed_after(self) -> int:
        """How many mails are sent before the worker is killed; a short list's worker is killed at its first mail."""
        whole = sum(self.shares)
        return whole // 10 if whole >= 200 else 0

    def trouble(self, sandbox: Sandbox) -> None:
        """Arm what the ESPs do to the second worker, each in the middle of its work."""
        (ses, sendgrid), (mailgun, _) = self.rules
        sandbox.fault(mailgun.esp, "throttle", times=1, every=max(1, mailgun.hour // 4), retry_after=RETRY_AFTER)
        every = max(1, ses.hour // 8)
        sandbox.fault(ses.esp, "hang", times=2, every=every, accepted=True)
        sandbox.fault(ses.esp, "hang", times=1, every=every, accepted=False)
        sandbox.fault(sendgrid.esp, "bad_key", times=1, every=max(1, (self.shares[0] - ses.hour) // 2))


def cast(recipients: int) -> Cast:
    """Quotas that so many recipients meet: one route spills, the other holds what two windows can carry.

    2,000 recipients make 400 and 1,000 an hour in Kolkata, 600 and 1,000 in New York. The test emails
    count: they are mail.
    """
    first = ceil(recipients / 2)
    second = recipients - first
    ses = max(2, round(0.4 * first))
    hours = {"ses": ses, "sendgrid": max(2, first), "mailgun": max(2, ceil(0.6 * second)), "elasticemail": max(2, second)}
    pause = min(10, max(1, round(2_400 / ses)))  # a few seconds of it, whatever the number

    def rule(esp: str, branch: Branch, sender: str, pause: int = 0, *, idle: bool = False) -> Rule:
        return Rule(
            esp=esp, name=ESP_NAMES[esp], sender=Address(sender, "Example News"), hour=hours[esp], day=5 * hours[esp],
            timezone=branch.timezone, pause=pause, idle=idle,
        )  # fmt: skip

    kolkata, new_york = BRANCHES
    return Cast(
        shares=(first, second),
        rules=(
            (rule("ses", kolkata, "news@in.example.com", pause), rule("sendgrid", kolkata, "news@in2.example.com")),
            (
                rule("mailgun", new_york, "news@mg.example.com"),
                rule("elasticemail", new_york, "news@us.example.com", idle=True),
            ),
        ),
    )


def provider(esp: str, sandbox: Sandbox) -> Provider:
    """The adapter, pointed at the sandbox; the SES key pair is the one AWS's documentation prints."""
    url = sandbox.url(esp)
    if esp == "ses":
        secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105  public, see above
        return SES(region="eu-west-1", access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key=secret, base_url=url)
    if esp == "sendgrid":
        return SendGrid(api_key="SG.demo", base_url=url)
    if esp == "mailgun":
        return Mailgun(api_key="demo", domain="mg.example.com", base_url=url)
    return ElasticEmail(api_key="demo", base_url=url)


def added(mailer: AccountMailer, rule: Rule, sandbox: Sandbox) -> DeliveryServer:
    """Add one server as its rule says."""
    return mailer.servers.add(
        name=rule.name,
        provider=provider(rule.esp, sandbox),
        sender=rule.sender,
        quota=CalendarQuota(hour=rule.hour, day=rule.day),
        pause=timedelta(milliseconds=rule.pause) if rule.pause else None,
    )
