"""The web process of the Chatwoot stand-in: what probes, the proxy and the first visitor ask."""

import time

import chatwoot
import redis
import standin


def state(check):
    try:
        check()
        return "ok"
    except (chatwoot.RailsError, redis.RedisError):
        return "failing"


def answer(request):
    path = request.path.rstrip("/") or "/"
    if path == "/health":
        return 200, {"status": "woot"}
    if path == "/api":
        return 200, {"version": chatwoot.VERSION, "timestamp": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
                     "queue_services": state(lambda: chatwoot.queue().ping()), "data_services": state(lambda: chatwoot.sql("select 1"))}
    open_to_all = chatwoot.queue().get(chatwoot.ONBOARDING) is not None
    if path == "/installation/onboarding":
        if not open_to_all:
            return 302, "", {"Location": "/"}
        if request.method == "GET":
            return 200, "<html><body><form method='post'>Chatwoot stand-in: create the administrator</form></body></html>"
        fields = request.fields()
        chatwoot.build_account(fields.get("user[company]", ""), fields.get("user[name]", ""), fields.get("user[email]", ""),
                               fields.get("user[password]", ""), "true")
        chatwoot.queue().delete(chatwoot.ONBOARDING)
        return 302, "", {"Location": "/"}
    if path == "/auth/sign_in" and request.method == "POST":
        fields = request.fields()
        if chatwoot.sign_in(fields.get("email", ""), fields.get("password", "")):
            return 200, {"data": {"email": fields["email"]}}, {"access-token": "stand-in"}
        return 401, {"success": False, "errors": ["Invalid login credentials. Please try again."]}
    if path == "/" and open_to_all:
        return 302, "", {"Location": "/installation/onboarding"}
    if path in ("/", "/app/login", "/app"):
        chatwoot.sql("select count(*) from installation_configs")
        return 200, "<html><head><title>Chatwoot</title></head><body>Chatwoot stand-in</body></html>"
    return 404, "Not found"


def serve(port):
    # The real one needs half a minute and more to boot.
    time.sleep(2)
    standin.serve(port, answer, "chatwoot-stand-in")
