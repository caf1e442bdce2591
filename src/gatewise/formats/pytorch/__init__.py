"""PyTorch's files, read by a machine for pickles that runs nothing."""
