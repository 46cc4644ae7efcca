"""All that lies in Redis, as text: keys, values, and the bodies of messages without their base64."""

import base64
import re

BODY = re.compile(rb'"body": "([A-Za-z0-9+/=]+)"')


def everything_in(broker):
    """The text of Redis: keys and values, and the bodies of messages once more without their base64."""
    texts = []
    for key in broker.scan_iter():
        found = values(broker, key)
        texts += [key, *found, *(base64.b64decode(body) for value in found for body in BODY.findall(value))]
    return b"\n".join(texts)


def values(broker, key):
    """What lies under a key as it was put there (DUMP would give it compressed, with repeated text cut out)."""
    kind = broker.type(key)
    if kind == b"list":
        return broker.lrange(key, 0, -1)
    if kind == b"set":
        return list(broker.smembers(key))
    if kind == b"hash":
        return [part for pair in broker.hgetall(key).items() for part in pair]
    if kind == b"zset":
        return broker.zrange(key, 0, -1)
    if kind == b"none":
        # it has expired meanwhile
        return []
    assert kind == b"string", kind
    return [broker.get(key) or b""]
