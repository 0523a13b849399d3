"""One who receives webhooks: a real HTTP server on loopback that answers as it is told and keeps what it was sent."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CLOSE = 0
HANG = -1
GARBAGE = -2


@dataclass(frozen=True)
class Received:
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def alert(self) -> Any:
        return json.loads(self.body)["data"]


@dataclass
class Receiver:
    """What to answer, what was received, and what was answered with 2xx."""

    port: int = 0
    answers: deque[int | tuple[int, dict[str, str]]] = field(default_factory=deque)  # then 204 for ever
    refuses: set[str] = field(default_factory=set)  # ids of alerts that are answered with 422
    received: list[Received] = field(default_factory=list)
    accepted: list[Received] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)  # ends what hangs
    arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/wattstream"

    @property
    def ids(self) -> list[str]:
        """The ids of what was received, in order."""
        return [received.event_id for received in self.received]

    def wait(self, received: int = 0, accepted: int = 0) -> None:
        """Wait until so much has been received and accepted."""
        with self.arrived:
            enough = self.arrived.wait_for(
                lambda: len(self.received) >= received and len(self.accepted) >= accepted, timeout=30
            )
        assert enough, (len(self.received), len(self.accepted))

    def take(self, received: Received) -> tuple[int, dict[str, str]]:
        """Keep a request and return what to answer."""
        with self.arrived:
            answer = self.answers.popleft() if self.answers else 204
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            if received.alert["alert_id"] in self.refuses:
                status = 422
            self.received.append(received)
            if 200 <= status < 300:
                self.accepted.append(received)
            self.arrived.notify_all()
        return status, headers


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, extra = self.receiver.take(Received(self.path, headers, body))
        if status == HANG:
            self.receiver.released.wait(30)
        if status == GARBAGE:
            self.wfile.write(b"no HTTP at all\r\n\r\n")
        if status in (CLOSE, HANG, GARBAGE):
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {"Content-Length": "0", **extra}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def receiving(receiver: Receiver | None = None) -> Iterator[Receiver]:
    """Receive webhooks on a free port, or that of a receiver that was there before."""
    receiver = receiver or Receiver()
    handler = type("Handler", (_Handler,), {"receiver": receiver})
    with ThreadingHTTPServer(("127.0.0.1", receiver.port), handler) as server:
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.released.set()
            server.shutdown()
            thread.join(10)
