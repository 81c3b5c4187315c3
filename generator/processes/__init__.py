"""Child processes, and how far they are."""
