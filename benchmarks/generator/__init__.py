"""What a block costs to generate, beside what it must cost, and what of it retrieval costs."""
