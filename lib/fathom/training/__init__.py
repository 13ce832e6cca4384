"""Training: a stack of runs in, losses and trained networks out; compiled kernels or autograd."""
