"""Nothing of the place where it was written, and nobody's key, is in the project."""

import re

from checkout import tracked_files

# Spelled in pieces, so that this file does not find itself.
PLACES = re.compile(rf"(?<![\w.:/~-])/(?:{'wo' + 'rk'}|{'ro' + 'ot'}|{'ho' + 'me'}|{'op' + 't'}|{'Us' + 'ers'})/[\w.-]")
SECRETS = {
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)(?![A-Z0-9]*EXAMPLE)[A-Z0-9]{16}\b"),
    "a SendGrid key": re.compile(r"\bSG\.[\w-]{22}\.[\w-]{43}\b"),
    "a Mailgun key": re.compile(r"\bkey-[0-9a-f]{32}\b"),
    "a private key": re.compile("-----BEGIN (?:[A-Z]+ )?" + "PRIVATE KEY-----"),
    "a Fernet key": re.compile(r"(?<![\w/+=-])[\w-]{43}=(?![\w=])"),
}
ADDRESS = re.compile(r"[\w.+-]+@([\w-]+(?:\.[\w-]+)+)")
RESERVED = re.compile(r"(?:^|\.)(?:example|test|invalid|localhost)$|(?:^|\.)example\.(?:org|com|net)$")


def _texts() -> list[tuple[str, str]]:
    texts = []
    for path in tracked_files():
        try:
            texts.append((path.name, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return texts


def test_the_patterns_find_what_they_look_for() -> None:
    assert PLACES.search("see /" + "work/main")
    assert SECRETS["an AWS access key"].search("AKIA" + "ABCDEFGHIJKLMNOP")
    assert not SECRETS["an AWS access key"].search("AKIAIOSFODNN7EXAMPLE")
    assert SECRETS["a SendGrid key"].search("SG." + "a" * 22 + "." + "b" * 43)


def test_no_path_of_the_workplace() -> None:
    found = [f"{name}: {match.group()}…" for name, text in _texts() if (match := PLACES.search(text))]
    assert not found


def test_no_secret() -> None:
    found = [
        f"{name}: looks like {what}" for name, text in _texts() for what, pattern in SECRETS.items() if pattern.search(text)
    ]
    assert not found


def test_example_recipients_are_nobody() -> None:
    texts = {name: text for name, text in _texts() if name.startswith("recipients") or name == "newsletter.eml"}
    assert len(texts) == 3
    for name, text in texts.items():
        domains = {domain.lower() for domain in ADDRESS.findall(text)}
        assert domains
        assert not [domain for domain in domains if not RESERVED.search(domain)], name
