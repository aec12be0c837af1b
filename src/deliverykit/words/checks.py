"""What a check of credentials found: whether mail may go, what the ESP told, what is wrong and how to mend it."""

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from deliverykit.words.arguments import Choice

__all__ = ["CheckProblem", "CheckReport", "CheckStatus"]


class CheckStatus(Choice):
    """How a check ended."""

    OK = "ok"
    """The ESP takes these credentials, and said nothing that stands against sending."""
    REFUSED = "refused"
    """The ESP refused the credentials, or said that it would not send; ``problems`` says why."""
    UNKNOWN = "unknown"
    """It could not be found out: the ESP was not reached, or these credentials may send and ask nothing."""


@frozen(kw_only=True)
class CheckProblem:
    """One thing to mend."""

    what: str
    mend: str
    blocks: bool = False
    """Whether mail is refused because of it. Otherwise it is something to know."""

    def __str__(self) -> str:
        return f"{self.what}; {self.mend}"


@frozen(kw_only=True)
class CheckReport:
    """The answer of ``servers.check``. True when it is OK. ``str()`` says all of it in lines; no secret is in it."""

    status: CheckStatus
    facts: Mapping[str, str] = field(factory=dict)
    """What the ESP told about the account, by a name for people: ``{"Rate": "14 emails a second"}``."""
    problems: tuple[CheckProblem, ...] = ()

    @classmethod
    def of(cls, facts: Mapping[str, str], problems: Iterable[CheckProblem] = ()) -> "CheckReport":
        """The ESP told all it was asked for: REFUSED if one of the problems blocks, else OK."""
        found = tuple(problems)
        blocked = any(one.blocks for one in found)
        return cls(status=CheckStatus.REFUSED if blocked else CheckStatus.OK, facts=facts, problems=found)

    @classmethod
    def refused(cls, what: str, mend: str) -> "CheckReport":
        """One problem that blocks."""
        return cls(status=CheckStatus.REFUSED, problems=(CheckProblem(what=what, mend=mend, blocks=True),))

    @classmethod
    def unknown(cls, what: str, mend: str) -> "CheckReport":
        """Why it could not be found out."""
        return cls(status=CheckStatus.UNKNOWN, problems=(CheckProblem(what=what, mend=mend),))

    @property
    def ok(self) -> bool:
        """Whether the ESP takes these credentials, and said nothing that stands against sending."""
        return self.status is CheckStatus.OK

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        facts = (f"  {name}: {value}" for name, value in self.facts.items())
        return "\n".join([self.status.value, *facts, *(f"  ! {one}" for one in self.problems)])
