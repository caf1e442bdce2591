"""What a file holds, and the Python that loads each layer of it."""
