"""What can go wrong while the mesh is started on one machine, said so that the reader knows what to do."""


class StackError(Exception):
    """A server or a process could not be started, or ended when it should run. The message is for a person."""
