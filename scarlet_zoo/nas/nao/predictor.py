"""NAO's encoder, predictor and decoder: from architectures to points that one can climb on, and back.

Luo et al., Neural Architecture Optimization (arXiv 1808.07233), as NAO-V2 (arXiv 1909.10815) uses it. An
architecture is a sequence with one token for each decision. Theirs has two inputs and two operations a node, whose
order does not matter, and they augment the archive by swapping them; a chain has no such pairs, so here there is
nothing to swap.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, normalize, pad

Tokens = tuple[str, ...]
_START = 0


@dataclass(frozen=True, kw_only=True)
class EpdSettings:
    """Sizes, how it is fitted and how far it climbs.

    Of the authors' code: everything except the number of epochs, 1000 there, and the share of the archive that is
    climbed from, which matters only where the archive is small.

    Attributes:
        embedding, hidden: width of a token's embedding and of the LSTMs.
        epochs: passes over the archive.
        batch_size: architectures of a step.
        lr: of Adam.
        clip_norm: largest norm of a gradient.
        prediction: share of the prediction's error in the loss; the rest is the reconstruction's.
        seeds: architectures to climb from, the best ones, but no more than ``seed_share`` of the archive.
        steps: how many step sizes eta are tried: 1, 2, ..., each from the seeds.
    """

    embedding: int = 32
    hidden: int = 64
    epochs: int = 100
    batch_size: int = 100
    lr: float = 1e-3
    clip_norm: float = 5.0
    prediction: float = 0.8
    seeds: int = 100
    seed_share: float = 0.25
    steps: int = 50


class Vocabulary:
    """Tokens as numbers: 0 begins a sequence, the tokens of all decisions follow.

    Args:
        decisions: the tokens that each position may have.

    Attributes:
        legal: whether a position (L) may have a token (V): bool (L, V).
    """

    def __init__(self, decisions: Sequence[Sequence[str]]) -> None:
        names = dict.fromkeys(token for decision in decisions for token in decision)
        self._names = ("", *names)
        self._numbers = {name: number for number, name in enumerate(names, start=1)}
        self.legal = torch.zeros(len(decisions), len(self._names), dtype=torch.bool)
        for position, decision in enumerate(decisions):
            self.legal[position, [self._numbers[token] for token in decision]] = True

    def __len__(self) -> int:
        return len(self._names)

    def numbers(self, rows: Sequence[Tokens]) -> Tensor:
        """Of sequences: (N, L)."""
        return torch.tensor([[self._numbers[token] for token in row] for row in rows])

    def rows(self, numbers: Tensor) -> list[Tokens]:
        """The sequences of numbers (N, L)."""
        return [tuple(self._names[number] for number in row) for row in numbers.tolist()]


class Epd(nn.Module):
    """Encoder, predictor and decoder.

    The authors' code: the encoder's LSTM gives a vector of length 1 for each position, H (N, L, D); their mean,
    scaled to length 1, is the architecture's point e (N, D), and f(e) = sigmoid(w e + b) its predicted worth in
    [0, 1]. The decoder's LSTM starts at (e, e) and looks back at H by dot attention. Ours: how context and state are
    mixed, tanh(W [context, state]), and one token a position where they join two.

    Args:
        vocabulary: of the sequences.
        settings: the sizes.
    """

    def __init__(self, vocabulary: Vocabulary, settings: EpdSettings) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        width, hidden = settings.embedding, settings.hidden
        self.embedding = nn.Embedding(len(vocabulary), width)
        self.encoder = nn.LSTM(width, hidden, batch_first=True)
        self.predictor = nn.Linear(hidden, 1)
        self.previous = nn.Embedding(len(vocabulary), width)
        self.decoder = nn.LSTM(width, hidden, batch_first=True)
        self.mix = nn.Linear(2 * hidden, hidden)
        self.out = nn.Linear(hidden, len(vocabulary))

    def encode(self, numbers: Tensor) -> Tensor:
        """H (N, L, D) of sequences (N, L)."""
        return normalize(self.encoder(self.embedding(numbers))[0], dim=-1)

    def point(self, H: Tensor) -> Tensor:  # noqa: N803
        """E (N, D)."""
        return normalize(H.mean(dim=1), dim=-1)

    def predict(self, H: Tensor) -> Tensor:  # noqa: N803
        """f(e) (N,)."""
        return torch.sigmoid(self.predictor(self.point(H))).squeeze(-1)

    def _attend(self, states: Tensor, H: Tensor) -> Tensor:  # noqa: N803
        context = (states @ H.transpose(1, 2)).softmax(dim=-1) @ H
        logits: Tensor = self.out(torch.tanh(self.mix(torch.cat([context, states], dim=-1))))
        return logits

    def logits(self, H: Tensor, numbers: Tensor) -> Tensor:  # noqa: N803
        """Of every next token, given the ones before it: (N, L, V)."""
        e = self.point(H)[None]
        states, _ = self.decoder(self.previous(pad(numbers[:, :-1], (1, 0), value=_START)), (e, e))
        return self._attend(states, H)

    @torch.no_grad()
    def decode(self, H: Tensor) -> Tensor:  # noqa: N803
        """The likeliest token at each position among those that are legal there, one after the other: (N, L)."""
        e = self.point(H)[None]
        state, last = (e, e), torch.full((len(H), 1), _START)
        chosen = []
        for legal in self.vocabulary.legal:
            states, state = self.decoder(self.previous(last), state)
            last = self._attend(states, H)[:, 0].masked_fill(~legal, -torch.inf).argmax(dim=1, keepdim=True)
            chosen.append(last)
        return torch.cat(chosen, dim=1)


def climb(epd: Epd, H: Tensor, etas: Sequence[float]) -> Iterator[Tensor]:  # noqa: N803
    """H' = normalise(H + eta df/dH) for each step size eta, the gradient taken once.

    To first order f rises by eta times the squared norm of the gradient along the spheres that H's vectors lie
    on, so for small eta it never falls.
    """
    H = H.detach().requires_grad_()
    (slope,) = torch.autograd.grad(epd.predict(H).sum(), H)
    for eta in etas:
        yield normalize(H.detach() + eta * slope, dim=-1)


def fit_epd(
    decisions: Sequence[Sequence[str]], rows: Sequence[Tokens], worths: Sequence[float], settings: EpdSettings,
    seed: int,
) -> Epd:  # fmt: skip
    """Fit on an archive: L = 0.8 (f(e) - y)^2 + 0.2 NLL(tokens), y being the worths scaled to [0, 1].

    Args:
        decisions: the tokens that each position may have.
        rows: the architectures.
        worths: of each; more is better.
        settings: how.
        seed: of weights and order.
    """
    with _alone(seed):
        epd = Epd(Vocabulary(decisions), settings)
        numbers, targets = epd.vocabulary.numbers(rows), scaled(worths)
        optimizer = torch.optim.Adam(epd.parameters(), settings.lr)
        for _ in range(settings.epochs):
            for part in torch.split(torch.randperm(len(rows)), settings.batch_size):
                optimizer.zero_grad()
                loss_of(epd, numbers[part], targets[part], settings.prediction).backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(epd.parameters(), settings.clip_norm)
                optimizer.step()
    return epd.requires_grad_(False)


def loss_of(epd: Epd, numbers: Tensor, targets: Tensor, prediction: float) -> Tensor:
    """Weighted sum of the prediction's squared error and the tokens' negative log-likelihood."""
    H = epd.encode(numbers)
    likelihood = cross_entropy(epd.logits(H, numbers).flatten(0, 1), numbers.flatten())
    return prediction * mse_loss(epd.predict(H), targets) + (1 - prediction) * likelihood


def scaled(worths: Sequence[float]) -> Tensor:
    """To [0, 1], the worst to 0 and the best to 1; a half where all are alike."""
    values = torch.tensor(worths, dtype=torch.float64)
    span = values.max() - values.min()
    return ((values - values.min()) / span if span > 0 else torch.full_like(values, 0.5)).float()


def generate(
    epd: Epd, seeds: Sequence[Tokens], count: int, known: Collection[Tokens], settings: EpdSettings,
    accept: Callable[[Tokens], bool],
) -> list[Tokens]:  # fmt: skip
    """New architectures: climb from the seeds with growing steps until there are enough, or steps are used up.

    Args:
        epd: fitted.
        seeds: to climb from, the best first.
        count: how many are wanted.
        known: what is not new.
        settings: how far.
        accept: whether a new one may be taken.
    """
    found: dict[Tokens, None] = {}
    with _alone(0):
        etas = [float(eta) for eta in range(1, settings.steps + 1)]
        for H in climb(epd, epd.encode(epd.vocabulary.numbers(seeds)), etas):
            for row in epd.vocabulary.rows(epd.decode(H)):
                if len(found) < count and row not in known and row not in found and accept(row):
                    found[row] = None
            if len(found) >= count:
                break
    return list(found)


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """On one thread, and with random numbers of its own.

    The number of threads decides how sums are split and so their last bits, and a search that goes on from its
    journal has not set it yet; besides, for networks this small one thread is the fastest.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
