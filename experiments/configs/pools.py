"""Which students test a set together: the pools of DC's `get_eval_pool`, by name."""

# Its letters: M, B, W, D, N, A, P. The encoder itself is the student where no pool is named (S).
POOLS = {
    'architectures': ('mlp', 'convnet', 'lenet', 'alexnet', 'vgg11', 'resnet18'),
    'batchnorm': ('convnet_bn', 'convnet_aswish_bn', 'alexnet_bn', 'vgg11_bn', 'resnet18_bn'),
    'width': ('convnet_w32', 'convnet_w64', 'convnet_w128', 'convnet_w256'),
    'depth': ('convnet_d1', 'convnet_d2', 'convnet_d3', 'convnet_d4'),
    'norm': ('convnet_nn', 'convnet_bn', 'convnet_ln', 'convnet', 'convnet_gn'),
    'activation': ('convnet_as', 'convnet', 'convnet_al', 'convnet_aswish'),
    'pooling': ('convnet_np', 'convnet_mp', 'convnet'),
}
