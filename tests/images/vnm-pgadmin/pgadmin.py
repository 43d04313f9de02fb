"""Stand-in for pgAdmin: refuses to start without its two settings, answers /misc/ping and shows a login page.

Left out on purpose: administering anything."""

from standin import log, need, serve

email, _password = need("PGADMIN_DEFAULT_EMAIL", "PGADMIN_DEFAULT_PASSWORD")


def answer(request):
    if request.path == "/misc/ping":
        return 200, "PING"
    if request.path in ("/", "/login"):
        return 200, "<!doctype html><title>pgAdmin 4</title><form method=post action=/login></form>"
    return 404, "not found"


log("pgadmin starts for", email)
serve(80, answer, "pgadmin")
