import http.server
import os
import time


class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"version " + os.environ["VERSION"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


time.sleep(2)
http.server.ThreadingHTTPServer(("", 8000), Web).serve_forever()
