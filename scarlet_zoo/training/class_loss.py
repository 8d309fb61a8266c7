"""The loss of a classifier: cross-entropy with label smoothing, in which classes may have weights."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class ClassLoss(nn.Module):
    """Cross-entropy with label smoothing, as a mean over the images weighted by their classes.

    There is one rule for class indices and for shares of classes (mixup and CutMix): the losses of the images are
    summed and divided by the sum of the images' weights. The weight of an image is that of its class, or the mean of
    the weights of its classes by their shares. So images that are mixed with others of their own class give the loss
    that they give unmixed, and class weights change which classes count and not the size of a step. For class indices
    this is torch's rule; for shares torch divides by the number of images, whatever the weights are. Smoothing spreads
    a part of each target over all classes, weighted like them, and leaves the weight of the image as it is, as in
    torch.

    Args:
        weight: weight of each class (classes,); all count alike when None.
        label_smoothing: share of the target that is spread over all classes.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            logits: the network's answers (N, classes).
            targets: class indices (N,), or the share of each class (N, classes).
        """
        if self.weight is None or not targets.is_floating_point():
            return functional.cross_entropy(logits, targets, self.weight, label_smoothing=self.label_smoothing)
        total = functional.cross_entropy(logits, targets, self.weight, reduction="sum",
                                         label_smoothing=self.label_smoothing)  # fmt: skip
        return total / (targets * self.weight).sum()

    def weighted_mean(self, losses: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of other losses of the same images (N,) by the same rule, a scalar."""
        if self.weight is None:
            return losses.mean()
        shares = targets.is_floating_point()
        of_images = (targets * self.weight).sum(1) if shares else self.weight[targets]
        return (losses * of_images).sum() / of_images.sum()
