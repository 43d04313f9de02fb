"""What the checks of the tests look at: a small API on 8000, and a mail server up to the login on 2525."""

import base64
import json
import os
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Api(BaseHTTPRequestHandler):
    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        if self.path == "/health":
            self.answer(200, {"status": "ok", "service": "lookout"})
        elif self.path == "/config":
            self.answer(200, {"openai_model": "small", "mcp": {"urls": ["http://a", "http://b"]}})
        else:
            self.answer(404, {"error": "no such path"})

    def do_OPTIONS(self):
        self.send_response(204)
        if self.path == "/config":
            self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("X-Api-Key") != os.environ["API_KEY"]:
            return self.answer(401, {"error": "who are you?"})
        print("chat", flush=True)
        self.answer(200, {"reply": "you said " + body["message"]})

    def log_message(self, *words):
        print("request", self.path, flush=True)


class Mail(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            self.talk()
        except OSError:
            pass  # gone without a word

    def talk(self):
        say = lambda line: self.wfile.write(line.encode() + b"\r\n")
        say("220 lookout")
        while line := self.rfile.readline().decode().strip():
            word = line.split()[0].upper()
            if word == "EHLO":
                say("250-lookout")
                say("250 AUTH PLAIN")
            elif word == "AUTH":
                parts = line.split()
                if len(parts) < 3:
                    say("334 ")
                    parts.append(self.rfile.readline().decode().strip())
                _, user, password = base64.b64decode(parts[2]).decode().split("\0")
                right = (user, password) == ("bot", os.environ["MAIL_PASSWORD"])
                say("235 welcome" if right else "535 no")
            elif word == "QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")


# who only tries the door is no error
socketserver.BaseServer.handle_error = lambda *_: None
socketserver.ThreadingTCPServer.allow_reuse_address = True
threading.Thread(target=socketserver.ThreadingTCPServer(("0.0.0.0", 2525), Mail).serve_forever, daemon=True).start()
print("ready", flush=True)
ThreadingHTTPServer(("0.0.0.0", 8000), Api).serve_forever()
