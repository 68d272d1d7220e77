"""What is tried next, and what was tried: the trial store, samplers, the scheduler."""
