"""Processes and their descendants, told from later ones of the same number by when they started."""

from pathlib import Path

from local_stack import processes


def descendants(ancestor):
    """Process id and start time of everything below a process."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    family = {ancestor}
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    return {(pid, processes._started_at(pid)) for pid in family - {ancestor}}


def alive(members):
    """Those that still run."""
    return {(pid, started_at) for pid, started_at in members if started_at and processes._started_at(pid) == started_at}
