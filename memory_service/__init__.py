"""Reverie's pooled latent memory: blocks of latents in, handles to the history that matters out."""

__version__ = "0.1.0"
