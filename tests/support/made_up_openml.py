"""An OpenML of one's own on the loopback interface, which the package openml asks until the end of a block."""

import hashlib
import threading
from contextlib import contextmanager

import openml
import xmltodict
from server_here import serving
from werkzeug import Request, Response

UNKNOWN = {"oml:error": {"oml:code": 111, "oml:message": "Unknown dataset"}}


class MadeUpOpenML:
    """Has datasets by their id. ``requests`` are the paths that were asked for; ``fault`` is what it does to all."""

    def __init__(self):
        self.address = ""
        self.pages = {}
        self.fault = ""
        self.requests = []
        self.ended = threading.Event()

    def publish(self, openml_id, frame, target, **more):
        """Add a dataset with a Parquet file; ``more`` is what its description says besides or instead."""
        about = {"id": openml_id, "name": "made_up", "version": 1, "format": "ARFF", "licence": "CC0"}
        about |= {"default_target_attribute": target, "url": f"{self.address}/data/{openml_id}.arff"}
        about |= {"parquet_url": f"{self.address}/datasets/{openml_id}.pq", **more}
        description = {f"oml:{key}": value for key, value in about.items()}
        self.pages[f"/api/v1/xml/data/{openml_id}"] = _xml({"oml:data_set_description": description})
        self.pages[f"/datasets/{openml_id}.pq"] = frame.to_parquet(index=False)

    @Request.application
    def answer(self, request):
        """What it answers, unless the fault is that it is silent."""
        self.requests.append(request.path)
        if self.fault == "silent":
            self.ended.wait()
        if self.fault == "busy":
            return Response("Busy", 503)
        if request.path not in self.pages:
            return Response(_xml(UNKNOWN), 412)
        content = self.pages[request.path]
        return Response(content, headers={"ETag": hashlib.md5(content).hexdigest()})


def _xml(content):
    return str(xmltodict.unparse(content)).encode()


@contextmanager
def made_up_openml():
    """In use until the end of the block."""
    before, made = openml.config.server, MadeUpOpenML()
    with serving(made.answer) as made.address:
        openml.config.server = f"{made.address}/api/v1/xml"
        try:
            yield made
        finally:
            openml.config.server = before
            made.ended.set()
