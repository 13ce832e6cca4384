"""Compiled training loops, with the backward pass written out: one run at a time."""
