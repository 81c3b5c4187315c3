"""What the memory costs beside in-process numpy and the machine's own limits, in one run."""
