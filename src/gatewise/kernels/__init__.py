"""The narrow waist: the kernels, in NumPy and in C, and who chooses between them."""
