"""What a message encloses: files, and the way to unsubscribe."""

import hashlib
import mimetypes
import re

from attrs import field, frozen

from deliverykit.words.arguments import refused, shown
from deliverykit.words.errors import MessageError
from deliverykit.words.lines import one_line

__all__ = ["Attachment", "Unsubscribe"]

_KIND = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")
# RFC 2045: a token, or text in quotes in which a backslash escapes the next character.
_PARAMETER = re.compile(
    r"(?<=;)[ \t]*+([A-Za-z0-9!#$%&'*+.^_`{|}~-]++)[ \t]*+=[ \t]*+(?:\"(?:[^\"\\]|\\.)*+\"|[^\s;\"\\]++)[ \t]*+"
)
_LONGEST_TYPE = 1_000


@frozen(kw_only=True)
class Attachment:
    """A file. ``content_id`` makes it an inline image, shown by ``<img src="cid:…">``.

    ``content_type`` is guessed from the file name where it is not given.
    """

    filename: str = field()
    content: bytes = field(repr=False)
    content_type: str = ""
    content_id: str = ""
    _digest: str = field(default="", init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not one_line(self.filename, "attachment filename").strip():
            raise MessageError("attachment filename: empty; ESPs drop nameless files without a word")
        if not isinstance(self.content, bytes):
            what, write = f"attachment {shown(self.filename)}: content", "write Path(…).read_bytes() or text.encode()"
            refused(what, self.content, "expected bytes", write, MessageError)
        given = one_line(self.content_type, f"attachment {shown(self.filename)} content_type")
        guessed = given or mimetypes.guess_type(self.filename)[0] or "application/octet-stream"
        object.__setattr__(self, "content_type", _media_type(guessed, f"attachment {shown(self.filename)} content_type"))
        content_id = one_line(self.content_id, f"attachment {shown(self.filename)} content_id").strip()
        content_id = content_id.removeprefix("<").removesuffix(">")
        if re.search(r"[\s<>\"]", content_id) or not content_id.isascii():
            raise MessageError(
                f"attachment {shown(self.filename)}: content_id {shown(content_id)} must be ASCII without spaces, quotes or <>"
            )
        object.__setattr__(self, "content_id", content_id)

    @property
    def inline(self) -> bool:
        """Whether it is shown inside the HTML rather than listed."""
        return bool(self.content_id)

    @property
    def digest(self) -> str:
        """The SHA-256 of its content in hexadecimal, reckoned once: one file goes to many people."""
        if not self._digest:
            object.__setattr__(self, "_digest", hashlib.sha256(self.content).hexdigest())
        return self._digest


@frozen(kw_only=True)
class Unsubscribe:
    """Where a reader unsubscribes (RFC 2369); an ``https`` URL is offered as one-click (RFC 8058).

    ``url`` must answer a POST of ``List-Unsubscribe=One-Click`` without asking again.
    """

    url: str = ""
    mailto: str = ""

    def __attrs_post_init__(self) -> None:
        for what, value, scheme in (("url", self.url, "https://"), ("mailto", self.mailto, "mailto:")):
            if not isinstance(value, str) or (value and not _is_target(value, scheme)):
                raise MessageError(
                    f"unsubscribe {what}: {shown(value)} must be an ASCII {scheme}… address without spaces, commas or <>"
                )
        if not self.url and not self.mailto:
            raise MessageError("unsubscribe: give a url, a mailto, or both")

    @property
    def headers(self) -> dict[str, str]:
        """``List-Unsubscribe``, and ``List-Unsubscribe-Post`` where there is a URL."""
        listed = ", ".join(f"<{target}>" for target in (self.mailto, self.url) if target)
        post = {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"} if self.url else {}
        return {"List-Unsubscribe": listed, **post}


def _media_type(value: str, what: str) -> str:
    """A media type with its parameters, each of the form ``name=value``; a semicolon after the last is left out."""
    text = one_line(value, what).strip(" \t").rstrip("; \t")
    if len(text) > _LONGEST_TYPE:
        raise MessageError(f"{what}: {text[:40]!r}… has {len(text):,} characters; give a media type such as 'image/png'")
    kind, semicolon, _ = text.partition(";")
    if not _KIND.fullmatch(kind.rstrip(" \t")):
        raise MessageError(f"{what}: {text!r} is not a media type; write one such as 'image/png'")
    at = len(kind) + len(semicolon)
    while at < len(text):
        found = _PARAMETER.match(text, at)
        if not found or text[found.end() : found.end() + 1] not in ("", ";"):
            raise MessageError(f"{what}: {text[at:]!r} is no parameter; write 'text/plain; charset=utf-8', or leave it out")
        at = found.end() + 1
    return text


def _is_target(value: str, scheme: str) -> bool:
    rest = value[len(scheme) :]
    whole = "@" in rest if scheme == "mailto:" else rest[:1].isalnum() or rest[:1] == "["
    return value.lower().startswith(scheme) and whole and value.isascii() and not re.search(r"[\s<>,\x00-\x1f\x7f]", value)
