"""Training of the retrieval autoencoder: configuration, clips, the loop, and what a run leaves behind."""
