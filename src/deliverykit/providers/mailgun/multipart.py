"""multipart/form-data (RFC 7578), byte for byte the same for the same input.

The standard library's ``email`` writes MIME for mail: it folds headers and spells file names as
``filename*=`` (RFC 2231), which RFC 7578 section 4.2 forbids in forms and Mailgun does not read.
Here a file name is its UTF-8 bytes between quotes, ``"`` and ``\\`` behind a backslash.
"""

from collections.abc import Iterable
from hashlib import sha256

from attrs import field, frozen

__all__ = ["File", "encoded"]


@frozen(kw_only=True)
class File:
    """A file of a form."""

    filename: str
    content: bytes = field(repr=False)
    content_type: str = "application/octet-stream"


def encoded(parts: Iterable[tuple[str, str | File]], seed: str) -> tuple[bytes, str]:
    """The body of a form and its Content-Type.

    ``seed`` makes the boundary, so that one mail always gives the same bytes; a boundary that stands
    anywhere in the content is passed over. Names and file names must be free of CR and LF.
    """
    items = [(_head(name, value), value.content if isinstance(value, File) else value.encode()) for name, value in parts]
    boundary = _boundary(seed, [piece for item in items for piece in item])
    line = b"--" + boundary
    pieces: list[bytes] = []
    for head, content in items:
        pieces += [line, b"\r\n", head, b"\r\n\r\n", content, b"\r\n"]
    return b"".join([*pieces, line, b"--\r\n"]), f"multipart/form-data; boundary={boundary.decode()}"


def _head(name: str, value: str | File) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{_quoted(name)}"'
    if isinstance(value, File):
        disposition += f'; filename="{_quoted(value.filename)}"\r\nContent-Type: {value.content_type}'
    return disposition.encode()


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _boundary(seed: str, pieces: list[bytes]) -> bytes:
    turn = 0
    while True:
        boundary = b"deliverykit-" + sha256(f"{seed}/{turn}".encode()).hexdigest()[:32].encode()
        if not any(boundary in piece for piece in pieces):
            return boundary
        turn += 1
