import pytest

from local_stack import directory_lock
from local_stack.directory_lock import DirectoryInUseError

HOLD = """
    import sys, time
    from pathlib import Path
    from local_stack import directory_lock
    with directory_lock.hold(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(600)
"""


def test_a_directory_is_run_by_one_process_which_is_named(directory, python):
    holder = python(HOLD, directory)
    holder.stdout.readline()
    with pytest.raises(DirectoryInUseError, match=f"process {holder.pid}"), directory_lock.hold(directory):
        pass


def test_a_lock_ends_with_its_holder(directory, python):
    holder = python(HOLD, directory)
    holder.stdout.readline()
    holder.kill()
    holder.wait()
    with directory_lock.hold(directory):
        pass


def test_a_lock_that_was_given_back_can_be_taken_again(directory):
    for _ in range(2):
        with directory_lock.hold(directory):
            pass
