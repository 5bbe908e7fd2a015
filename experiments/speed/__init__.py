"""What a step costs: against eager PyTorch, on many devices, from the disk."""
