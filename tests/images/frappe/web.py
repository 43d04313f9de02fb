"""The web processes of the Frappe stand-in: `backend` (gunicorn's place, :8000) and `websocket` (socket.io's place, :9000).

The backend answers what a rollout asks: ping, login, the title page. Each request opens the site's database, so a database
user that is locked out shows as the 500 that it is in the real one."""

import sys

sys.path.insert(0, "/opt/bench")
import standin  # noqa: E402
from frappesite import Site, SiteError  # noqa: E402


def backend(request):
    name = request.headers.get("X-Frappe-Site-Name") or (request.headers.get("Host") or "").split(":")[0]
    site = Site(name)
    try:
        config = site.config()
    except SiteError:
        return 404, f"<html><body><h1>Not Found</h1><p>{name} does not exist</p></body></html>"
    if config.get("maintenance_mode"):
        return 503, "<html><body><h1>Session Stopped</h1><p>The site is in maintenance mode</p></body></html>"
    try:
        apps = site.installed_apps()
        if request.path == "/api/method/ping":
            return 200, {"message": "pong"}
        if request.path == "/api/method/login":
            fields = {**request.query, **request.fields()}
            if site.login(fields.get("usr", ""), fields.get("pwd", "")):
                return 200, {"message": "Logged In", "home_page": "/app", "full_name": fields["usr"]}, {"Set-Cookie": "sid=stand-in; Path=/; HttpOnly"}
            return 401, {"message": "Invalid login credentials", "exc_type": "AuthenticationError"}
    except SiteError as error:
        standin.log(f"{name}: {error}")
        return 500, "<html><body><h1>Internal Server Error</h1></body></html>"
    if request.path in ("/", "/login", "/app"):
        return 200, f"<html><head><title>Login</title></head><body data-apps='{' '.join(apps)}'>Frappe stand-in</body></html>"
    return 404, {"exc_type": "DoesNotExistError"}


def websocket(request):
    if request.path.startswith("/socket.io"):
        return 200, '0{"sid":"stand-in","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}', {"Content-Type": "text/plain; charset=UTF-8"}
    return 404, "Not found"


if sys.argv[1:] == ["backend"]:
    standin.serve(8000, backend, "frappe-stand-in")
elif sys.argv[1:] == ["websocket"]:
    standin.serve(9000, websocket, "socketio-stand-in")
else:
    standin.die("usage: web.py backend|websocket", 2)
