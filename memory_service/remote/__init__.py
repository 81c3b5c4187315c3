"""The verbs of the memory over a connection, by noun; `MemoryClient` is made of them."""
