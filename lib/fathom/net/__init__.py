"""Finite networks: parametrizations, models, tasks, training, measurements, sweeps."""
