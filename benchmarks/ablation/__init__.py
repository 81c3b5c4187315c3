"""What each part of retrieval is worth where the truth is known: rollouts of the toy world, end to end."""
