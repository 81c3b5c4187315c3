"""The bundled toy world and model: a small causal video generator that runs on any machine."""
