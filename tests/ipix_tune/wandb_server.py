"""A stand-in for a W&B server on this machine: it answers what W&B's client asks to make a sweep, open a run, send it
and save a workspace, with the answers' shapes read off the client. It checks nothing and keeps all requests."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROJECT = {"id": "UHJvamVjdA==", "name": "ipix-tune", "entity": {"id": "RW50aXR5", "name": "lab"}}


def answer(query, variables, address):
    if "createRunFiles" in query:  # without an address for each file the client's core ends with a null pointer
        files = [{"name": name, "uploadUrl": f"{address}/files/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": "UnVu", "uploadHeaders": [], "files": files}}
    if "upsertSweep" in query:
        return {"upsertSweep": {"sweep": {"name": "sw33p", "project": PROJECT}, "configValidationWarnings": []}}
    if "upsertBucket" in query:
        bucket = {
            "id": "UnVu",
            "name": variables["name"],
            "displayName": variables["name"],
            "description": None,
            "config": "{}",
            "sweepName": variables.get("sweep"),
            "project": PROJECT,
            "historyLineCount": 0,
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}
    if "upsertView" in query:
        return {"upsertView": {"view": {"id": "Vmlldw==", "name": variables.get("name")}, "inserted": True}}
    if "viewer" in query:
        return {"viewer": {"id": "VXNlcg==", "entity": "lab", "username": "me", "flags": "{}", "teams": {"edges": []}}}
    if "model" in query:
        return {"model": {"bucket": None}}
    return {}


@contextmanager
def serving(*, refuse=(), hang=()):
    """Yields the address and the list of (query, variables) so far. Queries that name something in ``refuse`` are
    answered with an error, those in ``hang`` not before the end."""
    asked = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self._say({})

        def do_PUT(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self._say({})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            if self.path != "/graphql":
                self._say({"limits": {}})
                return
            asked.append((body["query"], body.get("variables") or {}))
            if any(name in body["query"] for name in hang):
                over.wait()
            if any(name in body["query"] for name in refuse):
                self._say({"errors": [{"message": "refused"}], "data": None})
            else:
                self._say({"data": answer(*asked[-1], f"http://{self.headers['Host']}")})

        def _say(self, data):
            text = json.dumps(data).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def variables_of(asked, name):
    """Variables of all requests whose query names ``name``."""
    return [variables for query, variables in asked if name in query]
