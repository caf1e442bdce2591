"""The kernels in C, where there is a compiled module: its sources in Cython."""
