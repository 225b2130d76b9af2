"""Random projections of gradients from D to P dimensions that preserve inner products on average.

All are linear, unbiased (E <Sx, Sy> = <x, y>) and applied to pieces of the gradient as they come:
    rademacher  S_pi = +-1 / sqrt(P), independent: the reference; 2 D P operations per example.
    sjlt        coordinate i goes, with a random sign, into one bucket: block k = i // P is
                rotated by a random amount and added up. D operations per example.
    srht        each block of P coordinates gets random signs, a Hadamard transform and random
                signs again, and is added up. D log P operations per example.
    none        S = I, for small D.

Variance. For x and y, rademacher and a hash that puts each coordinate into an independent random
bucket have the same Var <Sx, Sy> = sum over pairs i < j of (x_i y_j + x_j y_i)^2 / P. In `sjlt` two
coordinates of one block never share a bucket, and two of different blocks do with probability 1/P,
so its variance is the same sum without the pairs inside a block: never above rademacher's. Only the
tails differ, when few coordinates carry the gradient; the Hadamard transform of `srht` spreads
those out.

Shapes: B batch, D parameters, P projected, d coordinates of a piece, K blocks of P coordinates.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Final, Literal

import torch

from bids_core.gradients.hashing import hash64

ProjectionKind = Literal["rademacher", "sjlt", "srht", "none"]

_RADEMACHER_BLOCK: Final = 1 << 22  # entries of the matrix held at once (16 MiB in float32)
_CACHED_COORDINATES: Final = 1 << 27  # two signs each are kept between batches (256 MiB at most)
_GATHERED: Final = 1 << 25  # entries of a piece that are gathered at once (128 MiB in float32)


class Projector(ABC):
    """A random linear map from D to `dim` dimensions, the same for every piece of a gradient.

    Args:
        n_parameters: D.
        dim: P.
        seed: of the random map.
    """

    kind: ProjectionKind

    def __init__(self, n_parameters: int, dim: int, seed: int) -> None:
        if n_parameters < 1 or dim < 1:
            msg = f"a projection needs positive dimensions, not {n_parameters} to {dim}"
            raise ValueError(msg)
        self.n_parameters = n_parameters
        self.dim = dim
        self.seed = seed

    def project(self, grads_BD: torch.Tensor) -> torch.Tensor:
        """Return S x for each row.

        Args:
            grads_BD: [B, D], any float dtype; computed in float32.

        Returns:
            [B, P] float32.
        """
        if grads_BD.ndim != 2 or grads_BD.shape[1] != self.n_parameters:
            msg = f"expected [B, {self.n_parameters}] gradients, not {tuple(grads_BD.shape)}"
            raise ValueError(msg)
        out_BP = torch.zeros(len(grads_BD), self.dim, device=grads_BD.device)
        self.add(out_BP, grads_BD.float(), offset=0)
        return out_BP

    @abstractmethod
    def add(self, out_BP: torch.Tensor, piece_Bd: torch.Tensor, *, offset: int) -> None:
        """Add to `out_BP` the projection of the coordinates from `offset` on.

        Args:
            out_BP: [B, P] float32, changed in place.
            piece_Bd: [B, d] float32, not changed.
            offset: index of the piece's first coordinate in the whole gradient.
        """

    def add_(self, out_BP: torch.Tensor, piece_Bd: torch.Tensor, *, offset: int) -> None:
        """Like `add`, for a piece that is not needed afterwards and may be overwritten."""
        self.add(out_BP, piece_Bd, offset=offset)


def make_projector(kind: ProjectionKind, n_parameters: int, dim: int, seed: int) -> Projector:
    """Return a projector of the given kind.

    Args:
        kind: `rademacher`, `sjlt`, `srht` or `none`.
        n_parameters: D.
        dim: P; ignored by `none`, which keeps D.
        seed: of the random map; the same seed gives the same map everywhere.
    """
    kinds: dict[str, type[Projector]] = {
        cls.kind: cls for cls in (Rademacher, Sjlt, Srht, Identity)
    }
    if kind not in kinds:
        msg = f"projection must be one of {', '.join(kinds)}, not {kind!r}"
        raise ValueError(msg)
    return kinds[kind](n_parameters, dim, seed)


class Identity(Projector):
    """No projection."""

    kind = "none"

    def __init__(self, n_parameters: int, dim: int, seed: int) -> None:  # noqa: ARG002
        super().__init__(n_parameters, n_parameters, seed)

    def add(self, out_BP: torch.Tensor, piece_Bd: torch.Tensor, *, offset: int) -> None:
        """See `Projector.add`."""
        out_BP[:, offset : offset + piece_Bd.shape[1]] += piece_Bd


class Rademacher(Projector):
    """Dense random signs, made block by block from a hash of (seed, row, 64 columns)."""

    kind = "rademacher"

    def add(self, out_BP: torch.Tensor, piece_Bd: torch.Tensor, *, offset: int) -> None:
        """See `Projector.add`."""
        rows = max(1, _RADEMACHER_BLOCK // self.dim)
        for start in range(0, piece_Bd.shape[1], rows):
            part = piece_Bd[:, start : start + rows]
            signs = self.signs(offset + start, part.shape[1], device=part.device)
            out_BP.addmm_(part, signs, alpha=self.dim**-0.5)

    def signs(self, start: int, count: int, *, device: torch.device) -> torch.Tensor:
        """Return rows `start`.. of the sign matrix, [count, P] float32 of +-1."""
        words = -(-self.dim // 64)
        index = torch.arange(start * words, (start + count) * words, device=device)
        octets = hash64(index, seed=self.seed).view(torch.uint8)
        bits = torch.arange(8, device=device)
        table = ((torch.arange(256, device=device)[:, None] >> bits) & 1).float() * 2 - 1
        return table[octets.int()].view(count, words * 64)[:, : self.dim]


class _Blocked(Projector):
    """Base of `sjlt` and `srht`: two random signs per coordinate, kept between batches."""

    def __init__(self, n_parameters: int, dim: int, seed: int) -> None:
        super().__init__(n_parameters, dim, seed)
        self._kept: dict[tuple[int, int, str], torch.Tensor] = {}

    def _signs(self, offset: int, count: int, device: torch.device) -> torch.Tensor:
        """Return [2, count] int8 of +-1 for the coordinates from `offset` on."""
        key = (offset, count, str(device))
        known = self._kept.get(key)
        if known is None:
            bits = hash64(torch.arange(offset, offset + count, device=device), seed=self.seed)
            known = torch.stack([(bits & 1) * 2 - 1, (bits >> 1 & 1) * 2 - 1]).to(torch.int8)
            if self.n_parameters <= _CACHED_COORDINATES:
                self._kept[key] = known
        return known


class Sjlt(_Blocked):
    """One bucket per coordinate: signed blocks, each rotated by a random amount, added up."""

    kind = "sjlt"

    def __init__(self, n_parameters: int, dim: int, seed: int) -> None:
        super().__init__(n_parameters, dim, seed)
        blocks = torch.arange(-(-n_parameters // dim))
        bits = hash64(blocks, seed=seed ^ 0x5_1A7)  # a separate random stream
        self._shifts: list[int] = ((bits & ((1 << 62) - 1)) % dim).tolist()

    def add(self, out_BP: torch.Tensor, piece_Bd: torch.Tensor, *, offset: int) -> None:
        """See `Projector.add`."""
        self.add_(out_BP, piece_Bd.clone(), offset=offset)

    def add_(self, out_BP: torch.Tensor, piece_Bd: torch.Tensor, *, offset: int) -> None:
        """See `Projector.add_`."""
        signs = self._signs(offset, piece_Bd.shape[1], piece_Bd.device)[0]
        signed_Bd = piece_Bd.mul_(signs.to(piece_Bd.dtype))
        if piece_Bd.device.type == "cpu":
            self._add_slices(out_BP, signed_Bd, offset)
        else:
            self._add_gathered(out_BP, signed_Bd, offset)

    def _add_slices(self, out_BP: torch.Tensor, signed_Bd: torch.Tensor, offset: int) -> None:
        """Add block by block, in place: a CPU is slow at copying, and this copies nothing."""
        end = offset + signed_Bd.shape[1]
        at = offset
        while at < end:
            block, within = divmod(at, self.dim)
            bucket = (within + self._shifts[block]) % self.dim
            # up to the end of the block, of the buckets, or of the piece
            length = min(self.dim - within, self.dim - bucket, end - at)
            start = at - offset
            out_BP[:, bucket : bucket + length] += signed_Bd[:, start : start + length]
            at += length

    def _add_gathered(self, out_BP: torch.Tensor, signed_Bd: torch.Tensor, offset: int) -> None:
        """Add many blocks at once: a GPU is slow at launching kernels."""
        size, count = signed_Bd.shape
        first, last = offset // self.dim, -(-(offset + count) // self.dim)
        before, after = offset - first * self.dim, last * self.dim - offset - count
        if before or after:  # whole blocks
            signed_Bd = torch.nn.functional.pad(signed_Bd, (before, after))
        device = signed_Bd.device
        buckets = torch.arange(self.dim, device=device)
        group = max(1, _GATHERED // (size * self.dim))
        for start in range(first, last, group):
            shifts = torch.tensor(self._shifts[start : min(start + group, last)], device=device)
            source = (buckets - shifts[:, None]) % self.dim
            source += torch.arange(len(shifts), device=device)[:, None] * self.dim
            begin = (start - first) * self.dim
            blocks = signed_Bd[:, begin : begin + len(shifts) * self.dim]
            rotated = blocks.index_select(1, source.view(-1))
            out_BP += rotated.view(size, len(shifts), self.dim).sum(1)


class Srht(_Blocked):
    """Signs, a Hadamard transform and signs again on every block of P coordinates, added up.

    The transform spans the largest power of two that divides P (all of P = 8192).
    """

    kind = "srht"

    def __init__(self, n_parameters: int, dim: int, seed: int) -> None:
        super().__init__(n_parameters, dim, seed)
        self.span = dim & -dim
        rows = 1 << (self.span.bit_length() - 1) // 2
        self._factors = (_hadamard(rows), _hadamard(self.span // rows))

    def add(self, out_BP: torch.Tensor, piece_Bd: torch.Tensor, *, offset: int) -> None:
        """See `Projector.add`."""
        size, count = piece_Bd.shape
        first, last = offset // self.dim, -(-(offset + count) // self.dim)
        begin, total = first * self.dim, (last - first) * self.dim
        before, after = self._signs(begin, total, piece_Bd.device).to(piece_Bd.dtype)
        whole = piece_Bd.new_zeros(size, total)
        inside = slice(offset - begin, offset - begin + count)
        torch.mul(piece_Bd, before[inside], out=whole[:, inside])
        mixed = self._transform(whole).mul_(after)
        out_BP += mixed.view(size, last - first, self.dim).sum(1)

    def _transform(self, values: torch.Tensor) -> torch.Tensor:
        """Return the orthonormal Hadamard transform of each `span` values (H_ab = H_a x H_b)."""
        left, right = (factor.to(values.device) for factor in self._factors)
        tiles = values.view(-1, len(left), len(right))
        mixed: torch.Tensor = torch.matmul(left, torch.matmul(tiles, right))
        return mixed.view_as(values)


def _hadamard(order: int) -> torch.Tensor:
    """Return the orthonormal Sylvester-Hadamard matrix, [order, order], order a power of two."""
    matrix = torch.ones(1, 1)
    step = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    while len(matrix) < order:
        matrix = torch.kron(matrix, step)
    return matrix / math.sqrt(order)
