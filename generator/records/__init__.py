"""What a rollout leaves: its record and its pixels."""
