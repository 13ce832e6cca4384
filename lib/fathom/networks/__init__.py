"""What is trained: parametrizations, layers, families, tasks, and stacks of networks."""
