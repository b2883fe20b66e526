"""What force constants imply: displacement covariance, phonons and elastic constants."""
