"""Names of the embeddings that need no training; a command line knows them without loading torch."""

AVG_POOL, ROW_POOL = UNTRAINED = ("avg-pool", "row-pool")
