"""The RPCs of memory.proto over any `Memory`, by noun: unwire, one verb, wire."""
