"""What is to be routed, read from Docker: containers' labels, or a swarm's services with the addresses of their tasks.

`workloads(...)` gives (name, labels, address, exposed ports) of everything that may receive traffic now. As in the real
provider, a container that is not running, or has a health check and is not healthy, is not there at all."""

import http.client
import json
import socket
from urllib.parse import quote


class DockerConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("docker", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def get(endpoint, what, timeout=10):
    connection = DockerConnection(endpoint, timeout)
    try:
        connection.request("GET", what)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise OSError(f"docker answered {answer.status} to {what}: {body[:200]!r}")
        return json.loads(body)
    finally:
        connection.close()


# What the real provider heeds, and networks. Not the three events of every health check: on a host with a dozen containers
# that would be several looks at all of them each second.
EVENTS = {"type": ["container", "network"], "event": ["start", "die", "health_status", "connect", "disconnect"]}


def events(endpoint):
    """Yields something when it listens, since much may have happened before, and each time containers may have changed."""
    connection = DockerConnection(endpoint, None)
    connection.request("GET", "/events?filters=" + quote(json.dumps(EVENTS)))
    answer = connection.getresponse()
    yield
    while answer.readline():
        yield


def pick(attached, wanted, name, warn):
    """The address in the wanted network; in the first one there is (with the real one's warning) if it is not attached."""
    if wanted and attached.get(wanted):
        return attached[wanted]
    if wanted:
        warn(f"Could not find network named {wanted!r} for container {name!r}. Maybe you're missing the project's prefix in the label?")
    return next((a for a in attached.values() if a), None)


def containers(endpoint, network, warn):
    for listed in get(endpoint, "/containers/json"):
        if listed["Labels"].get("traefik.enable") is None:
            continue
        try:
            detail = get(endpoint, f"/containers/{listed['Id']}/json")
        except (OSError, ValueError, http.client.HTTPException) as error:
            # One that cannot be inspected is left out, as by the real one; the others keep their routes.
            warn(f"Failed to inspect container {listed['Id'][:12]}: {error}")
            continue
        health = (detail["State"].get("Health") or {}).get("Status", "none")
        if not detail["State"]["Running"] or health not in ("none", "healthy", ""):
            continue
        name = detail["Name"].lstrip("/")
        labels = detail["Config"]["Labels"]
        attached = {n: v.get("IPAddress") for n, v in detail["NetworkSettings"]["Networks"].items()}
        address = pick(attached, labels.get("traefik.docker.network") or network, name, warn)
        ports = sorted(int(p.split("/")[0]) for p in (detail["Config"].get("ExposedPorts") or {}))
        if address:
            yield name, labels, address, ports


def tasks(endpoint, network, warn):
    services = {s["ID"]: s["Spec"] for s in get(endpoint, "/services")}
    for task in get(endpoint, "/tasks?filters=" + quote(json.dumps({"desired-state": ["running"]}))):
        spec = services.get(task["ServiceID"])
        if not spec or task["Status"]["State"] != "running":
            continue
        labels = spec.get("Labels") or {}
        attached = {n["Network"]["Spec"]["Name"]: (n.get("Addresses") or [""])[0].split("/")[0] for n in task.get("NetworksAttachments") or []}
        address = pick(attached, labels.get("traefik.swarm.network") or network, spec["Name"], warn)
        if address:
            yield spec["Name"], labels, address, []
