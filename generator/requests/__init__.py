"""From what is asked for to a video that is made, continued, or only described."""
