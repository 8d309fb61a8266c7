"""The latency lab: what reads, repeats, compares and explains the records that :mod:`scarlet_zoo.latency` makes."""
