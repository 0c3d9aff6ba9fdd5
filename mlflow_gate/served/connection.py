"""An endpoint that predicts, and connections to it: each request waits for the answer to the one before."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from mlflow_gate.served.model import ServedError

_ANSWER_S = 60.0
_IDLE_S = 4.0  # uvicorn closes a connection after 5 s
_OK = 200
_TIMED_OUT = 504
_HEADERS = {"Content-Type": "application/json"}


class ServerError(ServedError):
    """What answers for the model at `uri` does not start, or does not answer."""

    def __init__(self, uri: str, why: str) -> None:
        super().__init__(f"{uri} {why}")
        self.uri = uri


class Endpoint:
    """A URL that takes bodies of JSON by POST. Messages call it `uri`; `model_id` is that of its logged model.

    Nothing is known of the processes behind it, so that it has neither CPU time nor memory.
    """

    def __init__(self, uri: str, url: str, model_id: str | None = None) -> None:
        self.uri = uri
        self.url = url
        self.model_id = model_id
        self.pids: set[int] = set()

    @property
    def answer_s(self) -> float:
        """How long a client waits for an answer."""
        return _ANSWER_S

    @property
    def too_slow(self) -> str:
        """Half a sentence on an answer that has not come by then."""
        return f"did not answer within {_ANSWER_S:g} s"

    def connected(self, within_s: float | None = None) -> contextlib.closing[Connection]:
        """A connection that is kept, as a context; it waits so long for answers. ServerError: there is no server."""
        return contextlib.closing(Connection(self, within_s or self.answer_s))

    def find_processes(self) -> None:
        """See which processes the model has started by now: what they use counts."""

    def cpu_seconds(self) -> float:
        """CPU time of its processes, to the nanosecond."""
        return 0.0

    def memory(self) -> dict[str, float]:
        """The figure on RSS - SHR of all its processes; none where it cannot be read."""
        return {}


class Connection:
    """One stream of requests. ServerError: nobody listens at its address."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._endpoint = endpoint
        address = urlsplit(endpoint.url)
        self._path = address._replace(scheme="", netloc="").geturl()
        kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
        self._http = kind(address.hostname or "", address.port, timeout=timeout_s)
        self._open()

    def close(self) -> None:
        """Close it, also while another thread waits for an answer, which is then told that there is none."""
        if self._http.sock is not None:
            with contextlib.suppress(OSError):  # the server has closed it
                self._http.sock.shutdown(socket.SHUT_RDWR)
        self._http.close()

    def renew(self) -> None:
        """Open another one if the server would close this one soon, since it is idle."""
        if time.monotonic() - self._used > _IDLE_S:
            self.close()
            self._open()

    def ping(self) -> None:
        """Wait until the server says that it is there. ServerError: it does not."""
        self._ask("GET", "/ping", None)

    def ask(self, body: bytes) -> bytes:
        """The body of the answer. ServerError: there is none, or it is an error."""
        return self._ask("POST", self._path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        uri = self._endpoint.uri
        try:
            self._http.request(method, path, body, _HEADERS)
            response = self._http.getresponse()
            answer = response.read()
        except TimeoutError:
            raise ServerError(uri, self._endpoint.too_slow) from None
        except (OSError, HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or "it closed the connection"
            raise ServerError(uri, f"did not answer: {why}") from None
        if response.status == _TIMED_OUT:
            raise ServerError(uri, self._endpoint.too_slow)
        if response.status != _OK:
            raise ServerError(uri, f"does not predict these rows: {response.status} {_message(answer)}".rstrip())
        self._used = time.monotonic()
        return answer

    def _open(self) -> None:
        try:
            self._http.connect()
        except OSError as error:
            raise ServerError(self._endpoint.uri, f"does not answer: {error.strerror or error}") from None
        self._used = time.monotonic()


def _message(body: bytes) -> str:
    """The first line of an error, which MLflow's server writes as JSON."""
    text = body.decode(errors="replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["message"])
    return text.strip().partition("\n")[0]
