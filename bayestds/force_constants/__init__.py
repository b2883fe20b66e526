"""Force constants: the irreducible ones, and the linear map from them to all others."""
