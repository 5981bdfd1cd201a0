"""Training in several processes, each of which computes a part of every batch.

All have the whole model, and draw the same batches and the same random numbers for them. Of a
batch each keeps its own rows: every `world_size`-th one, so that also the first half of a batch is
shared out evenly. Gradients are averaged.

So that they take the step of a single process, what is no sum over rows is computed over the rows
of all: statistics of normalisation and of codebooks by `all_sum` and `gather_processes`, losses of
two views on what `gather` returns, means over different numbers of rows by `weigh_rows`. What a
process computes of a loss is its contribution; the average of the contributions is the loss.

Gradients are averaged by one `all_reduce` after the backward pass. torch's
`DistributedDataParallel` would overlap the two, but it wants all to go through one `forward` that
uses every parameter, and puts its name before theirs; the networks here are small.
`torch.distributed.nn.functional` has differentiable collectives, which torch 2.13 deprecates
without a public successor, hence the two at the end.

Where one process trains, and outside `sharded`, all functions are the identity.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")


@dataclass(frozen=True)
class Shard:
    """The rows of a batch that this process computes: every `world_size`-th, from `rank` on.

    Parameters
    ----------
    rank, world_size : int
    n : int
        Rows of the whole batch.
    """

    rank: int
    world_size: int
    n: int

    def rows(self, n: int | None = None) -> slice:
        """Return where the own rows are among the first `n` of the batch."""
        return slice(self.rank, self.n if n is None else n, self.world_size)

    def count(self, n: int) -> int:
        """Return how many of the first `n` rows are own ones."""
        return len(range(n)[self.rows(n)])


# Of the training step that this thread is in.
_shard: ContextVar[Shard | None] = ContextVar("shard", default=None)


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def launched() -> int:
    """Return how many processes a launcher such as torchrun has started of this script.

    A child of one of them, such as the worker of a parallel search, is none of them.
    """
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if not all(name in os.environ for name in names):
        return 1
    is_child = multiprocessing.current_process().name != "MainProcess"
    return 1 if is_child else int(os.environ["WORLD_SIZE"])


def rank() -> int:
    """Return the number of this process; the first, 0, speaks and writes for all."""
    return dist.get_rank() if world_size() > 1 else 0


def sharded(n: int) -> AbstractContextManager[None]:
    """Share a batch of `n` rows out inside the block.

    Where it has fewer rows than there are processes, each computes all of it.
    """
    n_processes = world_size()
    if n_processes == 1 or n < n_processes:
        return nullcontext()
    return sharing(Shard(rank(), n_processes, n))


@contextmanager
def sharing(shard: Shard | None) -> Iterator[None]:
    """Compute a part of a batch inside the block."""
    token = _shard.set(shard)
    try:
        yield
    finally:
        _shard.reset(token)


def current_shard() -> Shard | None:
    """Return this process's share of the batch; None where that is all of it."""
    return _shard.get()


def keep(batch: Value) -> Value:
    """Return the own rows of a tensor of the whole batch; None stays None."""
    shard = _shard.get()
    if shard is None or not isinstance(batch, Tensor):
        return batch
    return cast(Value, batch[shard.rows()])


def n_whole(n: int) -> int:
    """Return how many rows the whole batch has, of which there are `n` here."""
    shard = _shard.get()
    return shard.n if shard else n


def n_own(n: int) -> int:
    """Return how many of the first `n` rows of the whole batch are here."""
    shard = _shard.get()
    return shard.count(n) if shard else n


def least_rows() -> int:
    """Return how many rows of a batch each process has one of, if they are the first ones."""
    shard = _shard.get()
    return shard.world_size if shard else 1


def weigh_rows(mean: Tensor, n: int | None = None) -> Tensor:
    """Return the contribution of a mean over own rows to that over all rows.

    Parameters
    ----------
    mean : Tensor
    n : int, optional
        Both are over the first `n` rows of the whole batch only.
    """
    shard = _shard.get()
    if shard is None:
        return mean
    n = shard.n if n is None else n
    return mean * (shard.count(n) * shard.world_size / n)


