"""A server on the loopback address that speaks what huggingface_hub needs to load and to push."""

import base64
import hashlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import yaml
from forked import Ended, command, forked

TOKEN = "hf_ours"
LICENCES = ("apache-2.0", "cc-by-sa-4.0")


class Repository(NamedTuple):
    """commits: the files, by name, of each."""

    private: bool
    commits: list[dict[str, bytes]]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str] = {}
    body: bytes = b""


def as_json(value: Any, status: int = 200) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(value).encode())


def missing(what: str) -> Answer:
    return Answer(404, {"X-Error-Code": f"{what}NotFound", "X-Error-Message": f"no such {what}"})


class HubServer:
    """Its `repositories`, by owner/name; `asked` is what was asked for, `is_down` breaks all."""

    def __init__(self):
        self.repositories: dict[str, Repository] = {}
        self.asked: list[str] = []
        self.is_down = False
        self._uploaded: dict[str, bytes] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        self.routes: dict[str, Callable[..., Answer]] = {
            r"(?:HEAD|GET) /([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)": self._resolve,
            r"GET /api/models/([\w.-]+/[\w.-]+)": self._info,
            r"POST /api/validate-yaml": self._validate,
            r"POST /api/repos/create": self._create,
            r"POST /api/models/([\w.-]+/[\w.-]+)/preupload/main": self._preupload,
            r"POST /([\w.-]+/[\w.-]+).git/info/lfs/objects/batch": self._batch,
            r"PUT /uploads/(\w+)": self._upload,
            r"POST /api/models/([\w.-]+/[\w.-]+)/commit/main": self._commit,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def add(self, repo: str, **files: bytes) -> None:
        self.repositories[repo] = Repository(False, [files])

    def files(self, repo: str) -> dict[str, bytes]:
        return self.repositories[repo].commits[-1]

    def run(self, words: Sequence[str], folder: Path) -> Ended:
        """A command in a fork, where huggingface_hub reads its environment again."""

        def fresh() -> None:
            for name in [name for name in sys.modules if name.startswith("huggingface_hub")]:
                del sys.modules[name]
            command(words)()

        return forked(fresh, folder)

    def _resolve(self, body: bytes, is_ours: bool, repo: str, revision: str, name: str) -> Answer:
        found = self.repositories.get(repo)
        if found is None or (found.private and not is_ours):
            return missing("Repo")
        known = {f"{i:040x}": commit for i, commit in enumerate(found.commits)}
        revision = f"{len(known) - 1:040x}" if revision == "main" else revision
        if revision not in known:
            return missing("Revision")
        if (content := known[revision].get(name)) is None:
            return missing("Entry")
        etag = hashlib.sha256(content).hexdigest()
        return Answer(200, {"ETag": f'"{etag}"', "X-Repo-Commit": revision}, content)

    def _info(self, body: bytes, is_ours: bool, repo: str) -> Answer:
        if repo not in self.repositories:
            return missing("Repo")
        commits = self.repositories[repo].commits
        return as_json({"id": repo, "modelId": repo, "sha": f"{len(commits) - 1:040x}", "tags": []})

    def _validate(self, body: bytes, is_ours: bool) -> Answer:
        _, front, _ = json.loads(body)["content"].split("---\n", 2)
        licence = yaml.safe_load(front).get("license")
        if licence not in (None, *LICENCES):
            return as_json({"errors": [{"message": f"license {licence} is none"}]}, 400)
        return as_json({"errors": [], "warnings": []})

    def _create(self, body: bytes, is_ours: bool) -> Answer:
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        if not is_ours or not repo.startswith("us/"):
            return as_json({"error": f"you may not create {repo}"}, 403)
        private = asked.get("private") or asked.get("visibility") == "private"
        self.repositories[repo] = Repository(private, [{}])
        return as_json({"url": f"{self.url}/{repo}"})

    def _preupload(self, body: bytes, is_ours: bool, repo: str) -> Answer:
        def mode(name: str) -> str:
            return "lfs" if name.endswith((".safetensors", ".png")) else "regular"

        names = [file["path"] for file in json.loads(body)["files"]]
        files = [{"path": n, "uploadMode": mode(n), "shouldIgnore": False} for n in names]
        return as_json({"files": files})

    def _batch(self, body: bytes, is_ours: bool, repo: str) -> Answer:
        return as_json(
            {
                "transfer": "basic",
                "objects": [
                    one | {"actions": {"upload": {"href": f"{self.url}/uploads/{one['oid']}"}}}
                    for one in json.loads(body)["objects"]
                ],
            }
        )

    def _upload(self, body: bytes, is_ours: bool, digest: str) -> Answer:
        assert hashlib.sha256(body).hexdigest() == digest
        self._uploaded[digest] = body
        return Answer(200)

    def _commit(self, body: bytes, is_ours: bool, repo: str) -> Answer:
        commits = self.repositories[repo].commits
        files = dict(commits[-1])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self._uploaded[value["oid"]]
        commits.append(files)
        return as_json({"commitUrl": f"{self.url}/{repo}", "commitOid": f"{len(commits) - 1:040x}"})

    def _answer(self, request: BaseHTTPRequestHandler) -> Answer:
        path = request.path.partition("?")[0]
        self.asked.append(f"{request.command} {path}")
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        is_ours = request.headers.get("Authorization") == f"Bearer {TOKEN}"
        if self.is_down:
            return Answer(503)
        for pattern, answer in self.routes.items():
            if found := re.fullmatch(pattern, self.asked[-1]):
                return answer(body, is_ours, *found.groups())
        return Answer(404)

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                status, headers, body = server._answer(self)
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command != "HEAD":
                    with suppress(ConnectionError):
                        self.wfile.write(body)

            do_GET = do_HEAD = do_POST = do_PUT = answer

            def log_message(self, *_):
                pass

        return Handler
