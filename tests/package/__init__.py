"""Tests of the package as a whole: its documents, its command line, its benchmarks."""
