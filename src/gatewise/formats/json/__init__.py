"""Networks in JSON, as programs for guitar amplifiers keep them."""
