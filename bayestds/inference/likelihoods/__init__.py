"""Likelihoods: one class for each way in which observations scatter about what the model expects."""
