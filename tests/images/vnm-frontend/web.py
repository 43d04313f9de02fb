"""Stand-in for the frontend of VNM: one page on 3000, and /@vite/client while NODE_ENV is development, as the development
server has it. Left out on purpose: the React application."""

import os

from standin import log, serve

DEVELOPMENT = os.environ.get("NODE_ENV") == "development"
PAGE = "<!doctype html><title>VNM</title><div id=root data-api={}>VNM</div>"


def answer(request):
    if request.path == "/":
        return 200, PAGE.format(os.environ.get("API_URL", ""))
    if request.path == "/@vite/client" and DEVELOPMENT:
        return 200, "export const hot = true;", {"Content-Type": "text/javascript"}
    return 404, "not found"


log("frontend starts,", "development" if DEVELOPMENT else "production")
serve(3000, answer, "vnm-frontend")
