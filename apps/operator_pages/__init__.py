"""How the admin looks, and how an operator acts in it: read-only pages, decisions, values made readable.

Knows no table and no service: each app's admin brings its own.
"""
