"""Searching videos: what is asked, who may be chosen, and what is written down about it."""
