"""Many rollouts at once: a list of prompts over worker processes that share one memory."""
