"""One step of each workload as an eager PyTorch script takes it:
what `experiments.speed.benchmark` compares with.

Written from the papers' formulas in the form that the field's scripts have: a loop over classes,
autograd that records while it computes, one kernel per operation. Images are `[..., C, H, W]`. Only
this package and `experiments.torch_check`, which takes networks and augmentation from it, train in
torch.
"""
