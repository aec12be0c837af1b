"""What an adapter for one ESP is: pure, message in and HTTP request out, HTTP response in and outcome out."""

import json
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final, Self, final

from attrs import Attribute, asdict, evolve, fields

from deliverykit.contracts.answers import Answer, Row, foreign, judged, within_a_day
from deliverykit.contracts.capabilities import Capabilities, Feature, Needs
from deliverykit.contracts.options import Concealing, fingerprint, option, secret, web_address
from deliverykit.contracts.outgoing import Outgoing
from deliverykit.contracts.sealing import ABSENT, Path, are_headers, is_line, mentioned, merged, misspelled, touched, twins
from deliverykit.words.addresses import Address
from deliverykit.words.checks import CheckReport
from deliverykit.words.credentials import Env, Named, Secret
from deliverykit.words.errors import ConfigurationError, MessageError, Unsupported
from deliverykit.words.message import Message
from deliverykit.words.outcomes import Accepted, NotSent, Outcome, Scope, Throttled, Unknown
from deliverykit.words.raw import head_alone
from deliverykit.words.untrusted import ID_LIMIT, TEXT_LIMIT, Mask, clean
from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = [
    "ABSENT",
    "Outgoing",
    "Path",
    "Provider",
    "are_headers",
    "fingerprint",
    "is_line",
    "json_body",
    "merged",
    "option",
    "secret",
    "web_address",
]

_PROBE_ID: Final = "x" * 64
"""Stands for our id where a message is judged before it has one; no id of ours is longer."""
_NOBODY: Final = Address("nobody@example.com")
"""Stands for the sender where a message without one is judged for a server that forces none."""


_written = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def json_body(payload: Mapping[str, Any], esp: str) -> bytes:
    """A payload as JSON; :class:`~deliverykit.MessageError` where ``extra`` put something into it that is no JSON."""
    try:
        return _written(payload).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageError(f"extra[{esp!r}]: holds what is no JSON ({error}); give text, numbers, lists and mappings") from None


