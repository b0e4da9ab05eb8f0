"""A proxy before an API server that keeps what a client sends. Plain HTTP towards the client, so that nothing has to be trusted."""
import json
import threading
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import traces

# Of one connection, not of the request.
HOP = ("connection", "transfer-encoding", "keep-alive", "host", "content-length", "authorization")


class Request:
    """What was sent."""

    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body

    def told_body(self):
        """The body for people."""
        if self.body[:4] == b"k8s\0":
            return "protobuf %s" % traces.field_numbers(self.body[4:])
        try:
            return json.dumps(json.loads(self.body))
        except ValueError:
            return repr(self.body)

    def __str__(self):
        told = ["%s %s" % (self.method, self.path)]
        for header in ("Accept", "Content-Type", "Upgrade", "Sec-Websocket-Protocol", "X-Stream-Protocol-Version"):
            if header in self.headers:
                told.append("    %s: %s" % (header, self.headers[header]))
        return "\n".join(told + (["    " + self.told_body()] if self.body else []))


class Proxy:
    """Serves while it is entered; `requests` are in the order of their arrival."""

    def __init__(self, api):
        self.requests = requests = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else b""
                requests.append(Request(self.command, self.path, self.headers, body))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
                if "Upgrade" in headers:
                    headers["Connection"] = "Upgrade"
                try:
                    answer = api.open(self.command, self.path, headers, body or None)
                except (OSError, HTTPException) as error:
                    return self.send_error(502, str(error))
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in HOP:
                        self.send_header(name, value)
                if answer.status in (204, 304):
                    # These have no body, not even an empty one.
                    answer.connection.close()
                    return self.end_headers()
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                try:
                    while True:
                        part = answer.read1(1 << 16)
                        if not part:
                            break
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                    self.wfile.write(b"0\r\n\r\n")
                except (OSError, HTTPException):
                    self.close_connection = True
                finally:
                    answer.connection.close()
                return None

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
