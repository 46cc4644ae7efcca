"""What lies in the broker: messages that wait, and those that a worker has in its hands."""

import ast
import json

from tests.integration.running_mesh import PREFIX, QUEUES


def messages_of(mesh, task, *ids):
    """How many messages for a task with these ids wait, or are in the hands of a worker."""
    with mesh.broker() as broker:
        waiting = [json.loads(raw) for queue in QUEUES for raw in broker.lrange(f"{PREFIX}{queue}", 0, -1)]
        taken = [json.loads(raw)[0] for raw in broker.hvals(f"{PREFIX}unacked")]
    headers = [message["headers"] for message in waiting + taken]
    return sum(header["task"] == task and list(ast.literal_eval(header["argsrepr"])) == list(ids) for header in headers)
