"""Probes of frozen features: what can be read off them, which view they predict, and how many dimensions they use.

Features come in as NumPy arrays, so no gradient reaches the model that made them; take them from a model in eval mode,
or its BatchNorm statistics drift. Every draw comes from the seed that is passed in.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

# L2 penalties for standardised features and a loss averaged over samples.
CLASSIFIER_PENALTY = 1e-3
REGRESSION_PENALTY = 1e-4
# Passes over the training samples, of the classifier at most.
CLASSIFIER_EPOCHS, REGRESSION_EPOCHS = 100, 20


class RegressionResult(NamedTuple):
    """What `regression_probe` found: R2 on the test samples (see `r2_score`) and its prediction (N, O) float32."""

    r2: float
    prediction: np.ndarray


class Classification(NamedTuple):
    """What `linear_probe` found: accuracy in [0, 1], and for each test sample whether it was right, (T,) bool."""

    accuracy: float
    correct: np.ndarray


class LinearClassifier(NamedTuple):
    """A softmax classifier: logits are `weight` ((x - `centre`) / `scale`) + `bias`.

    `centre`, `scale` (D,) float64 arrays; `weight` (C, D), `bias` (C,) float32 tensors without gradient.
    """

    centre: np.ndarray
    scale: np.ndarray
    weight: torch.Tensor
    bias: torch.Tensor


class Retrieval(NamedTuple):
    """How high each of N predictions ranks the true view, (N,) float64 each; their means are MRR, Hit@1 and Hit@5.

    `reciprocal_rank` is 1 / rank, `hit_at_1` and `hit_at_5` whether the rank is within 1 and 5, `rank` the rank itself,
    from 1; where candidates tie, expectations over the orders of the tied.
    """

    reciprocal_rank: np.ndarray
    hit_at_1: np.ndarray
    hit_at_5: np.ndarray
    rank: np.ndarray


def linear_probe(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    *,
    num_classes: int,
    epochs: int = CLASSIFIER_EPOCHS,
    device: str | torch.device = "cpu",
) -> Classification:
    """Fit a linear softmax classifier on frozen features and return its top-1 accuracy on held-out ones.

    seq-JEPA trains it by Adam, batch 256, for 300 epochs. The loss is convex, so this probe goes to its minimum
    directly: full-batch L-BFGS from zero weights, which needs no learning rate and no seed. Its L2 penalty stands in
    for Adam's early stop: on synthetic features of 24 classes both agreed within a point, at a twentieth of the time.

    Args:
        train_x: (N, D) float features, standardised here by their own mean and deviation, as `test_x` is.
        train_y: (N,) int class numbers in [0, num_classes).
        test_x: (T, D) float features.
        test_y: (T,) int class numbers.
        num_classes: classes.
        epochs: most passes over the training samples; it stops earlier at the minimum.
        device: where to compute.

    Returns:
        The accuracy, and which test samples were right.

    Raises:
        ValueError: if shapes disagree, or a class number is out of range.
    """
    _check_pairs(train_x, train_y, test_x, test_y, label_axes=1)
    for labels in (train_y, test_y):
        if labels.min() < 0 or labels.max() >= num_classes:
            raise ValueError(f"labels must be in [0, {num_classes}), got {labels.min()} to {labels.max()}")
    fitted = fit_linear_classifier(train_x, train_y, num_classes=num_classes, epochs=epochs, device=device)
    held_out = torch.as_tensor(((test_x - fitted.centre) / fitted.scale).astype(np.float32), device=device)
    guess = F.linear(held_out, fitted.weight, fitted.bias).argmax(dim=1).cpu().numpy()
    correct = guess == test_y
    return Classification(float(correct.mean()), correct)


def fit_linear_classifier(
    x: np.ndarray,
    y: np.ndarray,
    *,
    num_classes: int,
    epochs: int = CLASSIFIER_EPOCHS,
    device: str | torch.device = "cpu",
) -> LinearClassifier:
    """Return the linear softmax classifier that `linear_probe` scores; see there."""
    centre, scale = _moments(x)
    samples = torch.as_tensor(((x - centre) / scale).astype(np.float32), device=device)
    labels = torch.as_tensor(np.asarray(y, np.int64), device=device)
    weight = samples.new_zeros(num_classes, samples.shape[1]).requires_grad_()
    bias = samples.new_zeros(num_classes).requires_grad_()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=epochs, max_eval=epochs, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(samples, weight, bias), labels)
        loss = loss + 0.5 * CLASSIFIER_PENALTY * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return LinearClassifier(centre, scale, weight.detach(), bias.detach())


def regression_probe(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    *,
    hidden: int | None,
    epochs: int = REGRESSION_EPOCHS,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> RegressionResult:
    """Regress numbers from frozen features, linearly or by one hidden layer, and return R2 on held-out samples.

    seq-JEPA trains by Adam for 300 epochs (MLP of 1024 ReLU) or 50 (linear). Here the linear probe is ridge regression
    in closed form, and the MLP's Adam has batch 256 and a cosine learning rate from 3e-3: on synthetic pairs of 256
    features its 20 epochs came above 60 to 300 epochs at a constant 1e-3, which overfit.

    Args:
        train_x: (N, D) float features, for a relative motion those of two views side by side; standardised here.
        train_y: (N, O) float targets, standardised here.
        test_x: (T, D) float features.
        test_y: (T, O) float targets.
        hidden: units of the hidden layer, 1024 in the paper; None for a linear probe.
        epochs: passes over the training samples, of the MLP only.
        seed: for the MLP's weights and batches; equal seeds give equal results on one machine.
        device: where to compute.

    Returns:
        R2 averaged over outputs, and the predictions (T, O) float32 in the targets' own units.

    Raises:
        ValueError: if shapes disagree.
    """
    _check_pairs(train_x, train_y, test_x, test_y, label_axes=2)
    x, held_out = _standardise(train_x, test_x)
    centre, scale = _moments(train_y)
    y = ((train_y - centre) / scale).astype(np.float32)
    if hidden is None:
        gram = x.T.astype(np.float64) @ x / len(x) + REGRESSION_PENALTY * np.eye(x.shape[1])
        fitted = held_out @ np.linalg.solve(gram, x.T.astype(np.float64) @ y / len(x))
    else:
        fitted = _fit_mlp(x, y, held_out, hidden, epochs, seed, torch.device(device))
    prediction = (fitted * scale + centre).astype(np.float32)
    return RegressionResult(r2_score(prediction, test_y), prediction)


def r2_score(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Return 1 - (squared error) / (squared deviation of the truth from its mean), averaged evenly over outputs.

    Args:
        prediction: (N, O) float.
        truth: (N, O) float. An output that never varies counts 1 if predicted exactly, else 0.

    Returns:
        At most 1; 0 for always predicting the mean; negative if worse than that.
    """
    truth = np.asarray(truth, np.float64)
    if prediction.shape != truth.shape or truth.ndim != 2:
        raise ValueError(f"prediction and truth must both be (N, O), got {prediction.shape} and {truth.shape}")
    error = np.square(prediction - truth).sum(axis=0)
    deviation = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    varies = deviation > 0
    ratio = np.divide(error, deviation, out=(error > 0).astype(np.float64), where=varies)
    return float(1.0 - ratio.mean())


