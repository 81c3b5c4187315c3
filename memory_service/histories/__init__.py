"""The history of one video: its frames, its epochs, its forks, and moving it as one file."""
