"""Recipes of students by architecture: what each network needs to learn from a few hundred images.

The papers train every architecture with learning rate 0.01. On 100 distilled CIFAR-10 images (DSA, 61 epochs of two
batches, narrow networks, one student, 2,000 test images) that leaves AlexNet and ResNet-18 under-trained: their
training loss was still 1.6 to 1.7 where ConvNet's and VGG's were 0.4 to 0.5. The cause is the rate, given so few
updates:

    AlexNet (width 32)      0.01: 27.8 %    0.03: 31.3 %    0.1: diverges
    ResNet-18 (width 16)    0.01: 24.8 %    0.03: 28.8 %    0.1: 34.2 %
    VGG-11 (width 16)       0.01: 34.2 %    0.03: 28.1 %
    ConvNet-3 (width 32)    0.01: 36.3 %

`--evaluation.learning-rate 0.01` gives all of them the papers' rate.
"""
DEFAULT = 0.01
LEARNING_RATES = {'alexnet': 0.03, 'resnet18': 0.1}    # where it is another
