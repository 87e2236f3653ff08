"""Another client of the same servers: libmemcached, through pylibmc.

    apt-get install python3-pylibmc

Reads commands from stdin, one JSON object a line, and answers each with a line:

    {"servers": [["127.0.0.1", 11211, 3], ["/run/memcached.sock", 0, 1]],
     "behaviors": {"ketama_weighted": true},
     "set": {"key": "stored as bytes"}, "native": {"key": "stored as a str", "n": 1},
     "get": ["key", "n"], "delete": ["key"]}

    {"set": ["key"], "native": ["key", "n"], "get": {"key": ["str", "…"], "n": ["int", 1]},
     "delete": ["key"]}

A server is host, port and weight, or a path, 0 and a weight. What is asked for is done in the
order above, all of it through one connection. `set`, `native` and `delete` answer with the keys
for which it worked, `get` with types and values; bytes come back as text.
"""

import json
import sys

# The class below `pylibmc.Client`, which would not take a weight for a socket.
import _pylibmc

TCP, UNIX = _pylibmc.server_type_tcp, _pylibmc.server_type_unix


def client(servers, behaviors):
    kind = lambda host: UNIX if host.startswith("/") else TCP
    servers = [(kind(host), host, port, weight) for host, port, weight in servers]
    # Given here and not later: servers added before have no weight under `ketama`.
    return _pylibmc.client(servers, behaviors=behaviors)


def shown(value):
    text = value.decode() if isinstance(value, bytes) else value
    return [type(value).__name__, text]


def answer(command):
    to = client(command["servers"], command.get("behaviors", {}))
    answer = {}
    if "set" in command:
        items = command["set"].items()
        answer["set"] = [key for key, value in items if to.set(key, value.encode())]
    if "native" in command:
        items = command["native"].items()
        answer["native"] = [key for key, value in items if to.set(key, value)]
    if "get" in command:
        found = to.get_multi(command["get"])
        answer["get"] = {key: shown(value) for key, value in found.items()}
    if "delete" in command:
        answer["delete"] = [key for key in command["delete"] if to.delete(key)]
    return answer


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
