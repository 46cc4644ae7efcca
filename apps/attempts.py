"""Steps that do not stand in each other's way: the failure of one is logged, and the next one is taken.

For work that the tick and the reconciler repeat until it is done: a whole step, or the step of one row.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

from django.db import close_old_connections, connection

logger = logging.getLogger(__name__)

T = TypeVar("T")


def attempt(step: Callable[..., T], *arguments: object) -> T | None:
    """Take one step, or one step for one row; gives what it gives, or None when it failed."""
    try:
        return step(*arguments)
    except Exception:
        logger.exception("the step %s%s failed; it will be tried again", step.__name__, arguments)
        # one that a caller's transaction is in is the caller's
        if not connection.in_atomic_block:
            close_old_connections()
        return None
