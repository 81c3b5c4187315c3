"""How the bundled weights were made, and what they are worth."""
