"""How a server says that it has room for a call before the call's requests are sent."""

ADMITTED = ("x-admitted", "1")
"""Initial metadata of a call whose requests are worth sending."""
