"""How well a supernet ranks architectures: ground truth, rankers, and the verdict with its intervals."""
