"""Looks into a memory: which videos it holds, what each block retrieved, how alike the frames are."""
