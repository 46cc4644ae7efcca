"""A client whose training costs nothing: it adds a small number to every weight."""

import json
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

STEP = 1e-4
app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """The weights, moved; and a line that says when this client held them."""
    weights = {name: array.numpy() for name, array in message.content["arrays"].items()}
    number = int(context.node_config["number"])
    held = {"client": number, "round": message.content["config"]["server-round"], "held_at": time.time()}
    # one short write at the end of a file is not mixed with those of others
    with Path(str(context.run_config["deliveries"])).open("a") as file:
        file.write(json.dumps(held) + "\n")
    step = np.float32(STEP * (number + 1))
    moved = ArrayRecord({name: Array(array + step) for name, array in weights.items()})
    content = RecordDict({"arrays": moved, "metrics": MetricRecord({"num-examples": 1})})
    return Message(content=content, reply_to=message)
