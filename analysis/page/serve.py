"""The report of a running study, served on this machine and made again as trials report.

The page is the file that `ipix-tune report` writes; only what it is served with differs, a line of script that asks
whether there is a newer one.
"""

import html
import signal
import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

from analysis.errors import LogsError
from analysis.ingest.read_study import find_sources, read_study
from analysis.page.build import render

ASK_MS = 2000
RELOAD = """<script>
(() => {{
  const mine = "{version}";
  setInterval(async () => {{
    try {{ if (await (await fetch("version")).text() !== mine) location.reload(); }} catch {{ return; }}
  }}, {every});
}})();
</script>
"""
WAITING = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>Waiting</title>'
    "<body><h1>No trial has reported yet</h1><p>{reason}</p></body></html>"
)


def serve(
    study_dir: Path,
    *,
    out: Path | None = None,
    online: str | None = None,
    host: str,
    port: int,
    every_s: float,
    say: Callable[[str], object],
    stop: threading.Event | None = None,
) -> None:
    """Serve the study's page until Ctrl-C, SIGTERM or ``stop``, and make it again when its logs have changed. A study
    that has not begun is waited for.

    Args:
        study_dir: the study's folder.
        out: where to write the page, its figures and tables; None: into the study's folder.
        online: W&B's entity/project, to read from the server too.
        host: address to listen on.
        port: 0 takes a free one; ``say`` is told which.
        every_s: seconds between looks at the logs.

    Raises:
        LogsError: the address cannot be listened on.
    """
    stop = stop or threading.Event()
    out = out or study_dir
    state = _State(out / "report.html")
    try:
        server = ThreadingHTTPServer((host, port), partial(_Handler, state))
    except OSError as error:
        raise LogsError(f"--host {host} --port {port}: cannot listen there: {error.strerror}") from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="report", daemon=True).start()
    before = _until_signalled(stop)
    say(f"serving {study_dir} at http://{_named(server)}/ (Ctrl-C ends it)")
    if online is None and not study_dir.is_dir():
        say(_not_begun(study_dir))
    try:
        _watch(study_dir, state, out=out, online=online, every_s=every_s, say=say, stop=stop)
    finally:
        server.shutdown()
        server.server_close()
        for number, handler in before.items():
            signal.signal(number, handler)
    say("stopped; the last page is " + str(state.page) if state.made else "stopped")


class _State:
    """What the server's threads and the loop share: whether there is a page of this session, and why not."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.made = False
        self.reason = "The first page is being made."

    def version(self) -> str:
        return str(self.page.stat().st_mtime_ns) if self.made else self.reason

    def text(self) -> str:
        body = self.page.read_text(encoding="utf-8") if self.made else WAITING.format(reason=html.escape(self.reason))
        script = RELOAD.format(version=self.version().replace("\\", "\\\\").replace('"', '\\"'), every=ASK_MS)
        return body.replace("</body>", f"{script}</body>")


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, state: _State, *arguments: Any) -> None:
        self.state = state
        super().__init__(*arguments)

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path in ("/", "/report.html"):
            self._send(self.state.text(), "text/html")
        elif path == "/version":
            self._send(self.state.version(), "text/plain")
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _send(self, text: str, kind: str) -> None:
        body = text.encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Requests are not printed."""


def _watch(
    study_dir: Path,
    state: _State,
    *,
    out: Path,
    online: str | None,
    every_s: float,
    say: Callable[[str], object],
    stop: threading.Event,
) -> None:
    seen = None
    while not stop.is_set():
        try:
            found = [(source.key, source.stamps) for source in find_sources(study_dir, online=online)]
            if found != seen:
                reading = read_study(study_dir, out=out, online=online)
                render(study_dir, reading.tables, reading.problems, out=out)
                state.made, seen = True, found
                say(f"page made: {len(reading.tables.runs)} runs, {reading.read} of them read")
        except (LogsError, OSError) as error:  # files may come and go while they are read
            begun = online is not None or study_dir.is_dir()
            state.reason = str(error) if begun else _not_begun(study_dir)
        stop.wait(every_s)


def _not_begun(study_dir: Path) -> str:
    return f"{study_dir} does not exist yet: the page comes when the study has begun"


def _until_signalled(stop: threading.Event) -> dict[int, Any]:
    """Ctrl-C and SIGTERM end the serving after the page in the making; returns the handlers before. Only a program's
    main thread can set them."""
    if threading.current_thread() is not threading.main_thread():
        return {}

    def ended(number: int, frame: FrameType | None) -> None:
        stop.set()

    return {number: signal.signal(number, ended) for number in (signal.SIGINT, signal.SIGTERM)}


def _named(server: ThreadingHTTPServer) -> str:
    host, port = server.server_address[:2]
    return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"
