"""Prompts over time, and what becomes of the past where one begins."""
