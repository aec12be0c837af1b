"""Small servers that misbehave on purpose, one thread each connection, on loopback."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

Behaviour = Callable[["Server", socket.socket], None]


class Server:
    """Counts connections and requests whose head was seen; ``url`` is where it listens."""

    def __init__(
        self, behaviour: Behaviour, context: ssl.SSLContext | None = None, before_tls: Callable[[], object] = lambda: None
    ) -> None:
        self.behaviour = behaviour
        self.before_tls = before_tls
        self.context = context
        self.connections = 0
        self.requests = 0
        self.seen: list[bytes] = []
        self.done = threading.Event()
        self.went_on = threading.Semaphore(0)
        """Released by a behaviour that has said more than it was asked for."""
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=300)
        self.port = self._socket.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}/v1/send"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.settimeout(100)
            if self.context is not None:
                self.before_tls()
                connection = self.context.wrap_socket(connection, server_side=True)
            with contextlib.closing(connection):
                self.behaviour(self, connection)

    def request(self, connection: socket.socket) -> bytes:
        """One request, head and body; empty at the end of the connection."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        with self._lock:
            self.requests += 1
            self.seen.append(head)
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
        )
        while len(body) < length:
            piece = connection.recv(1 << 20)
            if not piece:
                return b""
            body += piece
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        self.done.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)
        for thread in self._threads:
            thread.join(5)


@contextmanager
def serving(
    behaviour: Behaviour, context: ssl.SSLContext | None = None, before_tls: Callable[[], object] = lambda: None
) -> Iterator[Server]:
    server = Server(behaviour, context, before_tls)
    try:
        yield server
    finally:
        server.close()


def answer(raw: bytes) -> Behaviour:
    """Every request gets these bytes; then the connection is kept."""

    def behave(server: Server, connection: socket.socket) -> None:
        while server.request(connection):
            connection.sendall(raw)

    return behave


def at_once(raw: bytes) -> Behaviour:
    """Answer the first bytes received with these, without reading a request, and close the connection."""

    def behave(server: Server, connection: socket.socket) -> None:
        if connection.recv(65536):
            connection.sendall(raw)

    return behave


def ok(body: bytes = b'{"id": "1"}', status: bytes = b"202 Accepted", headers: bytes = b"X-Message-Id: abc\r\n") -> bytes:
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, headers, len(body), body)


def proxy(before_reply: Callable[[], object] = lambda: None) -> Behaviour:
    """Opens a tunnel to wherever it is asked for, after ``before_reply``, and forwards bytes both ways."""

    def behave(server: Server, connection: socket.socket) -> None:
        head = server.request(connection)
        if not head:
            return
        host, _, port = head.split()[1].decode().rpartition(":")
        before_reply()
        with socket.create_connection((host, int(port))) as far:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_forward, args=(far, connection), daemon=True)
            back.start()
            _forward(connection, far)
            back.join(20)

    return behave


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def hang(server: Server, connection: socket.socket) -> None:
    """Takes the request and says nothing."""
    server.request(connection)
    server.done.wait(100)


def deaf(server: Server, connection: socket.socket) -> None:
    """Accepts, and reads nothing."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    server.done.wait(100)


def reset(server: Server, connection: socket.socket) -> None:
    """Takes the request, then resets the connection."""
    server.request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hang_up(server: Server, connection: socket.socket) -> None:
    """Takes the request, then closes without an answer."""
    server.request(connection)


def drip_head(server: Server, connection: socket.socket) -> None:
    """A byte of the head at a time, for ever."""
    server.request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not server.done.wait(0.03):
        connection.sendall(b"a")


def drip_body(server: Server, connection: socket.socket) -> None:
    """A byte of the body at a time, for ever."""
    server.request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not server.done.wait(0.03):
        connection.sendall(b"a")


def endless(server: Server, connection: socket.socket) -> None:
    """A body without an end, as fast as it goes."""
    server.request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not server.done.is_set():
        connection.sendall(b"a" * 65536)


def stale(server: Server, connection: socket.socket) -> None:
    """Answers the first request of a connection; takes the second and hangs up."""
    server.request(connection)
    connection.sendall(ok())
    server.request(connection)


def slow_ok(server: Server, connection: socket.socket) -> None:
    """Answers after 100 ms, and keeps the connection."""
    while server.request(connection):
        time.sleep(0.1)
        connection.sendall(ok())


def talkative(server: Server, connection: socket.socket) -> None:
    """Says which request it answers, and goes on with the answer to another that nobody has made."""
    while server.request(connection):
        mine = str(server.requests).encode()
        connection.sendall(ok(mine, headers=b"") + ok(b"another's", headers=b""))


def refused_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def self_signed(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate of its own for 127.0.0.1, and a client's that trusts it."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=str(path))
