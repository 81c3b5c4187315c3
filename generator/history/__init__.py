"""The rollout's side of the memory: what it remembers and recalls, also when that is away."""