class Provider(metaclass=Concealing):
    """The adapter for one ESP's API. Knows no quota, no storage, and no clock but the ``now`` it is given.

    A provider is a frozen attrs class whose fields are its configuration. To change one thing of a
    shipped one, subclass it and override :meth:`payload`::

        class CompanySendGrid(SendGrid):
            name = "company-sendgrid"

            def payload(self, mail):
                return super().payload(mail) | {"ip_pool_name": "transactional"}

    What is promised to the host (From, recipients, our id) is checked after ``payload()`` and
    ``extra``; :meth:`request`, and in subclasses of a shipped provider also :meth:`sealed` and
    :meth:`encode`, cannot be overridden.
    """

    name: ClassVar[str]
    """The registered name; a store keeps it, ``extra=`` uses the ESP's."""
    esp: ClassVar[str]
    """The ESP's key in ``Message.extra``; subclasses share it."""
    label: ClassVar[str]
    """The ESP's name for people."""
    capabilities: ClassVar[Capabilities]
    hosts: ClassVar[Sequence[str]] = ()
    """The hosts of the ESP's API. Accounts other than the default one may send credentials only to these (over HTTPS) and to
    ``Mailer(base_urls=…)``. ``{option}`` stands for the value of a plain option: ``"email.{region}.amazonaws.com"``."""
    table: ClassVar[Sequence[Row]]
    """Which status and text means which outcome, first match wins; see :mod:`deliverykit.contracts.answers`."""

    _trusted: ClassVar[bool] = False
    """Whether whoever wrote ``payload()`` wrote ``sealed()`` too: then only ``extra`` can touch what is promised."""
    _sealed_methods: ClassVar[frozenset[str]] = frozenset({"request", "sealed", "encode", "outcome", "safe_text"})

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._trusted = _author(cls, "payload") is _author(cls, "sealed")
        for method in cls._sealed_methods & vars(cls).keys():
            inherited = next((vars(base)[method] for base in cls.__mro__[1:] if method in vars(base)), None)
            if inherited is not None and not getattr(inherited, "__isabstractmethod__", False):
                raise ConfigurationError(
                    f"{cls.__name__}.{method}() cannot be overridden: {_SEALED_FOR.get(method, _SEALED_FOR[''])}"
                )

    # -- what an author writes ------------------------------------------------------------------

    @abstractmethod
    def payload(self, mail: Outgoing) -> dict[str, Any]:
        """The ESP's fields for this mail, as plain data. Without side effects; subclasses may add to it."""

    @abstractmethod
    def sealed(self, mail: Outgoing) -> Mapping[Path, Any]:
        """What neither ``payload()`` of a subclass nor ``extra`` may change: a value by its path.

        ``ABSENT`` forbids anything at a path. A function is asked about what stands there (``ABSENT``
        where nothing does) and says whether that may stay. Names are compared without case.
        """

    @abstractmethod
    def encode(self, mail: Outgoing, payload: Mapping[str, Any], now: int) -> HttpRequest:
        """The HTTP request for a payload, authenticated."""

    @abstractmethod
    def accepted(self, response: HttpResponse) -> str | None:
        """The ESP's message id from a 2xx answer, ``""`` where it names none, ``None`` where it is not its shape."""

    @abstractmethod
    def error(self, response: HttpResponse) -> str | None:
        """Code and text of an error in the ESP's own shape; ``None`` where something else answered."""

    def unsupported(self, message: Message, sender: Address | None = None) -> tuple[str, ...]:
        """Return why this ESP cannot carry the message, one reason each; empty where it can.

        ``sender`` is the server's forced sender, ``None`` where it forces none. The answer holds all that can be known
        without asking the ESP: the declared ``capabilities``, ``extra``, and in a shipped provider every documented
        rule about addresses, headers, tags, metadata, attachments and ``raw``. Pure, and it never raises for a message.

        ``send``, ``enqueue`` and ``explain`` ask it at hand-over, the worker asks it again before it builds the
        request. To add a rule, override it and return ``(*super().unsupported(message, sender), *yours)``.
        """
        reasons = self.capabilities.lacks(Needs.of(message))
        if sender is not None and sender.international and Feature.INTERNATIONAL not in self.capabilities.features:
            reasons += (f"sender: {sender.email!r} is not ASCII before the @, which {self.label} cannot send from",)
        if message.extra and (extra := message.extra.get(self.esp)):
            problem = self._extra_problem(message, extra, sender)
            return (*reasons, problem) if problem else reasons
        return reasons

    def senders(self) -> tuple[str, ...] | None:
        """Return the From domains allowed where the host names none; ``*.example.com`` is all below it, ``None`` any."""
        return None

    def scope_key(self, scope: Scope) -> str:
        """What servers share that are throttled together; ``""`` where only this server is meant."""
        return ""

    def simulates(self, recipient: Address) -> bool:
        """Whether it is an ESP's simulator address, which proves nothing."""
        return False

    def derived_secrets(self) -> Iterable[str]:
        """Return texts that are as secret as the fields made by :func:`secret`: parts of them, and what they are made into.

        Nobody needs to name the fields themselves, nor any base64, percent escape, JSON or HTML that holds one. It is asked
        of a provider whose references are resolved, before a text from outside is stored or shown.
        """
        return ()

    def check(self, now: int) -> Generator[HttpRequest, HttpResponse, CheckReport]:
        """Try the credentials without sending: yield requests one after the other, be sent the answers, return what they say.

        The requests change nothing at the ESP, so the engine may repeat them; it is what transmits, waits
        and watches the time. Where a request fails, its ``TransportError`` is raised at the ``yield``; what is
        let through becomes a report that says so. ``now`` is UTC milliseconds. Without one of its own an
        ESP's credentials cannot be checked, and the report says that.
        """
        yield from ()
        return CheckReport.unknown(f"{self.label} cannot be asked without sending", "send a test email; that proves it")

    # -- what the engine calls ------------------------------------------------------------------

    @final
    def request(self, mail: Outgoing, now: int, *, checked: bool = False) -> HttpRequest:
        """Return the one HTTP request that sends this mail.

        ``checked`` says that :meth:`unsupported` was just asked about this mail and had no reason; else it is asked
        here. Raises :class:`~deliverykit.Unsupported` where it has a reason, and
        :class:`~deliverykit.ConfigurationError` where a subclass's ``payload()`` changes what is promised. ``extra``
        is compared with :meth:`sealed` once more in any case.
        """
        payload = self.payload(mail)
        extra = mail.message.extra.get(self.esp)
        if extra or not self._trusted:
            sealed = self.sealed(mail)
            if found := touched(payload, sealed) or misspelled(payload, sealed)[0]:
                raise ConfigurationError(
                    f"{type(self).__name__}.payload() changed {found}, which the library promises; leave it"
                )
            if extra:
                whole = merged(payload, extra)
                if problem := self._changed(payload, whole, extra, sealed):
                    raise MessageError(problem)
                payload = whole
        if not checked and (reasons := self.unsupported(mail.message, mail.sender if mail.forced else None)):
            why = "; ".join(reasons)
            raise Unsupported(f"{self.label} cannot carry this message: {why}", {self.name: why})
        return self.encode(mail, payload, now)

    def _probe(self, message: Message, sender: Address | None) -> Outgoing:
        """The message as this server would send it, with a stand-in for our id, to judge it by."""
        return Outgoing.of(message, _PROBE_ID, sender or message.sender or _NOBODY, forced=sender is not None)

    def _extra_problem(self, message: Message, extra: Mapping[str, Any], sender: Address | None) -> str:
        """Why ``extra`` cannot be merged into this message's request; ``""`` where it can."""
        mail = self._probe(_light(message), sender)
        try:
            payload, sealed = self.payload(mail), self.sealed(mail)
        except MessageError as error:  # a plug-in's payload() that refuses by itself
            return str(error)
        except ConfigurationError:
            return ""  # no fault of the message's: request() says it, and the server is paused for it
        if touched(payload, sealed):
            return ""  # nor is this
        if found := mentioned(extra, sealed):
            return self._sealed_text(found)
        return self._changed(payload, merged(payload, extra), extra, sealed)

    def _changed(
        self, payload: Mapping[str, Any], whole: Mapping[str, Any], extra: Mapping[str, Any], sealed: Mapping[Path, Any]
    ) -> str:
        """What of the promised values ``extra`` has changed, or put a second spelling beside; ``""`` for nothing."""
        if found := touched(whole, sealed):
            return self._sealed_text(found)
        name, wanted = twins(payload, extra)
        if not name:
            name, wanted = misspelled(whole, sealed)
        return f"extra[{self.esp!r}]: {name} differs only in case from {wanted!r}; write {wanted!r}" if name else ""

    def _sealed_text(self, path: str) -> str:
        return f"extra[{self.esp!r}]: {path} cannot be changed this way; use the message's own fields"

    @final
    def outcome(self, response: HttpResponse, mail: Outgoing, now: int) -> Outcome:
        """Return what this answer means, its texts bounded, printable and without this provider's secrets.

        Every answer gives exactly one outcome. An instant that the ESP names is 1 second to 24 hours after ``now``.
        """
        return self._told(self._judged(response, mail, now), now)

    def _judged(self, response: HttpResponse, mail: Outgoing, now: int) -> Outcome:
        status, complete = response.status, response.complete
        response = response.beginning()
        if 200 <= status < 300:
            accepted = self.accepted(response) if complete else None
            if accepted is None:
                return Unknown(f"{status} without {self.label}'s shape")
            return Accepted(accepted)
        text = self.error(response)
        if text is None:
            origin = f" that is not {self.label}'s"
            page = Answer(status=status, text=response.text(200), response=response, mail=mail, now=now, origin=origin)
            return foreign(self.table, page)
        answer = Answer(status=status, text=clean(text, TEXT_LIMIT), response=response, mail=mail, now=now)
        return judged(self.table, answer)

    def _told(self, outcome: Outcome, now: int) -> Outcome:
        """The outcome as it may be stored and shown."""
        match outcome:
            case Accepted(id_):
                return Accepted(self.safe_text(id_, ID_LIMIT))
            case Throttled(until=until):
                until = None if until is None else within_a_day(until, now)
                return evolve(outcome, reason=self.safe_text(outcome.reason), until=until)
            case NotSent(retry_after=seconds):
                seconds = (within_a_day(now + seconds * 1000, now) - now) / 1000 if seconds else 0.0
                return evolve(outcome, reason=self.safe_text(outcome.reason), retry_after=seconds)
            case _:
                return evolve(outcome, reason=self.safe_text(outcome.reason))

    @final
    def safe_text(self, text: object, limit: int = TEXT_LIMIT) -> str:
        """Return a text from outside (an answer, a transport's error) as it may be stored and shown.

        It is one line of at most ``limit`` printable characters, without this provider's secrets, however they are
        written in it: as they are, in base64, in percent escapes, JSON or HTML.
        """
        values = [getattr(self, one.name) for one in self.options() if one.metadata.get("secret")]
        secrets = [one.reveal() if isinstance(one, Secret) else one for one in values if isinstance(one, Secret | str)]
        return _mask((*secrets, *(self.derived_secrets() if secrets else ()))).apply(text, limit)

    def with_credentials(self, lookup: Callable[[Env | Named], object]) -> Self:
        """The same provider with its references replaced by what ``lookup`` finds for them, ready for :meth:`request`.

        ``lookup`` gives text, a :class:`~deliverykit.words.credentials.Secret`, or a callable that
        returns either; ``None`` or a ``LookupError`` where there is none. It may block (a boto3
        session asks its own sources). Raises :class:`~deliverykit.ConfigurationError` naming the
        field and the reference, never the value.
        """
        found: dict[str, Any] = {}
        for one in self.options():
            reference = getattr(self, one.name)
            if isinstance(reference, Env | Named):
                value = self._looked_up(one.name, reference, lookup)
                if not isinstance(value, str | Secret) or not value:
                    raise ConfigurationError(f"{type(self).__name__} {one.name}: {reference!r} gives no text; set it")
                found[one.alias or one.name] = value
        return evolve(self, **found) if found else self  # type: ignore[misc]

    def _looked_up(self, name: str, reference: Env | Named, lookup: Callable[[Env | Named], object]) -> object:
        try:
            value = lookup(reference)
            return value() if callable(value) else value
        except LookupError:
            raise ConfigurationError(f"{type(self).__name__} {name}: there is no {reference!r}; set it") from None

    # -- what hosts and records read --------------------------------------------------------------

    @classmethod
    def options(cls) -> tuple["Attribute[Any]", ...]:
        """The configuration fields, with their metadata."""
        return tuple(one for one in fields(cls) if one.init)  # type: ignore[arg-type]

    @final
    def own_hosts(self) -> tuple[str, ...]:
        """Return :attr:`hosts`, filled in with the options of this provider."""
        return tuple(one.format_map(self.plain()) for one in self.hosts) if self.hosts else ()

    @final
    def kept(self, account: str) -> Self:
        """Return the same provider, its secrets marked as stored for this account and for where it sends them."""
        home = self._home(account)
        secrets = {
            one.alias or one.name: value.kept_for(home)
            for one in self.options()
            if isinstance(value := getattr(self, one.name), Secret)
        }
        return evolve(self, **secrets) if secrets else self  # type: ignore[misc]

    @final
    def astray(self, account: str) -> tuple[str, ...]:
        """Return the names of the secrets that were stored for another account or destination than this provider's."""
        home = self._home(account)
        values = ((one.name, getattr(self, one.name)) for one in self.options())
        return tuple(name for name, value in values if isinstance(value, Secret) and value.home not in (None, home))

    def _home(self, account: str) -> tuple[str, ...]:
        destinations = [repr(getattr(self, one.name)) for one in self.options() if one.metadata.get("destination")]
        return (account, self.esp, *destinations)

    def plain(self) -> dict[str, Any]:
        """The fields that are not secret, as plain values."""
        values: dict[str, Any] = asdict(self, recurse=False)  # type: ignore[arg-type]
        return {one.name: values[one.name] for one in self.options() if not one.metadata.get("secret")}


_SEALED_FOR: Final = {
    "": "it keeps the From, the recipients and our id; override payload() instead",
    "outcome": "it keeps secrets out of what an ESP says; give a table, or override accepted() and error() instead",
    "safe_text": "it keeps secrets out of what an ESP says; override derived_secrets() instead",
}


@lru_cache(256)
def _mask(secrets: tuple[str, ...]) -> Mask:
    return Mask(secrets)


def _author(cls: type, method: str) -> type | None:
    return next((base for base in cls.__mro__ if method in vars(base)), None)


def _light(message: Message) -> Message:
    """The message without the bytes of its files and its raw body, which decide nothing about ``extra``."""
    if message.raw is not None:
        return message.evolve(raw=head_alone(message.raw))
    if message.attachments:
        return message.evolve(attachments=[evolve(one, content=b"x") for one in message.attachments])
    return message
