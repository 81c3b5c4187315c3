"""What the memory costs beside its peers and the machine's own limits, interleaved in one run."""
