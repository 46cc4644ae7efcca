"""What celery-beat rings: one tick.

What is due is decided in the database, so a beat that is dead, late or doubled does no harm.
"""

import os

TICK_SECONDS = float(os.environ.get("BOLTZ_TICK_SECONDS", "30"))

SCHEDULE = {
    "tick": {
        "task": "aggregation.tick",
        "schedule": TICK_SECONDS,
        # a tick that was not taken before the next one is worth nothing
        "options": {"expires": TICK_SECONDS},
    }
}