def weigh_where(mean: Tensor, own: Tensor, whole: Tensor) -> Tensor:
    """As `weigh_rows`, of values where a mask is true; `own` is of own rows, `whole` of all."""
    shard = _shard.get()
    if shard is None:
        return mean
    n, n_of_all = own.sum().to(mean.dtype), whole.sum().to(mean.dtype)
    return mean * (n * shard.world_size / n_of_all)


def all_sum(x: Tensor) -> Tensor:
    """Return the sum over processes of a tensor, with its gradient."""
    return _AllSum.apply(x) if _shard.get() else x


def gather(x: Tensor) -> Tensor:
    """Return the tensor ``(n, ...)`` of the whole batch, with its gradient.

    Parameters
    ----------
    x : Tensor of shape (n_own, ...)
        The own rows.
    """
    shard = _shard.get()
    return _Gather.apply(x, shard) if shard else x


def gather_processes(x: Tensor) -> Tensor:
    """Return tensors of one shape of all processes, ``(world_size, ...)``, with their gradient."""
    shard = _shard.get()
    if shard is None:
        return x[None]
    return _Gather.apply(x[None], Shard(shard.rank, shard.world_size, shard.world_size))


def take(x: Tensor, index: Tensor) -> Tensor:
    """Return some places of all rows of a batch, with no gradient.

    Parameters
    ----------
    x : Tensor of shape (n_own, n_places, dim)
        The own rows, each of several places.
    index : Tensor of int of shape (m,)
        Into the places of the whole batch, one row after the other.

    Returns
    -------
    Tensor of shape (m, dim)
    """
    shard, (n, n_places, _) = _shard.get(), x.shape
    if shard is None:
        return x.flatten(0, 1)[index]
    row, place = index // n_places, index % n_places
    own = (row % shard.world_size == shard.rank)[:, None]
    taken = x[(row // shard.world_size).clamp(max=n - 1), place]
    return all_sum(torch.where(own, taken, torch.zeros_like(taken)))


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace the gradients of parameters by their averages over processes."""
    n_processes = world_size()
    if n_processes == 1:
        return
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_dtype.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in by_dtype.values():
        # In one piece: a message for each would take longer than what is in it.
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= n_processes
        for gradient, part in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(part.view(gradient.shape))


def average_terms(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the averages over processes of scalars, without gradient."""
    n_processes = world_size()
    if n_processes == 1:
        return terms
    values = torch.stack([term.detach() for term in terms.values()])
    dist.all_reduce(values)
    return dict(zip(terms, values / n_processes, strict=True))


def from_first(make: Callable[[], Value]) -> Value:
    """Return in every process what the first one makes, or raise what it raises.

    Parameters
    ----------
    make : callable
        Called in the first process only. What it returns, and raises, can be pickled.
    """
    if world_size() == 1:
        return make()
    made: list[Any] = [None, None]
    if rank() == 0:
        try:
            made[0] = make()
        except Exception as error:
            made[1] = error
    dist.broadcast_object_list(made, src=0)
    if made[1] is not None:
        raise made[1]
    return made[0]


def collect(value: Value) -> list[Value]:
    """Return the values of all processes, in their order."""
    values: list[Any] = [value]
    if world_size() > 1:
        values = [None] * world_size()
        dist.all_gather_object(values, value)
    return values


class _AllSum(torch.autograd.Function):
    """The sum over processes; each of them uses it, so gradients are summed up too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _summed(grad)


class _Gather(torch.autograd.Function):
    """Rows of all processes, as a sum, which also takes processes of different numbers of rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shard: Shard) -> Tensor:
        ctx.shard = shard
        whole = x.new_zeros((shard.n, *x.shape[1:]))
        whole[shard.rows()] = x
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _summed(grad)[ctx.shard.rows()], None


def _summed(x: Tensor) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
