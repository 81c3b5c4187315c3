"""The arguments of the command line, in groups."""
