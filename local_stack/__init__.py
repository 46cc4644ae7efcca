"""The whole mesh on one machine, from wheels: real PostgreSQL, real Redis, and the processes that a deployment runs.

For people (`./dev up`), for the demo and for tests. It knows the mesh from outside only: command lines, environment,
addresses. It imports neither Django nor the apps. A deployment does not need it (deploy/).
"""
