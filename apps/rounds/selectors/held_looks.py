"""Holding a client's look at its update until there is news, instead of being asked again and again.

RFC 7240, section 4.3: the client says how long it would wait. A held look keeps a thread of the web server, so a
process holds a few and answers the others at once; their clients pause and ask again. Nothing depends on a look being
held, nor on its being held for as long as was wished.

One thread of a process asks the database for all who wait there: about an update that came a second ago 50 times a
second, about one that came an hour ago hardly ever. News come late by a fiftieth of what was waited.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from django.db import connection

from boltz_core.rounds.states import RoundState, UpdateState

# half of the web server's threads in a process: uploads need the others
MOST_HELD = 8
SHORTEST_PAUSE_SECONDS = 0.02
SHARE = 0.02
IDLE_SECONDS = 60.0
DECIDED_STATES = (UpdateState.AGGREGATED, UpdateState.REJECTED, UpdateState.EXPIRED, UpdateState.ERASED)
DECIDED_ROUNDS = (RoundState.PUBLISHED, RoundState.ABANDONED)
DECIDED = """
    SELECT own.id FROM rounds_update AS own JOIN rounds_round AS round ON round.id = own.round_id
    WHERE own.id = ANY(%s) AND (own.state = ANY(%s) OR round.state = ANY(%s))
"""

logger = logging.getLogger(__name__)


def decided(update_ids: Collection[str]) -> set[str]:
    """Those of these updates about which nothing will change any more."""
    with connection.cursor() as cursor:
        cursor.execute(DECIDED, [list(update_ids), list(DECIDED_STATES), list(DECIDED_ROUNDS)])
        return {row[0] for row in cursor.fetchall()}


@dataclass(eq=False)
class _Look:
    """One look that is held. `since`: when its update came, on the monotonic clock; `due`: when to ask next."""

    update_id: str
    since: float
    due: float
    news: threading.Event = field(default_factory=threading.Event)


class HeldLooks:
    """Who waits in this process for which update."""

    def __init__(
        self,
        ask: Callable[[Collection[str]], set[str]] = decided,
        *,
        most: int = MOST_HELD,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._ask, self._most, self._idle_seconds = ask, most, idle_seconds
        self._changed = threading.Condition()
        self._looks: set[_Look] = set()
        self._thread: threading.Thread | None = None

    def hold(self, update_id: str, seconds: float, *, age_seconds: float = 0.0) -> bool:
        """Return when the update is decided, or the time is up; at once, and False, when too many wait already.

        `age_seconds`: how long the update has waited.
        """
        now = time.monotonic()
        look = _Look(update_id, since=now - age_seconds, due=now)
        with self._changed:
            if len(self._looks) >= self._most:
                return False
            self._looks.add(look)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name="held-looks", daemon=True)
                self._thread.start()
            self._changed.notify()
        look.news.wait(seconds)
        with self._changed:
            self._looks.discard(look)
        return True

    def _watch(self) -> None:
        """Ask for as long as somebody waits; without anybody for a while, the thread ends."""
        try:
            while looks := self._next():
                found = self._news_of({look.update_id for look in looks})
                for look in looks:
                    if look.update_id in found:
                        look.news.set()
        finally:
            connection.close()

    def _next(self) -> list[_Look]:
        """The looks to ask for, once there are any; none, and no thread watches any more, after the idle time."""
        with self._changed:
            idle_at = time.monotonic() + self._idle_seconds
            while True:
                now = time.monotonic()
                waiting = [look for look in self._looks if not look.news.is_set()]
                if due := [look for look in waiting if look.due <= now]:
                    for look in due:
                        look.due = now + max(SHORTEST_PAUSE_SECONDS, SHARE * (now - look.since))
                    return due
                if not self._looks and now >= idle_at:
                    self._thread = None
                    return []
                self._changed.wait(min([look.due for look in waiting], default=idle_at) - now)

    def _news_of(self, update_ids: set[str]) -> set[str]:
        """The decided ones; all of them when the database cannot be asked: each then looks for itself."""
        try:
            return self._ask(update_ids)
        except Exception as error:  # noqa: BLE001 - whatever the driver raises; those who wait must not wait for it
            logger.warning("could not ask for held looks: %s", type(error).__name__)
            connection.close()
            return update_ids


HELD_LOOKS = HeldLooks()
