"""What the stand-ins share: an HTTP server that logs no secrets, and settings read from the environment.

Left out on purpose: TLS, keep-alive tuning, anything that only one stand-in needs."""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def log(*words):
    print(*words, flush=True)


def die(message, code=1):
    print(message, file=sys.stderr, flush=True)
    sys.exit(code)


def need(*names):
    """Settings that must be there: their values, or an end that names all the missing ones."""
    missing = [n for n in names if not os.environ.get(n)]
    if missing:
        die("missing in the environment: " + ", ".join(missing))
    return [os.environ[n] for n in names]


class Request:
    def __init__(self, handler):
        split = urlsplit(handler.path)
        self.method, self.path, self.headers = handler.command, split.path, handler.headers
        self.query = {k: v[-1] for k, v in parse_qs(split.query).items()}
        length = int(handler.headers.get("Content-Length") or 0)
        self.body = handler.rfile.read(length) if length else b""

    def fields(self):
        """The body as JSON or as a form; an empty map if it is neither."""
        text = self.body.decode("utf-8", "replace")
        try:
            value = json.loads(text)
            return value if isinstance(value, dict) else {}
        except ValueError:
            return {k: v[-1] for k, v in parse_qs(text).items()}


def serve(port, answer, name):
    """Serves until SIGTERM. `answer(Request)` gives (status, body[, headers]); a map or list is sent as JSON."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = name

        def handle_any(self):
            try:
                request = Request(self)
                status, body, *rest = answer(request)
            except Exception as error:  # the server lives on; the caller sees a 500
                log(f"{name}: {self.command} {urlsplit(self.path).path}: {type(error).__name__}: {error}")
                status, body, rest = 500, "Internal Server Error", []
            headers = dict(rest[0]) if rest else {}
            if isinstance(body, (dict, list)):
                headers.setdefault("Content-Type", "application/json; charset=utf-8")
                body = json.dumps(body, separators=(",", ":"))  # compact, as Rails, Frappe and n8n write it
            data = body.encode() if isinstance(body, str) else body
            self.send_response(status)
            headers.setdefault("Content-Type", "text/html; charset=utf-8")
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

        def log_message(self, *_):
            pass

        def log_request(self, code="-", size="-"):
            log(f"{self.client_address[0]} {self.command} {urlsplit(self.path).path} {code}")

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("0.0.0.0", port), Handler)
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
    log(f"{name}: listening on :{port}")
    server.serve_forever(poll_interval=0.1)
    log(f"{name}: stopped")
