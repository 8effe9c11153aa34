"""Networks that compute features from boxes."""
