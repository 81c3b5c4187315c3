"""Where the generator looks for, and keeps, what many runs of one user need; the user is expanded at use."""

from pathlib import Path

WEIGHTS = Path("~/.cache/reverie/weights")
"""Root of the published weights."""

TEXT = Path("~/.cache/reverie/text")
"""Text embeddings."""
