"""What the tiers of keys and values move, and what re-creation changes; see docs/kv.md."""
