"""Tests of the notebook's functions."""
