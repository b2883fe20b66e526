"""From a volume to force constants: likelihood, priors, point fit and posterior."""
