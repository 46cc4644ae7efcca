"""What a soak did, line by line as it happens, in a file that outlives it; and its end, which a failure brings early."""

import contextlib
import json
import threading
import time
import traceback

LAST_LINES = 25


class SoakFailedError(AssertionError):
    """Something does not hold. Says what, the seed, where the journal is, and what happened last."""


class Journal:
    """Lines of JSON: seconds since the start, who, what, and more. Any thread may write."""

    def __init__(self, folder, *, seed):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "journal.jsonl"
        self.seed = seed
        # set when the time is up or something does not hold; every pause ends with it
        self.over = threading.Event()
        self.failures = []
        self.counts = {}
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._file = self.path.open("a", encoding="utf-8")
        self.write("soak", "begins", seed=seed)

    def write(self, who, what, **details):
        """Note what is about to happen, or has happened."""
        with self._lock:
            if self._file.closed:
                # a client that outlives a soak that was interrupted
                return
            self.counts[who, what] = self.counts.get((who, what), 0) + 1
            line = {"at": round(time.monotonic() - self._started, 3), "who": who, "what": what} | details
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    @contextlib.contextmanager
    def judging(self, who):
        """Whatever is raised inside is a failure of the soak, and ends it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the main thread raises what any of them has found
            self.write(who, "fails", error="".join(traceback.format_exception(error)))
            self.failures.append(f"{who}: {type(error).__name__}: {error}")
            self.over.set()

    def raise_failures(self):
        """Tell what does not hold, with all that it takes to look into it."""
        if self.failures:
            lines = self.path.read_text(encoding="utf-8").splitlines()[-LAST_LINES:]
            last = "\n".join(f"  {line[:400]}" for line in lines)
            failed = "\n".join(self.failures)
            raise SoakFailedError(f"{failed}\nseed: {self.seed}\njournal: {self.path}\nlast actions:\n{last}")

    def close(self):
        """No more lines."""
        self._file.close()
