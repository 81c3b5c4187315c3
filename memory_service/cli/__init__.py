"""The commands of `reverie-memory`, one file for each group of them."""
