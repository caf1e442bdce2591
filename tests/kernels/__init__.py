"""Tests of the kernels, on both backends."""
