"""Where frames beyond the window are found, by fingerprints: frame f has the value f everywhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from generator.errors import KVBudgetError, MissingKVError
from generator.kv.arena import Arenas, bytes_for, capacity, next_arena
from generator.kv.host_tier import HostTier
from generator.kv.tiers import KVTiers
from generator.kv.traffic import Traffic
from generator.kv.transfers import Kept, Transfers
from generator.wan.kv_shape import KEY, VALUE, KVShape
from memory_service.types import Handle, VideoKey

SHAPE = KVShape(
    layers=2, tokens_per_frame=4, heads=2, head_dim=12, dtype=torch.float32, device=torch.device("cpu")
)
SLAB = SHAPE.slab_bytes


def handle(frame: int) -> Handle:
    return Handle(VideoKey("p", "v"), 1, frame)


def slab_of(frame: int) -> Tensor:
    return torch.full(SHAPE.slab, float(frame))


class Recreates:
    """Makes slabs whose values are those of the frame plus a half, and notes what it was asked for."""

    def __init__(self) -> None:
        self.fetched: list[int] = []
        self.passes: list[list[int]] = []

    def fetch(self, handles) -> None:
        self.fetched += [each.frame for each in handles]

    def recreate(self, handles):
        self.passes.append([each.frame for each in handles])
        return {each: slab_of(each.frame) + 0.5 for each in handles}

    def taken(self) -> Traffic:
        return Traffic(recreation_ms=1.0)


def evict(tiers: KVTiers, *frames: int) -> None:
    for frame in frames:
        freed = tiers.evict(handle(frame), slab_of(frame))
        if freed is not None:
            freed.fill_(-1)  # the window writes to it


def take(tiers: KVTiers, frame: int, position: int = 0) -> float:
    """The value of a frame whose slot is filled and whose slab is then used by others."""
    parked = tiers.take(handle(frame), position)
    (value,) = parked.slab.unique().tolist()
    tiers.give(parked)
    parked.slab.fill_(-1)
    return value


def park(tiers: KVTiers, frame: int, position: int = 0) -> None:
    keys = torch.full(SHAPE.slab, float(frame))[:, KEY]
    tiers.park(handle(frame), position, keys, keys)


def test_frames_come_from_the_nearest_tier_that_has_them() -> None:
    tiers = KVTiers(SHAPE, HostTier(), device_frames=2)
    evict(tiers, 1, 2, 3)
    assert [take(tiers, frame) for frame in (1, 2, 3)] == [1, 2, 3]
    traffic = tiers.taken()
    assert (traffic.from_host, traffic.from_device) == (1, 2)
    assert (traffic.to_host_bytes, traffic.to_device_bytes) == (3 * SLAB, SLAB)
    assert tiers.taken() == Traffic()


def test_the_device_lets_the_least_recent_frame_go() -> None:
    tiers = KVTiers(SHAPE, None, device_frames=3)
    evict(tiers, 1, 2, 3)
    assert take(tiers, 1) == 1
    park(tiers, 1)
    evict(tiers, 4)
    assert [handle(frame) in tiers for frame in (1, 2, 3, 4)] == [True, False, True, True]


def test_wanted_frames_stay_on_the_device() -> None:
    tiers = KVTiers(SHAPE, HostTier(), device_frames=2)
    evict(tiers, 1, 2)
    tiers.prefetch([handle(1), handle(2)])
    evict(tiers, 3, 4)
    assert [take(tiers, frame) for frame in (1, 2, 3)] == [1, 2, 3]
    assert tiers.taken().from_device == 2


def test_a_parked_frame_keeps_its_rotation_and_is_not_used_at_another_position() -> None:
    tiers = KVTiers(SHAPE, HostTier(), device_frames=2)
    evict(tiers, 1, 2, 3)
    park(tiers, 1, position=7)
    assert tiers.take(handle(1), 7).position == 7
    park(tiers, 1, position=7)
    found = tiers.take(handle(1), 0)
    assert (found.position, found.origin) == (None, "host")
    assert (found.slab == 1).all()


def test_prefetched_frames_are_moved_once_and_ahead() -> None:
    tiers = KVTiers(SHAPE, HostTier(), device_frames=2)
    evict(tiers, *range(1, 9))
    tiers.taken()
    tiers.prefetch([handle(1), handle(8), handle(2)])
    ahead = tiers.taken()
    assert (ahead.ahead, ahead.to_device_bytes) == (1, SLAB), (
        "8 is there already, and nothing makes room for 2"
    )
    assert [take(tiers, frame) for frame in (1, 8, 2)] == [1, 8, 2]
    found = tiers.taken()
    assert (found.from_host, found.from_device, found.to_device_bytes) == (2, 1, SLAB)


def test_what_no_tier_has_is_fetched_ahead_and_made_in_one_go() -> None:
    recreates = Recreates()
    tiers = KVTiers(SHAPE, None, device_frames=1, recreation=recreates)
    evict(tiers, 1, 2, 3)
    wanted = [handle(1), handle(3), handle(2)]
    tiers.prefetch(wanted)
    assert recreates.fetched == [1, 2]
    tiers.prepare(wanted)
    assert [take(tiers, frame) for frame in (1, 3, 2)] == [1.5, 3, 2.5]
    assert recreates.passes == [[1, 2]]
    traffic = tiers.taken()
    assert (traffic.recreated, traffic.from_device, traffic.recreation_ms) == (2, 1, 1.0)
    assert traffic.to_device_bytes == traffic.to_host_bytes == 0


def test_a_full_host_forgets_the_least_recent_frame_and_keeps_what_is_made_anew() -> None:
    recreates = Recreates()
    host = HostTier(2 * SLAB, forgets=True)
    room = capacity(SLAB, 2 * SLAB)
    tiers = KVTiers(SHAPE, host, recreation=recreates)
    evict(tiers, *range(1, room + 2))
    assert host.reserved_bytes <= 2 * SLAB
    tiers.prepare([handle(1)])
    assert take(tiers, 1) == 1.5
    assert tiers.taken().to_device_bytes == 0, "it was made on the device"
    assert take(tiers, 1) == 1.5
    assert recreates.passes == [[1]]
    assert tiers.taken().from_host == 1


def test_what_is_made_anew_pushes_no_frame_of_the_same_block_out_of_the_host() -> None:
    recreates = Recreates()
    host = HostTier(bytes_for(4, SLAB), forgets=True)
    room = capacity(SLAB, bytes_for(4, SLAB))
    tiers = KVTiers(SHAPE, host, recreation=recreates)
    evict(tiers, *range(1, room + 3))
    tiers.prepare([handle(frame) for frame in (3, 4, 1, 2)])
    assert [take(tiers, frame) for frame in (3, 4, 1, 2)] == [3, 4, 1.5, 2.5]
    assert recreates.passes == [[1, 2]]


def test_what_was_made_anew_counts_as_approximate_wherever_it_is_found() -> None:
    host = HostTier(bytes_for(4, SLAB), forgets=True)
    tiers = KVTiers(SHAPE, host, device_frames=1, recreation=Recreates())
    evict(tiers, 2)
    tiers.prepare([handle(1)])

    def approximate(tiers: KVTiers, *frames: int) -> int:
        for frame in frames:
            take(tiers, frame)
        return tiers.taken().approximate

    assert approximate(tiers, 1, 2) == 1, "made anew"
    assert approximate(tiers, 1, 2) == 1, "from the host"
    park(tiers, 1)
    assert approximate(tiers, 1) == 1, "from the device"
    tiers.stays(handle(1))
    tiers.stays(handle(2))
    assert approximate(tiers) == 1, "in its slot"
    assert approximate(KVTiers(SHAPE, host), 1, 2) == 1, "of another rollout"
    evict(tiers, 1)
    assert approximate(tiers, 1) == 0, "it was in the window once more"


class Late(Transfers):
    """Frames come from the host only when they are waited for."""

    def __init__(self) -> None:
        super().__init__(SHAPE.device)
        self._on_their_way: list[tuple[Tensor, Tensor]] = []

    def to_device(self, kept: Kept, slab: Tensor, *, ahead: bool) -> None:  # noqa: ARG002
        self._on_their_way.append((slab, kept.slab.clone()))

    def arrive(self) -> None:
        for slab, copied in self._on_their_way:
            slab.copy_(copied)
        self._on_their_way.clear()


def test_a_slab_is_parked_in_only_after_what_was_moved_ahead_in_vain_has_come(monkeypatch) -> None:
    late = Late()
    monkeypatch.setattr("generator.kv.tiers.Transfers", lambda _: late)
    tiers = KVTiers(SHAPE, HostTier(), device_frames=1)
    evict(tiers, 1, 2)
    tiers.prefetch([handle(1)])
    assert tiers.taken().ahead == 1
    tiers.prepare([])
    park(tiers, 9)
    late.arrive()
    assert take(tiers, 9) == 9


def test_a_budget_below_one_frame_keeps_nothing() -> None:
    tiers = KVTiers(SHAPE, HostTier(SLAB - 1, forgets=True), recreation=Recreates())
    evict(tiers, 1)
    assert tiers.taken().to_host_bytes == 0
    assert take(tiers, 1) == 1.5


def test_a_host_that_must_keep_all_says_what_it_lacks() -> None:
    host = HostTier(bytes_for(2, SLAB))
    room = capacity(SLAB, bytes_for(2, SLAB))
    tiers = KVTiers(SHAPE, host)
    evict(tiers, *range(room))
    with pytest.raises(KVBudgetError) as error:
        evict(tiers, room)
    assert error.value.needed_bytes == bytes_for(room + 1, SLAB) > error.value.allowed_bytes
    assert take(tiers, 0) == 0, "what it had, it has"


def test_without_re_creation_missing_frames_are_named_before_any_slot_changes() -> None:
    tiers = KVTiers(SHAPE, HostTier(), device_frames=1)
    evict(tiers, 1)
    with pytest.raises(MissingKVError, match="2 retrieved"):
        tiers.prepare([handle(1), handle(2), handle(3)])


def test_rollouts_that_share_a_host_have_each_other_s_frames() -> None:
    host = HostTier()
    ours, theirs = KVTiers(SHAPE, host), KVTiers(SHAPE, host, device_frames=3)
    evict(ours, 1)
    evict(theirs, 2)
    assert take(theirs, 1) == 1
    assert take(ours, 2) == 2
    assert host.bytes == 2 * SLAB


def test_evicted_slabs_become_the_device_tier_s_without_a_copy() -> None:
    tiers = KVTiers(SHAPE, None, device_frames=1)
    first, second = slab_of(1), slab_of(2)
    assert tiers.evict(handle(1), first) is None
    assert tiers.evict(handle(2), second) is first
    assert tiers.take(handle(2), 0).slab is second


def test_values_are_parked_beside_keys() -> None:
    tiers = KVTiers(SHAPE, None, device_frames=1)
    keys, values = torch.randn(2, *slab_of(0)[:, KEY].shape)
    tiers.park(handle(1), 0, keys, values)
    parked = tiers.take(handle(1), 0)
    assert torch.equal(parked.slab[:, KEY], keys)
    assert torch.equal(parked.slab[:, VALUE], values)


def test_arenas_are_counted_whole_and_never_pass_the_budget() -> None:
    arenas = Arenas(100 * SLAB)
    slabs = []
    while (slab := arenas.take(slab_of(0))) is not None:
        slabs.append(slab)
    assert len(slabs) == capacity(SLAB, 100 * SLAB)
    assert sum(slab.nbytes for slab in slabs) <= arenas.reserved_bytes <= 100 * SLAB
    for value, slab in enumerate(slabs):
        slab.fill_(value)
    assert [slab.unique().tolist() for slab in slabs] == [[value] for value in range(len(slabs))]


@pytest.mark.parametrize("slab_bytes", [1, 3, 1536, 1537, 287_539_200])
@pytest.mark.parametrize("slabs", [0, 1, 2, 15, 16, 17, 29, 30, 108, 1000])
def test_the_needed_budget_is_enough_and_hardly_more(slab_bytes: int, slabs: int) -> None:
    needed = bytes_for(slabs, slab_bytes)
    assert capacity(slab_bytes, needed) >= slabs
    left, held = needed, 0
    while arena := next_arena(slab_bytes, left):
        assert arena & (arena - 1) == 0, "pinned memory is rounded up to powers of two"
        left, held = left - arena, held + arena // slab_bytes
    assert held == capacity(slab_bytes, needed)
    assert needed <= 2 * max(slabs, 1) * slab_bytes


def test_thirty_seconds_of_wan_fit_into_35_gb() -> None:
    assert bytes_for(108, 287_539_200) == 4 << 33
