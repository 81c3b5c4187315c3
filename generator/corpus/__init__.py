"""Where an encoder's corpus comes from: rollouts of a frozen generator, or what a memory has."""
