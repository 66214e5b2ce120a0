"""A loopback stand-in for the dataset endpoints of the Hugging Face Hub that downloads use.

Written from the client's source; requests that it does not know are kept in `unknown`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c" * 40


@dataclass
class FakeHub:
    """Datasets: id -> files of its main branch; or the error that a dataset is answered with."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    errors: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    """Paths of files whose download fails with status 500."""
    requests: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve(hub):
    """Serve a hub on a port of its own, its address in `hub.url`."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


_API = re.compile(r"/api/datasets/([^/]+/[^/]+)(/revision/([^/]+))?")
_TREE = re.compile(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)(/.*)?")
_FILE = re.compile(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        for pattern, answer in ((_FILE, self._file), (_TREE, self._tree), (_API, self._info)):
            if found := pattern.fullmatch(path):
                answer(*found.groups())
                return
        self.hub.unknown.append(f"{self.command} {self.path}")
        self._say(404, b"{}")

    def _dataset(self, name, revision):
        """Return the files of a dataset, None when an error was said."""
        if name in self.hub.errors:
            status, code = self.hub.errors[name]
            self._say(status, b"{}", {"X-Error-Code": code} if code else {})
        elif name not in self.hub.files:
            self._say(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif revision not in (None, "main", "v1", COMMIT):
            self._say(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            return self.hub.files[name]
        return None

    def _info(self, name, _, revision):
        files = self._dataset(name, revision)
        if files is not None:
            siblings = [{"rfilename": path} for path in files]
            self._json({"id": name, "sha": COMMIT, "siblings": siblings, "private": False,
                        "tags": [], "downloads": 0, "likes": 0})  # fmt: skip

    def _tree(self, name, revision, _):
        files = self._dataset(name, revision)
        if files is not None:
            recursive = parse_qs(urlsplit(self.path).query).get("recursive") == ["true"]
            self._json(
                [
                    {"type": "file", "oid": _oid(data), "size": len(data), "path": path}
                    for path, data in files.items()
                    if recursive or "/" not in path
                ]
            )

    def _file(self, name, revision, path):
        files = self._dataset(name, revision)
        if files is None:
            return
        if path in self.hub.broken and self.command == "GET":
            self._say(500, b"oops")
        elif path in files:
            headers = {"ETag": f'"{_oid(files[path])}"', "X-Repo-Commit": COMMIT}
            self._say(200, files[path], headers)
        else:
            self._say(404, b"", {"X-Error-Code": "EntryNotFound"})

    def _json(self, value):
        self._say(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _say(self, status, body, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def _oid(data):
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
