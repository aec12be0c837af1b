"""Taking the standard library's ``EmailMessage`` apart."""

import re
from email.message import EmailMessage
from typing import Any

from deliverykit.words.addresses import Address
from deliverykit.words.enclosures import Attachment
from deliverykit.words.errors import MessageError
from deliverykit.words.lines import RESERVED_HEADERS

__all__ = ["fields_of"]

_WHOLE = {"multipart/signed", "multipart/encrypted", "multipart/report"}
"""What means something only as a whole: taken apart, a signature no longer fits."""

_OWN_FIELDS = {"from": "sender", "to": "to", "cc": "cc", "bcc": "bcc", "reply-to": "reply_to"}


def fields_of(email: EmailMessage) -> dict[str, Any]:
    """The keyword arguments of a ``Message`` equal to the standard library's message."""
    fields: dict[str, Any] = {"headers": {}}
    for name, value in email.items():
        lowered = name.lower()
        if lowered in _OWN_FIELDS:
            if not hasattr(value, "addresses"):
                raise MessageError("the email has the compat32 policy; parse it with policy=email.policy.default")
            found = [Address(f"{one.username}@{one.domain}", one.display_name) for one in value.addresses]
            fields[_OWN_FIELDS[lowered]] = found[0] if lowered == "from" and found else found
        elif lowered == "subject":
            fields["subject"] = str(value)
        elif lowered not in RESERVED_HEADERS:
            if name in fields["headers"]:
                raise MessageError(f"headers: {name} stands twice in the email; send it as raw=")
            fields["headers"][name] = re.sub(r"[\r\n]\s*", " ", str(value))
    fields["attachments"] = []
    _take_part(email, fields)
    return fields


def _take_part(part: EmailMessage, fields: dict[str, Any]) -> None:
    kind = part.get_content_type()
    attached = part.get_content_disposition() == "attachment" or part.get_filename() is not None
    if kind.startswith("message/") or kind in _WHOLE:
        raise MessageError(f"the email carries a {kind} part; send it as raw=")
    if part.is_multipart():
        for child in part.iter_parts():
            if isinstance(child, EmailMessage):
                _take_part(child, fields)
    elif kind in {"text/plain", "text/html"} and not attached:
        which = "text" if kind == "text/plain" else "html"
        if which in fields:
            raise MessageError(f"the email has more than one {kind} body; send it as raw=")
        try:
            fields[which] = part.get_content().replace("\r\n", "\n")
        except LookupError as error:
            raise MessageError(f"the email's {kind} body cannot be decoded ({error}); send it as raw=") from None
    else:
        content = part.get_payload(decode=True)  # the file's bytes, whatever a text/csv says of its charset
        fields["attachments"].append(
            Attachment(
                filename=part.get_filename() or f"part{len(fields['attachments']) + 1}",
                content=content if isinstance(content, bytes) else b"",
                content_type=kind,
                content_id=part.get("Content-ID", "") if part.get_content_disposition() != "attachment" else "",
            )
        )
