"""What the four ESPs have in common: routing, and the order in which a submission is checked."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from attrs import field, frozen

from deliverykit.sandbox.account import Account
from deliverykit.sandbox.faults import Fault
from deliverykit.sandbox.wire import Mail, Malformed, Refused, Reply, Request, Verdict

__all__ = ["Handler", "Route", "Service"]

Handler = Callable[[Request, Account, "re.Match[str]"], Verdict]


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


@frozen
class Route:
    """A method, a path and what answers it; ``submits`` marks those that send mail."""

    method: str
    path: re.Pattern[str] = field(converter=_pattern)
    handler: Handler
    submits: bool = False


class Service(ABC):
    """One ESP. Its methods are functions of the request and the account; the server keeps the account."""

    name: ClassVar[str]
    max_request: ClassVar[int] = 60_000_000
    """The largest request body that is read at all."""
    tells: ClassVar[frozenset[str]] = frozenset()
    """The fields of its calls about the account that the control may set."""
    bills_tests: ClassVar[bool] = False
    """Whether mail in test mode counts towards quotas."""

    @property
    @abstractmethod
    def routes(self) -> Sequence[Route]:
        """Every call this ESP answers."""

    @abstractmethod
    def authenticate(self, request: Request, account: Account) -> None:
        """Raise ``Refused`` with the ESP's own answer where the credential is missing or wrong."""

    @abstractmethod
    def credential(self, request: Request) -> str:
        """The key the request carries, checked or not; ``""`` where there is none."""

    @abstractmethod
    def correlation(self, request: Request) -> str:
        """Our id in the request, or ``""``. May raise anything on a malformed request."""

    @abstractmethod
    def unmatched(self, request: Request, known_path: bool) -> Reply:
        """The answer to a path nobody serves, or to a method that this path does not know."""

    @abstractmethod
    def unverified(self, mail: Mail, request: Request) -> Reply:
        """The answer to a From that is not verified."""

    @abstractmethod
    def recipient_refused(self, mail: Mail, refused: str) -> Reply:
        """The answer to a recipient that is turned down."""

    @abstractmethod
    def too_large(self) -> Reply:
        """The answer to a body beyond ``max_request``."""

    @abstractmethod
    def malformed(self, problem: Malformed) -> Reply:
        """The answer to a body that does not parse."""

    @abstractmethod
    def told(self, fault: Fault, request: Request, account: Account) -> Reply:
        """The answer of a fault of the kinds throttle, quota, server_error, bad_key and rejected."""

    def decorated(self, reply: Reply, request: Request, account: Account) -> Reply:
        """The headers that are on every answer."""
        return reply

    def sends_for(self, mail: Mail, request: Request) -> str:
        """What must be verified: the From, unless the ESP looks at something else."""
        return mail.sender

    def routed(self, request: Request) -> tuple[Route, "re.Match[str]"] | None:
        """Where the request goes."""
        for route in self.routes:
            if route.method == request.method and (match := route.path.fullmatch(request.path)):
                return route, match
        return None

    def submits(self, request: Request) -> bool:
        """Whether the request is one that sends mail."""
        routed = self.routed(request)
        return routed is not None and routed[0].submits

    def answer(self, request: Request, account: Account) -> Verdict:
        """The ESP's answer; never raises."""
        try:
            return self._answer(request, account)
        except Refused as refusal:
            return Verdict(reply=refusal.reply)
        except Malformed as error:
            return Verdict(reply=self.malformed(error))

    def _answer(self, request: Request, account: Account) -> Verdict:
        routed = self.routed(request)
        if routed is None:
            known = any(route.path.fullmatch(request.path) for route in self.routes)
            return Verdict(reply=self.unmatched(request, known))
        route, match = routed
        self.authenticate(request, account)
        verdict = route.handler(request, account, match)
        if verdict.mail is not None:
            self._admit(verdict.mail, request, account)
        return verdict

    def _admit(self, mail: Mail, request: Request, account: Account) -> None:
        if not account.may_send(self.sends_for(mail, request)):
            raise Refused(self.unverified(mail, request))
        for recipient in mail.recipients:
            if recipient.lower() in account.refused:
                raise Refused(self.recipient_refused(mail, recipient))
        if account.per_day is not None and account.day.read(account.now) + len(mail.recipients) > account.per_day:
            raise Refused(self.told(Fault("quota"), request, account))
        if account.per_second is not None and account.second.read(account.now) >= account.per_second:
            raise Refused(self.told(Fault("throttle"), request, account))
