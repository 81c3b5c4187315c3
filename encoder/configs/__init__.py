"""Configurations that come with the package; each file defines `config`, a TrainingConfig."""
