"""Web addresses are read in one way only; every spelling that clients read differently is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliverykit.words.origins import origin_of

GOOD = {
    "https://api.sendgrid.com": "https://api.sendgrid.com",
    "HTTPS://API.SendGrid.COM:443/": "https://api.sendgrid.com",
    "https://api.sendgrid.com/v3/x": "https://api.sendgrid.com",
    "http://localhost:8025": "http://localhost:8025",
    "http://127.0.0.1:80": "http://127.0.0.1",
    "http://[::1]:8025": "http://[::1]:8025",
    "http://[0:0:0:0:0:FFFF:127.0.0.1]": "http://[::ffff:7f00:1]",
    "https://xn--bcher-kva.example": "https://xn--bcher-kva.example",
    "https://my_proxy": "https://my_proxy",
}
BAD = [
    "", "api.sendgrid.com", "ftp://api.sendgrid.com", "https:/api.sendgrid.com", "https://", "https://:443",
    "https://user@api.sendgrid.com", "https://user:pass@evil.example", "https://api.sendgrid.com@evil.example",
    "https://api.sendgrid.com#@evil.example", "https://evil.example?api.sendgrid.com", "https://evil.example\\@api.sendgrid.com",
    "https://api.sendgrid.com\\.evil.example", "https://api.sendgrid.com.", "https://api..sendgrid.com",
    "https://api.sendgrid.com:", "https://api.sendgrid.com:0", "https://api.sendgrid.com:65536", "https://api.sendgrid.com:٨٠",
    "https://api.sendgrid.com:80:80", "https://api.sendgrid.com:+443", "https://api.sendgrid.com: 443",
    "https://api%2esendgrid.com", "https://api.sendgrid.com%00.evil.example", "https://ａpi.sendgrid.com",
    "https://api。sendgrid.com", "https://bücher.example", "https://api.sendgrid.com\n", "https://api.sendgrid.com\t",
    " https://api.sendgrid.com", "https://api.sendgrid.com /", "https://api.sendgrid\x00.com",
    "http://2130706433", "http://0x7f000001", "http://0x7f.1", "http://017700000001", "http://0177.0.0.1", "http://127.1",
    "http://127.0.1", "http://127.0.0.01", "http://127.0.0.256", "http://1.2.3.4.5", "http://127.0.0.1.", "http://0x",
    "http://[::1", "http://::1", "http://[::1%25lo]", "http://[::1%lo]", "http://[fe80::1%eth0]", "http://[127.0.0.1]",
    "http://[]", "http://[::1]x", "http://[::1]]", "http://-a.example", "http://a-.example", "http://" + "a" * 64 + ".example",
    "http://" + "a." * 130 + "example", "https://" + "a" * 3000,
]  # fmt: skip


@pytest.mark.parametrize(("url", "origin"), GOOD.items())
def test_good_addresses_have_one_origin(url, origin):
    assert str(origin_of(url)) == origin
    assert origin_of(str(origin_of(url))) == origin_of(url)


@pytest.mark.parametrize("url", BAD)
def test_ambiguous_addresses_are_refused(url):
    with pytest.raises(ValueError, match=".") as told:
        origin_of(url)
    assert "user:pass" not in str(told.value)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "[::1]", "[::ffff:127.0.0.1]", "[0::0:1]"]
)
def test_loopback_is_known(host):
    assert origin_of(f"http://{host}:8025").loopback


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "169.254.169.254", "0.0.0.0", "localhost.example", "127.0.0.1.nip.io", "[::]", "[::ffff:10.0.0.1]"]
)
def test_other_hosts_are_not_loopback(host):
    assert not origin_of(f"http://{host}").loopback


@given(st.text(max_size=40), st.text(max_size=12))
def test_any_text_is_read_or_refused(text, tail):
    for url in (text, f"https://{text}", f"https://api.sendgrid.com{tail}", f"http://127.0.0.1{tail}"):
        try:
            origin = origin_of(url)
        except ValueError:
            continue
        assert str(origin_of(str(origin))) == str(origin)
        assert origin.host.isascii()
        if url.startswith("https://api.sendgrid.com") and origin.host != "api.sendgrid.com":
            assert origin.host.startswith("api.sendgrid.com")


@given(st.text(alphabet="./:@?#\\%[]-_xn0123456789abc \n", max_size=30))
def test_reading_agrees_with_the_http_client(text):
    """Where both read an address, host and port are the same."""
    httpx2 = pytest.importorskip("httpx2")
    url = f"https://{text}"
    try:
        origin = origin_of(url)
    except ValueError:
        return
    theirs = httpx2.URL(url)
    host = theirs.host.lower()
    assert (host, theirs.port or 443) == (origin.host, origin.port) or ":" in origin.host
