"""Where reels live: local files, written by append and verified on open."""
