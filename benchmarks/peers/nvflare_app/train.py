"""Runs in NVFlare's environment: a client whose training costs nothing, it adds a small number to every weight."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import nvflare.client as flare

STEP = 1e-4


def main() -> None:
    """Take part until the job ends."""
    deliveries = Path(sys.argv[1])
    flare.init()
    site = flare.get_site_name()
    step = np.float32(STEP * int(site.rpartition("-")[2]))
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        held = {"client": site, "round": model.current_round, "held_at": time.time()}
        # one short write at the end of a file is not mixed with those of others
        with deliveries.open("a") as file:
            file.write(json.dumps(held) + "\n")
        moved = {name: array + step for name, array in model.params.items()}
        flare.send(flare.FLModel(params=moved, meta={"NUM_STEPS_CURRENT_ROUND": 1}))


if __name__ == "__main__":
    main()
