"""The frozen Wan transformer, driven causally, with its text encoder and its autoencoder."""
