"""NAO's encoder, predictor and decoder, which improve architectures by gradient ascent in an embedding space.

Luo et al., Neural Architecture Optimization (arXiv 1808.07233), as NAO-V2 (arXiv 1909.10815) uses it. An
architecture is a sequence with one token for each decision. In the paper's cells a node has two inputs and two
operations whose order does not matter, and the authors augment the archive by swapping them. A chain has no such
pairs, so nothing is swapped here.
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
    """Settings of the encoder, predictor and decoder: its sizes, its fit and its gradient ascent.

    All defaults are those of the authors' code except ``epochs``, which is 1000 there, and ``seed_share``, which is
    ours and matters only for a small archive. Two things are left out: the authors hold out a tenth of the archive, to
    report the error of the predictor on it, and their ascent has a 51st step size, which is tried when the fifty before
    it have not given enough.

    Attributes:
        embedding: width of a token's embedding.
        hidden: width of the LSTMs.
        epochs: passes over the archive.
        batch_size: architectures of a step.
        lr: learning rate of Adam.
        clip_norm: largest norm of a gradient.
        prediction: weight of the prediction's error in the loss; the reconstruction has the rest of 1.
        seeds: the number of best architectures that the ascent starts from.
        seed_share: the largest share of the archive that the ascent starts from.
        steps: number of step sizes eta that are tried: 1, 2, ..., each from the seeds.
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
    """Numbers the tokens: 0 starts a sequence, the tokens of all decisions follow.

    Args:
        decisions: the tokens that are legal at each position.

    Attributes:
        legal: whether a token is legal at a position, bool (positions L, tokens V).
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
        """Return the numbers (N, L) of N sequences of tokens."""
        return torch.tensor([[self._numbers[token] for token in row] for row in rows])

    def rows(self, numbers: Tensor) -> list[Tokens]:
        """Return the sequences of tokens of numbers (N, L)."""
        return [tuple(self._names[number] for number in row) for row in numbers.tolist()]


class Epd(nn.Module):
    """The encoder, predictor and decoder of NAO.

    From the authors' code: the encoder's LSTM gives a vector of length 1 for each position, H (N, L, D). Their mean,
    scaled to length 1, is the architecture's embedding e (N, D), and f(e) = sigmoid(w e + b) is its predicted score
    in [0, 1]. The decoder's LSTM starts at (e, e) and attends to H by dot products; context and state are mixed by
    tanh(W [context, state]).

    Ours differs in three places. A position is one token of 32 numbers, where theirs joins two tokens to 64. The
    decoder's state is compared with H as it is, where theirs projects it first. The mix has a bias, which theirs lacks.

    Args:
        vocabulary: of the sequences.
        settings: give the sizes.
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
        """Return the encoding H (N, L, D) of sequences (N, L) of token numbers."""
        return normalize(self.encoder(self.embedding(numbers))[0], dim=-1)

    def point(self, H: Tensor) -> Tensor:  # noqa: N803
        """Return the embedding e (N, D) of an encoding H (N, L, D)."""
        return normalize(H.mean(dim=1), dim=-1)

    def predict(self, H: Tensor) -> Tensor:  # noqa: N803
        """Return the predicted scores f(e) (N,) of an encoding H (N, L, D)."""
        return torch.sigmoid(self.predictor(self.point(H))).squeeze(-1)

    def _attend(self, states: Tensor, H: Tensor) -> Tensor:  # noqa: N803
        context = (states @ H.transpose(1, 2)).softmax(dim=-1) @ H
        logits: Tensor = self.out(torch.tanh(self.mix(torch.cat([context, states], dim=-1))))
        return logits

    def logits(self, H: Tensor, numbers: Tensor) -> Tensor:  # noqa: N803
        """Return the logits (N, L, V) of each token, given H (N, L, D) and the tokens before it in numbers (N, L)."""
        e = self.point(H)[None]
        states, _ = self.decoder(self.previous(pad(numbers[:, :-1], (1, 0), value=_START)), (e, e))
        return self._attend(states, H)

    @torch.no_grad()
    def decode(self, H: Tensor) -> Tensor:  # noqa: N803
        """Return for H (N, L, D) the token numbers (N, L): the most likely legal token of each position in order."""
        e = self.point(H)[None]
        state, last = (e, e), torch.full((len(H), 1), _START)
        chosen = []
        for legal in self.vocabulary.legal:
            states, state = self.decoder(self.previous(last), state)
            last = self._attend(states, H)[:, 0].masked_fill(~legal, -torch.inf).argmax(dim=1, keepdim=True)
            chosen.append(last)
        return torch.cat(chosen, dim=1)


def climb(epd: Epd, H: Tensor, etas: Sequence[float]) -> Iterator[Tensor]:  # noqa: N803
    """Yield H' = normalise(H + eta df/dH) for each step size eta, with the gradient computed once.

    To first order f rises by eta times the squared norm of the gradient's part that is tangent to the unit spheres
    of H's vectors, so for small eta it never falls.

    Args:
        epd: the fitted encoder, predictor and decoder.
        H: encoding (N, L, D) to start from.
        etas: the step sizes.
    """
    H = H.detach().requires_grad_()
    (slope,) = torch.autograd.grad(epd.predict(H).sum(), H)
    for eta in etas:
        yield normalize(H.detach() + eta * slope, dim=-1)


def fit_epd(
    decisions: Sequence[Sequence[str]], rows: Sequence[Tokens], worths: Sequence[float], settings: EpdSettings,
    seed: int,
) -> Epd:  # fmt: skip
    """Fit an encoder, predictor and decoder to an archive of scored architectures.

    The loss is p (f(e) - y)^2 + (1 - p) NLL(tokens), where p is ``settings.prediction`` and y are the scores scaled
    to [0, 1].

    Args:
        decisions: the tokens that are legal at each position.
        rows: the tokens of each architecture.
        worths: the score of each architecture; higher is better.
        settings: of the model and its fit.
        seed: seed of the weights and of the order of the batches.
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
    """Return the weighted sum of the prediction's squared error and the tokens' negative log-likelihood.

    Args:
        epd: the model.
        numbers: token numbers (N, L).
        targets: scores in [0, 1], (N,).
        prediction: weight of the squared error; the likelihood has the rest of 1.
    """
    H = epd.encode(numbers)
    likelihood = cross_entropy(epd.logits(H, numbers).flatten(0, 1), numbers.flatten())
    return prediction * mse_loss(epd.predict(H), targets) + (1 - prediction) * likelihood


def scaled(worths: Sequence[float]) -> Tensor:
    """Scale scores linearly to [0, 1], the worst to 0 and the best to 1; all to 0.5 if they are equal."""
    values = torch.tensor(worths, dtype=torch.float64)
    span = values.max() - values.min()
    return ((values - values.min()) / span if span > 0 else torch.full_like(values, 0.5)).float()


def generate(
    epd: Epd, seeds: Sequence[Tokens], count: int, known: Collection[Tokens], settings: EpdSettings,
    accept: Callable[[Tokens], bool],
) -> list[Tokens]:  # fmt: skip
    """Generate new architectures by gradient ascent from the seeds, with growing step sizes.

    Args:
        epd: the fitted encoder, predictor and decoder.
        seeds: tokens of the architectures to start from, the best first.
        count: how many new architectures to return; fewer if all step sizes give fewer.
        known: tokens of the architectures that are not new.
        settings: give the number of step sizes.
        accept: whether a new architecture may be returned.
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
    """Run the block on one thread, with a random generator of its own.

    The number of threads decides how sums are split and so changes their last bits. A search that continues from its
    journal has not set the number yet. For networks as small as this one thread is also the fastest.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
