"""What a running memory tells about itself: metrics, traces, logs."""
