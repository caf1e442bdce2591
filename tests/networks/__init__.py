"""Networks out of packages, as the examples run them."""
