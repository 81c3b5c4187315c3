"""Index plug-ins: vectors in, nearest frames out. No index ever sees a latent."""
