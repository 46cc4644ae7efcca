"""Python loads this before anything else of a process that has this directory on its PYTHONPATH.

It gives that process a clock which is CLOCK_OFFSET_SECONDS wrong: what `time.time`, `datetime.now` and their like say.
"""

import ctypes
import datetime as dt
import gc
import os
import time
from functools import partial

OFFSET_SECONDS = float(os.environ["CLOCK_OFFSET_SECONDS"])
OFFSET = dt.timedelta(seconds=OFFSET_SECONDS)

_time, _time_ns, _localtime, _gmtime = time.time, time.time_ns, time.localtime, time.gmtime
_now = dt.datetime.now

time.time = lambda: _time() + OFFSET_SECONDS
time.time_ns = lambda: _time_ns() + int(OFFSET_SECONDS * 1_000_000_000)


def _broken_down(convert, seconds=None):
    return convert(time.time() if seconds is None else seconds)


# no functions, which would become methods where a class keeps them (logging.Formatter)
time.localtime, time.gmtime = partial(_broken_down, _localtime), partial(_broken_down, _gmtime)

# The class itself: whoever is asked for a datetime, in C too, must find the one that everybody has. It cannot be
# assigned to from Python, but its dictionary is a dictionary.
(_attributes,) = (found for found in gc.get_referents(dt.datetime.__dict__) if isinstance(found, dict))
_attributes["now"] = classmethod(lambda _class, tz=None: _now(tz) + OFFSET)
_attributes["utcnow"] = classmethod(lambda _class: _now(dt.UTC).replace(tzinfo=None) + OFFSET)
_attributes["today"] = classmethod(lambda _class: _now() + OFFSET)
ctypes.pythonapi.PyType_Modified(ctypes.py_object(dt.datetime))
