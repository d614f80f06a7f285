"""One process among the ranks of a distributed training; a single process is rank 0 of 1."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed

T = TypeVar("T")


@contextmanager
def process_group() -> Iterator[None]:
    """Join the ranks that torchrun started: nccl on CUDA, gloo on the CPU."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def device() -> torch.device:
    """Where this rank computes."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def sum_over_ranks(values: Mapping[str, float]) -> dict[str, float]:
    """Sum each value over all ranks; the names must be the same on each."""
    if world_size() == 1:
        return dict(values)
    names = sorted(values)
    sums = torch.tensor([values[name] for name in names], dtype=torch.float64, device=device())
    distributed.all_reduce(sums)
    return dict(zip(names, sums.tolist(), strict=True))


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank, so that all do the same."""
    return flag if world_size() == 1 else sum_over_ranks({"flag": float(flag)})["flag"] > 0


def from_first(find: Callable[[], T]) -> T:
    """What the first rank finds, on all ranks; the others do not look."""
    if world_size() == 1:
        return find()
    found: list[Any] = [find() if rank() == 0 else None]
    distributed.broadcast_object_list(found, device=device())
    result: T = found[0]
    return result


def generators() -> dict[str, Any]:
    """States of every rank's random generators, by rank."""
    mine = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        mine["cuda"] = torch.cuda.get_rng_state()
    if world_size() == 1:
        return {"0": mine}
    gathered: list[Any] = [None] * world_size()
    distributed.all_gather_object(gathered, mine)
    return {str(number): state for number, state in enumerate(gathered)}


def restore_generators(states: Mapping[str, Any]) -> None:
    """Restore this rank's generators; a rank that did not exist then keeps its fresh ones."""
    mine = states.get(str(rank()))
    if mine is None:
        return
    torch.set_rng_state(mine["cpu"])
    if "cuda" in mine and torch.cuda.is_available():
        torch.cuda.set_rng_state(mine["cuda"])
