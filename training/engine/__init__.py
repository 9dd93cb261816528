"""The training loop: optimiser, steps, checkpoints, logs, and several processes; it receives what it works on."""