def quaternion_angle(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the angle of the rotation between each predicted quaternion and the true one.

    Args:
        prediction: (..., 4) float, of any norm but zero: a regression's output is normalised here.
        truth: (..., 4) float, likewise. q and -q are the same rotation.

    Returns:
        (...) float64, degrees in [0, 180].

    Raises:
        ValueError: if a quaternion is zero or not finite.
    """
    units = []
    for quaternion in (prediction, truth):
        norm = np.linalg.norm(np.asarray(quaternion, np.float64), axis=-1, keepdims=True)
        if not (norm > 0).all() or not np.isfinite(norm).all():
            raise ValueError("quaternions must be finite and not zero, got one that is; it has no rotation")
        units.append(quaternion / norm)
    a, b = units
    # Half-angle by arctan2: arccos of the dot product loses small angles to rounding.
    apart, together = np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)
    return np.degrees(4.0 * np.arctan2(np.minimum(apart, together), np.maximum(apart, together)))


def retrieval(prediction: np.ndarray, candidates: np.ndarray, truth: np.ndarray) -> Retrieval:
    """Rank views by their cosine distance to a predicted embedding, as in the paper's table 10.

    Candidates as far away as the true one (within rounding) are ranked in every order alike, and the figures are
    expectations over these orders: a collapsed encoder scores chance, not 1.

    Args:
        prediction: (N, D) float, the predictor's output.
        candidates: (N, V, D) float, the embeddings of the V views to choose among.
        truth: (N,) int in [0, V), which candidate is the true one.

    Returns:
        The figures of each of the N predictions. Ranks start at 1.

    Raises:
        ValueError: if shapes disagree or `truth` is out of range.
    """
    count, views = candidates.shape[:2]
    if candidates.ndim != 3 or prediction.shape != (count, candidates.shape[2]) or truth.shape != (count,):
        raise ValueError(
            f"prediction, candidates, truth must be (N, D), (N, V, D), (N,), got {prediction.shape}, "
            f"{candidates.shape}, {truth.shape}"
        )
    if count == 0 or truth.min() < 0 or truth.max() >= views:
        raise ValueError(f"truth must hold at least one number, all in [0, {views}), got {truth}")
    inner = np.einsum("nd,nvd->nv", prediction, candidates, dtype=np.float64)
    length = np.sqrt(np.einsum("nd,nd->n", prediction, prediction, dtype=np.float64))[:, None]
    lengths = np.sqrt(np.einsum("nvd,nvd->nv", candidates, candidates, dtype=np.float64))
    scale = length * lengths
    distance = 1.0 - np.divide(inner, scale, out=np.zeros_like(inner), where=scale > 0)
    tolerance = 1e-9
    margin = distance - np.take_along_axis(distance, truth[:, None], axis=1)
    closer = (margin < -tolerance).sum(axis=1)
    tied = (np.abs(margin) <= tolerance).sum(axis=1)  # at least 1, the true one itself
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, views + 1))])
    return Retrieval(
        reciprocal_rank=(harmonic[closer + tied] - harmonic[closer]) / tied,
        hit_at_1=np.clip(1 - closer, 0, tied) / tied,
        hit_at_5=np.clip(5 - closer, 0, tied) / tied,
        rank=closer + (tied + 1) / 2,
    )


def rankme(z: np.ndarray) -> float:
    """Return the effective rank of embeddings: exp of the entropy of their normalised singular values.

    Source: Garrido et al. 2023, "RankMe", equation 1, without its epsilon. Embeddings are not centred.

    Args:
        z: (N, D) float; N should exceed D by far.

    Returns:
        From 1, all embeddings on one line, to min(N, D); 0.0 if all are zero.
    """
    sigma = np.linalg.svd(np.asarray(z, np.float64), compute_uv=False)
    if not sigma.any():
        return 0.0
    share = sigma[sigma > 0] / sigma.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def feature_std(z: np.ndarray) -> float:
    """Return the standard deviation of each of D features over N embeddings (N, D), averaged; 0 is collapse."""
    return float(np.asarray(z, np.float64).std(axis=0).mean())


def _fit_mlp(
    x: np.ndarray, y: np.ndarray, held_out: np.ndarray, hidden: int, epochs: int, seed: int, device: torch.device
) -> np.ndarray:
    """Fit Linear, ReLU, Linear to standardised (x, y) and return what it predicts for `held_out`."""
    generator = torch.Generator().manual_seed(seed)  # on the CPU, so that every device draws alike
    samples, targets = torch.as_tensor(x).to(device), torch.as_tensor(y).to(device)

    def uniform(fan_in: int, *shape: int) -> torch.Tensor:
        draw = torch.empty(shape).uniform_(-1, 1, generator=generator) / fan_in**0.5
        return draw.to(device).requires_grad_()

    width = x.shape[1]
    first, first_bias = uniform(width, hidden, width), uniform(width, hidden)
    last, last_bias = uniform(hidden, y.shape[1], hidden), uniform(hidden, y.shape[1])

    def predict(batch: torch.Tensor) -> torch.Tensor:
        return F.linear(F.relu(F.linear(batch, first, first_bias)), last, last_bias)

    batch_size = 256
    per_epoch = max(1, len(x) // batch_size)
    optimizer = torch.optim.Adam([first, first_bias, last, last_bias], lr=3e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * per_epoch)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator).to(device)
        for rows in order[: per_epoch * batch_size].split(batch_size):
            loss = F.mse_loss(predict(samples[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return predict(torch.as_tensor(held_out).to(device)).cpu().numpy()


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation over samples, with 1 for the deviation of what never varies."""
    values = np.asarray(values, np.float64)
    std = values.std(axis=0)
    return values.mean(axis=0), np.where(std > 0, std, 1.0)


def _standardise(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale features by the training samples' mean and deviation, to float32."""
    centre, scale = _moments(train)
    return ((train - centre) / scale).astype(np.float32), ((test - centre) / scale).astype(np.float32)


def _check_pairs(
    train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray, label_axes: int
) -> None:
    shapes = f"train {train_x.shape} -> {train_y.shape}, test {test_x.shape} -> {test_y.shape}"
    if train_x.ndim != 2 or train_y.ndim != label_axes or train_x.shape[1:] != test_x.shape[1:]:
        raise ValueError(f"features must be (N, D) and labels have {label_axes} axes, got {shapes}")
    if train_y.shape[1:] != test_y.shape[1:] or (len(train_x), len(test_x)) != (len(train_y), len(test_y)):
        raise ValueError(f"each sample needs one label, alike in training and test, got {shapes}")
    if len(train_x) == 0 or len(test_x) == 0:
        raise ValueError(f"a probe needs training and test samples, got {shapes}")
