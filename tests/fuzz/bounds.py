"""What a parser may cost: time and memory as its input is worth, whatever that claims."""

import contextlib
import time
import tracemalloc

# a list of empty lists takes so many bytes for each one of its text; the buffers of an envelope are there at once
MEMORY_PER_BYTE = 64
MEMORY = 1_500_000
# of the processor: ten times and more what the slowest one takes
SECONDS = 2.0


@contextlib.contextmanager
def bounded(length):
    """What is done in the block takes no more time and memory than `length` bytes are worth."""
    tracemalloc.start()
    try:
        began = time.thread_time()
        yield
        took, (_, peak) = time.thread_time() - began, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= MEMORY + MEMORY_PER_BYTE * length, f"{peak} bytes of memory for {length} bytes"
    assert took <= SECONDS, f"{took:.1f} s for {length} bytes"


def attempt(function, *arguments, refused, length):
    """What the function returns, or None when it refuses; anything else that it raises is a finding."""
    found = None
    with bounded(length), contextlib.suppress(refused):
        found = function(*arguments)
    return found
