"""The steps.

Images `[K, n, C, H, W]` are moved by their optimiser; every step returns its loss, which the
scripts log.

`real(c)` gives a class's real images `[B, C, H, W]`; `draw()` one augmentation, shared by a class's
real and synthetic images. Gradients are taken for what moves alone, never for a network that only
looks.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from experiments.speed.eager.augment import Transform
from experiments.speed.eager.mosaic import decoded

Real = Callable[[int], Tensor]
Draw = Callable[[], Transform]
Box = tuple[Iterable[float], Iterable[float]]  # mean and std per channel of pixels in [0, 1]


def dm(
    net: nn.Module,
    images: Tensor,
    optimizer: torch.optim.Optimizer,
    real: Real,
    draw: Draw,
    *,
    proxy: nn.Module | None = None,
    cc: float = 0.0,
    cm: float = 0.0,
    cmi: float = 0.0,
) -> float:
    """One step of DM, with the plug-ins whose weights are not 0.

    sum_c ||mean psi(A(real_c)) - mean psi(A(syn_c))||^2 + cm ||Sigma(real_c) - Sigma(syn_c)||^2
    + cc sum_i ||g(A(syn_ci)) - mean g(A(syn_c))||^2 + cmi mean_i KL(P_i || mean P of i's class),
    with g the proxy's features and P = softmax g(syn), without augmentation.

    Args:
        net, proxy: frozen.
    """
    loss = torch.zeros((), dtype=images.dtype, device=images.device)
    for c, of_class in enumerate(images):
        see = draw()
        _, real_features, real_maps = net(see(real(c)))
        of_class = see(of_class)
        _, features, maps = net(of_class)
        loss = loss + torch.sum((real_features.detach().mean(0) - features.mean(0)) ** 2)
        if cm:
            loss = loss + cm * torch.sum((_covariance(real_maps.detach()) - _covariance(maps)) ** 2)
        if cc:
            known = proxy(of_class)[1]
            loss = loss + cc * torch.sum((known - known.mean(0)) ** 2)
    if cmi:
        loss = loss + cmi * _information(
            proxy(images.flatten(0, 1))[1].unflatten(0, images.shape[:2])
        )
    return moved(loss, optimizer, images)


def _covariance(maps: Tensor) -> Tensor:
    """Channel covariance of maps [n, P, D], each position around its own mean,
    summed over positions."""
    rows = (maps - maps.mean(0)).reshape(-1, maps.shape[-1])
    return rows.T @ rows / len(maps)


def _information(features: Tensor) -> Tensor:
    """Mean over images of KL(P || mean P of the class), features [K, n, D]."""
    own = torch.log_softmax(features, -1)
    centre = own.exp().mean(1, keepdim=True).log()
    return (
        functional.kl_div(centre.expand_as(own), own, log_target=True, reduction='sum')
        / own[..., 0].numel()
    )


def dsa(
    net: nn.Module, images: Tensor, optimizer: torch.optim.Optimizer, real: Real, draw: Draw
) -> float:
    """One step of gradient matching:
    sum_c D(grad CE(A(real_c)), grad CE(A(syn_c))), cosine distance by output unit."""
    # biases and scales count nothing
    weights = [weight for weight in net.parameters() if weight.ndim > 1]
    loss = torch.zeros((), dtype=images.dtype, device=images.device)
    for c, of_class in enumerate(images):
        for a, b in _gradients(net, weights, real(c), of_class, c, draw()):
            a, b = a.flatten(1), b.flatten(1)
            norms = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
            loss = loss + torch.sum(1 - torch.sum(a * b, 1) / (norms + 1e-6))
    return moved(loss, optimizer, images)


def idm(
    net: nn.Module,
    images: Tensor,
    optimizer: torch.optim.Optimizer,
    real: Real,
    draw: Draw,
    *,
    factor: int,
    ce_weight: float,
    percent: float,
) -> float:
    """One step of IDM per class: ||mean psi(A(real_c)) - mean psi(A(syn_c))||^2 + ce_weight *
    percent * mean CE.

    Args:
        net: frozen.
        images: mosaics `[K, ipc, C, H, W]`, tiles in columns.
        percent: training accuracy of the network.

    Returns:
        The sum over the classes' steps.
    """
    total = 0.0
    for c in range(len(images)):
        see = draw()
        target = net(see(real(c)))[1].detach().mean(0)
        logits, features, _ = net(see(decoded(images[c], factor, 'column')))
        loss = torch.sum((target - features.mean(0)) ** 2) + ce_weight * percent * _cross_entropy(
            logits, c
        )
        total += moved(loss, optimizer, images)
    return total


def idc(
    net: nn.Module,
    images: Tensor,
    optimizer: torch.optim.Optimizer,
    real: Real,
    draw: Draw,
    *,
    factor: int,
    box: tuple[Tensor, Tensor],
) -> float:
    """One step of IDC per class: ||grad CE(A(real_c)) - grad CE(A(syn_c))||^2 over the
    convolutions, then a clip.

    Args:
        images: mosaics `[K, ipc, C, H, W]` of pixels in [0, 1], tiles in rows.
        box: mean and std `[C, 1, 1]`.

    Returns:
        The sum over the classes' steps.
    """
    weights, total = [weight for weight in net.parameters() if weight.ndim == 4], 0.0
    for c in range(len(images)):
        of_class = (decoded(images[c], factor, 'row') - box[0]) / box[1]
        loss = sum(
            torch.sum((a - b) ** 2)
            for a, b in _gradients(net, weights, real(c), of_class, c, draw())
        )
        total += moved(loss, optimizer, images)
        with torch.no_grad():
            images.clamp_(0, 1)
    return total


def _gradients(
    net: nn.Module,
    weights: list[Tensor],
    real: Tensor,
    synthetic: Tensor,
    label: int,
    see: Transform,
) -> Iterable[tuple[Tensor, Tensor]]:
    """Of the mean cross-entropy, tensor by tensor: (real, a constant; synthetic)."""
    wanted = torch.autograd.grad(_cross_entropy(net(see(real))[0], label), weights)
    found = torch.autograd.grad(
        _cross_entropy(net(see(synthetic))[0], label), weights, create_graph=True
    )
    return zip(wanted, found)


def _cross_entropy(logits: Tensor, label: int) -> Tensor:
    return functional.cross_entropy(logits, torch.full((len(logits),), label, device=logits.device))


def mtt(
    net: nn.Module,
    images: Tensor,
    rate: Tensor,
    optimizers: Sequence[torch.optim.Optimizer],
    labels: Tensor,
    expert: tuple[dict[str, Tensor], dict[str, Tensor]],
    draw: Draw,
    *,
    num_steps: int,
) -> float:
    """One step of MTT: a student's plain SGD steps from the expert's start, through all of which
    the gradient of ||end - target||^2 / ||start - target||^2 goes to images and rate.

    Args:
        images: `[K, n, C, H, W]`.
        rate: the student's learning rate, a scalar that the second optimiser moves.
        labels: `[K * n]`.
        expert: parameters by name, of start and target.
    """
    start, target = expert
    params = {name: value.clone().requires_grad_() for name, value in start.items()}
    for _ in range(num_steps):
        logits = functional_call(net, params, (draw()(images.flatten(0, 1)),))[0]
        loss = functional.cross_entropy(logits, labels)
        slopes = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        params = {
            name: value - rate * slope for (name, value), slope in zip(params.items(), slopes)
        }
    away, way = (
        sum(torch.sum((one[name] - target[name]) ** 2) for name in target)
        for one in (params, start)
    )
    distance = away / way
    for optimizer in optimizers:
        optimizer.zero_grad()
    distance.backward(inputs=[images, rate])
    for optimizer in optimizers:
        optimizer.step()
    return distance.item()


def watch(net: nn.Module) -> dict[str, Tensor]:
    """Hooks every batch norm: after a pass, name -> distance of its input's moments to the running
    ones."""
    seen: dict[str, Tensor] = {}

    def watched(name: str):
        def hook(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            var, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
            seen[name] = torch.linalg.vector_norm(
                layer.running_var - var
            ) + torch.linalg.vector_norm(layer.running_mean - mean)

        return hook

    for name, layer in net.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(watched(name))
    return seen


def recovery(
    net: nn.Module,
    seen: dict[str, Tensor],
    learned: Tensor,
    optimizer: torch.optim.Optimizer,
    labels: Tensor,
    see: Transform,
    *,
    bn_weight: float,
    first_bn_weight: float,
    natural: Tensor | None = None,
    box: tuple[Tensor, Tensor] | None = None,
) -> float:
    """One step of SRe2L's recovery or of INFER's: mean CE + bn_weight sum_l w_l (moment distance).

    Args:
        net: frozen, watched.
        seen: what `watch(net)` returned.
        learned: SRe2L's images `[K, n, C, H, W]`, or INFER's compensators `[n, C, H, W]`.
        labels: `[K * n]`.
        natural: what INFER adds the compensators to, `[K, n, C, H, W]`.
        box: mean and std `[C, 1, 1]`: pixels are clipped to [0, 1] after the step (SRe2L).
    """
    images = (learned if natural is None else natural + learned).flatten(0, 1)
    loss = functional.cross_entropy(net(see(images))[0], labels)
    first, *others = seen.values()  # in the order of the pass
    value = moved(loss + bn_weight * (first_bn_weight * first + sum(others)), optimizer, learned)
    if box:
        with torch.no_grad():
            learned.copy_(
                torch.minimum(torch.maximum(learned, -box[0] / box[1]), (1 - box[0]) / box[1])
            )
    return value


def student(
    net: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> float:
    """One step of a student on a mini-batch `[b, C, H, W]`:
    mean cross-entropy; counts the hits, as the scripts do."""
    logits = net(images)[0]
    loss = functional.cross_entropy(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    (logits.argmax(1) == labels).sum().item()
    return loss.item()


def moved(loss: Tensor, optimizer: torch.optim.Optimizer, images: Tensor) -> float:
    """Backward pass to the images alone, and update; waits for the loss."""
    optimizer.zero_grad()
    loss.backward(inputs=[images])
    optimizer.step()
    return loss.item()
