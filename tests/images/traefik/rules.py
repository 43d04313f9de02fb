"""Traefik v3's rule language, as far as labels of our packages and their tests use it.

`parse(text)` gives a predicate over (host, path, method). What the real parser refuses is refused here with its words."""

import re

TOKEN = re.compile(r"\s*(?:(&&|\|\||!|\(|\)|,)|([A-Za-z]+)\s*\(|(`[^`]*`|\"(?:[^\"\\]|\\.)*\"))")


def host_of(value):
    return value.lower().rstrip(".")


MATCHERS = {
    "Host": lambda want: lambda r: host_of(r[0]) == host_of(want),
    "HostRegexp": lambda want: (lambda p: lambda r: bool(p.search(r[0])))(re.compile(want)),
    "Path": lambda want: lambda r: r[1] == want,
    "PathPrefix": lambda want: lambda r: r[1].startswith(want),
    "PathRegexp": lambda want: (lambda p: lambda r: bool(p.search(r[1])))(re.compile(want)),
    "Method": lambda want: lambda r: r[2] == want.upper(),
}


class RuleError(Exception):
    pass


def tokens(text):
    position, found = 0, []
    while position < len(text.rstrip()):
        match = TOKEN.match(text, position)
        if not match:
            raise RuleError(f"error while parsing rule {text}: unexpected {text[position:position + 12]!r}")
        operator, name, literal = match.groups()
        found.append(("op", operator) if operator else ("call", name) if name else ("text", literal[1:-1]))
        position = match.end()
    return found


def parse(text):
    rest = tokens(text)

    def take(kind, value=None):
        if rest and rest[0][0] == kind and value in (None, rest[0][1]):
            return rest.pop(0)[1]
        return None

    def either():
        parts = [both()]
        while take("op", "||"):
            parts.append(both())
        return parts[0] if len(parts) == 1 else lambda r: any(p(r) for p in parts)

    def both():
        parts = [single()]
        while take("op", "&&"):
            parts.append(single())
        return parts[0] if len(parts) == 1 else lambda r: all(p(r) for p in parts)

    def single():
        if take("op", "!"):
            inner = single()
            return lambda r: not inner(r)
        if take("op", "("):
            inner = either()
            if not take("op", ")"):
                raise RuleError(f"error while parsing rule {text}: expected ')'")
            return inner
        name = take("call")
        if name is None:
            raise RuleError(f"error while parsing rule {text}: a matcher was expected")
        values = [take("text")]
        while take("op", ","):
            values.append(take("text"))
        if not take("op", ")"):
            raise RuleError(f"error while parsing rule {text}: expected ')'")
        if name not in MATCHERS:
            raise RuleError(f"error while parsing rule {text}: unsupported function: {name}")
        if len(values) != 1 or values[0] is None:
            raise RuleError(f"error while adding rule {name}: unexpected number of parameters; got {len(values)}, expected one of [1]")
        return MATCHERS[name](values[0])

    predicate = either()
    if rest:
        raise RuleError(f"error while parsing rule {text}: unexpected {rest[0][1]!r}")
    return predicate
