"""Causal video generation with retrieved memory."""
