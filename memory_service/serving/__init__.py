"""Between gRPC and the memory: who gets in, how much at once, for how long, and what is well."""
