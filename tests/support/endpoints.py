"""Endpoints that are not MLflow's: real servers in this process."""

import itertools
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mlflow_gate.served import Endpoint

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]"


@contextmanager
def one_at_a_time(slow=0, dies_after=10**9, each_s=0.001):
    """An endpoint that takes this long for a request, one at a time, but 0.4 s for number `slow`."""
    numbers = itertools.count(1)
    lock = threading.Lock()

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            with lock:
                number = next(numbers)
                if number > dies_after:
                    self.close_connection = True
                    return
                time.sleep(0.4 if number == slow else each_s)
            self.wfile.write(ANSWER)

        def log_message(self, *_):
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/invocations"
        yield Endpoint(url, url)
        server.shutdown()
