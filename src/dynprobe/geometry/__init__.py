"""Mathematics on point clouds: subspaces, moments, simplex tests."""
