"""A hub on the loopback interface with the protocol of the client, and with faults."""

import hashlib
import json
import re
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

REPO = "someone/slides"


@dataclass
class Fault:
    """A fault: the answer to a GET of a file instead of its bytes.

    ``cut``: the connection ends after this number of bytes of the body. ``wrong``: other bytes, of
    the right length. ``status``: this status code, with Retry-After if ``retry_after`` is given.
    ``stall``: the body stops after ``cut`` bytes and the connection stays open for this number of
    seconds. ``slow``: seconds between pieces of 64 kB.
    """

    cut: int | None = None
    wrong: bool = False
    status: int = 0
    retry_after: int | None = None
    stall: float = 0
    slow: float = 0


@dataclass
class File:
    path: Path
    size: int
    sha256: str
    oid: str
    large: bool

    @classmethod
    def of(cls, path: Path, large: bool) -> "File":
        """Describe a file as the hub does."""
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return cls(path, len(content), sha256, oid, large)


class LoopbackHub:
    """Serve folders as commits of one dataset repository.

    Attributes
    ----------
    endpoint
        Value for ``HF_ENDPOINT``.
    faults
        By path within the dataset: faults. Each GET takes the next fault; the last one is repeated
        if ``...`` follows it. The path ``tree`` is the listing.
    served
        By path within the dataset: number of body bytes sent.
    requests
        All requests, as ``METHOD path``.
    """

    def __init__(self, large: int = 100_000, page: int = 1000, token: str | None = None) -> None:
        self.large, self.page, self.token = large, page, token
        self.commits: dict[str, dict[str, File]] = {}
        self.branches: dict[str, str] = {}
        self.faults: dict[str, list] = defaultdict(list)
        self.served: Counter = Counter()
        self.requests: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def commit(self, folder, branch: str = "main") -> str:
        """Make the files below ``folder`` the newest commit of a branch; return its hash."""
        files = {}
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                name = path.relative_to(folder).as_posix()
                large = path.stat().st_size > self.large or name.endswith(".png")
                files[name] = File.of(path, large)
        digest = hashlib.sha1(json.dumps([[n, f.oid] for n, f in files.items()]).encode())
        commit = digest.hexdigest()
        self.commits[commit] = files
        self.branches[branch] = commit
        return commit

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.branches.get(revision)

    def next_fault(self, path: str) -> Fault | None:
        queue = self.faults.get(path)
        if not queue:
            return None
        if len(queue) > 1 and queue[1] is ...:
            return queue[0]
        return queue.pop(0)


def _handler(hub: LoopbackHub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self._answer()

        def do_GET(self):
            self._answer()

        def _answer(self):
            address = urlsplit(self.path)
            hub.requests.append(f"{self.command} {unquote(address.path)}")
            if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                return self._refuse(401, "RepoNotFound")
            if match := re.fullmatch(r"/cdn/([0-9a-f]{40})/(.+)", address.path):
                return self._file(match[1], unquote(match[2]))
            match = re.fullmatch(
                r"(/api)?/datasets/([^/]+/[^/]+)/(\w+)/([^/]+)/?(.*)", address.path
            )
            if not match or match[2] != REPO:
                return self._refuse(404, "RepoNotFound")
            commit = hub.resolve(unquote(match[4]))
            if not commit:
                return self._refuse(404, "RevisionNotFound")
            kind = f"{match[1] or ''}/{match[3]}"
            if kind == "/api/tree":
                return self._tree(commit, parse_qs(address.query))
            if kind == "/api/revision":
                siblings = [{"rfilename": name} for name in hub.commits[commit]]
                return self._json({"id": REPO, "sha": commit, "siblings": siblings})
            if kind == "/resolve":
                return self._resolve(commit, unquote(match[5]))
            return self._refuse(404, "EntryNotFound")

        def _tree(self, commit, query):
            fault = hub.next_fault("tree") or Fault()
            time.sleep(fault.stall)
            if fault.status:
                return self._refuse(fault.status, "", {"Retry-After": fault.retry_after})
            start = int(query.get("cursor", ["0"])[0])
            files = list(hub.commits[commit].items())
            entries = []
            for name, file in files[start : start + hub.page]:
                entry = {"type": "file", "path": name, "size": file.size, "oid": file.oid}
                if file.large:
                    entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
                entries.append(entry)
            folders = sorted({name.rpartition("/")[0] for name, _ in files} - {""})
            if start == 0:
                entries += [
                    {"type": "directory", "path": path, "oid": "0" * 40} for path in folders
                ]
            more = {}
            if start + hub.page < len(files):
                following = f"{hub.endpoint}{urlsplit(self.path).path}?recursive=true&expand=false"
                more["Link"] = f'<{following}&cursor={start + hub.page}>; rel="next"'
            self._json(entries, more)

        def _resolve(self, commit, name):
            file = hub.commits[commit].get(name)
            if not file:
                return self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
            if not file.large:
                return self._file(commit, name)
            self.send_response(302)
            self._headers(
                {
                    "Location": f"{hub.endpoint}/cdn/{commit}/{name}",
                    "X-Repo-Commit": commit,
                    "X-Linked-Etag": f'"{file.sha256}"',
                    "X-Linked-Size": file.size,
                    "ETag": f'"{file.sha256}"',
                    "Content-Length": 0,
                }
            )

        def _file(self, commit, name):
            file = hub.commits[commit].get(name)
            fault = hub.next_fault(name) if self.command == "GET" else None
            fault = fault or Fault()
            if fault.status:
                wait = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
                return self._refuse(fault.status, "EntryNotFound" * (fault.status == 404), wait)
            content = file.path.read_bytes()
            if fault.wrong:
                content = bytes(255 - byte for byte in content)
            start = 0
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if wanted:
                start = int(wanted[1])
                if start >= len(content):
                    return self._refuse(416, "")
            self.send_response(206 if wanted else 200)
            ranged = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            self._headers(
                {
                    "X-Repo-Commit": commit,
                    "ETag": f'"{file.sha256 if file.large else file.oid}"',
                    "Content-Length": len(content) - start,
                    "Accept-Ranges": "bytes",
                    **(ranged if wanted else {}),
                }
            )
            if self.command == "GET":
                self._body(name, content[start:], fault)

        def _body(self, name, content, fault):
            end = len(content) if fault.cut is None else min(fault.cut, len(content))
            try:
                for at in range(0, end, 1 << 16):
                    piece = content[at : min(at + (1 << 16), end)]
                    self.wfile.write(piece)
                    self.wfile.flush()
                    hub.served[name] += len(piece)
                    time.sleep(fault.slow)
                if fault.cut is not None:
                    time.sleep(fault.stall)
                    self.close_connection = True
                    self.connection.shutdown(2)
            except OSError:  # the client has closed the connection
                self.close_connection = True

        def _refuse(self, status, code, headers=()):
            self.send_response(status)
            known = {"X-Error-Code": code} if code else {}
            self._headers({**known, **dict(headers), "Content-Length": 0})

        def _json(self, value, headers=()):
            content = json.dumps(value).encode()
            self.send_response(200)
            self._headers(
                {
                    "Content-Type": "application/json",
                    "Content-Length": len(content),
                    **dict(headers),
                }
            )
            self.wfile.write(content)

        def _headers(self, headers):
            for key, value in headers.items():
                self.send_header(key, str(value))
            self.end_headers()

    return Handler
