"""The adapters, one folder per ESP, and what a host needs to draw its "add a delivery server" form.

The classes are loaded when they are first asked for, so that a host pays for the ESPs it uses.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attrs import NOTHING, Attribute, frozen

if TYPE_CHECKING:
    from deliverykit.contracts.provider import Provider
    from deliverykit.providers.elasticemail import ElasticEmail
    from deliverykit.providers.mailgun import Mailgun
    from deliverykit.providers.sendgrid import SendGrid
    from deliverykit.providers.ses import SES

__all__ = ["SES", "ElasticEmail", "FieldInfo", "Mailgun", "ProviderInfo", "SendGrid", "available"]

_HOMES = {"SES": "ses", "SendGrid": "sendgrid", "Mailgun": "mailgun", "ElasticEmail": "elasticemail"}


@frozen(kw_only=True)
class FieldInfo:
    """One field of an ESP's form; errors about it use the same ``name``."""

    name: str
    label: str
    where: str
    """Where a person finds the value."""
    secret: bool
    """Whether it is a credential: not to be shown again, and kept encrypted."""
    required: bool
    default: str
    """What an empty field means; ``""`` where it is required, or optional and empty."""
    choices: tuple[str, ...]
    """The only values it may have; empty where it is free."""
    named: bool = False
    """Whether it takes only ``Named(…)``: the name of what the host hands over, and no secret itself."""

    @classmethod
    def of(cls, attribute: "Attribute[Any]") -> "FieldInfo":
        """The description of one configuration field of a provider."""
        about = attribute.metadata
        return cls(
            name=attribute.alias or attribute.name,
            label=about.get("label", attribute.name),
            where=about.get("where", ""),
            secret=about.get("secret", False),
            required=attribute.default is NOTHING,
            default=attribute.default if isinstance(attribute.default, str) else "",
            choices=tuple(about.get("choices", ())),
            named=about.get("named", False),
        )


@frozen(kw_only=True)
class ProviderInfo:
    """What one ESP wants to know: its registered ``name``, its ``label`` for people, and its fields in order."""

    name: str
    label: str
    fields: tuple[FieldInfo, ...]

    @classmethod
    def of(cls, provider: "type[Provider]") -> "ProviderInfo":
        """The description of a provider class: one of ours, or a host's own."""
        return cls(name=provider.name, label=provider.label, fields=tuple(FieldInfo.of(one) for one in provider.options()))


def available() -> tuple[ProviderInfo, ...]:
    """The four ESPs and their fields, for a form or a command line. Loads no ESP's own library (boto3)."""
    return tuple(ProviderInfo.of(getattr(import_module(f"{__name__}.{home}"), name)) for name, home in _HOMES.items())


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
