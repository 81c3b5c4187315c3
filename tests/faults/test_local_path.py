"""The local path when either end dies, lies, or comes back as another."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from samples import KEY, SPEC, block, embeddings, latents
from serving import ServerProcess

from memory_service import wire
from memory_service.client import MemoryClient
from memory_service.errors import DataLoss, NotFound
from memory_service.local import PROOF_BYTES
from memory_service.types import Block, Handle, Query, Span, VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import MemoryServiceStub
from memory_service.wire import bulk


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/socket"


@pytest.fixture
def server(data_dir: Path, address: str) -> Iterator[ServerProcess]:
    with ServerProcess(data_dir, address, "--local-path") as running:
        yield running


def filled(memory: MemoryClient, num_blocks: int = 4) -> int:
    """A video with some blocks; its epoch."""
    epoch = memory.create_video(KEY, SPEC).state.epoch
    for number in range(num_blocks):
        memory.append(KEY, block(3 * number))
    return epoch


def is_mapped(memory: MemoryClient, handle: Handle) -> bool:
    """Whether a payload comes as a view of the server's file, and it is the right one."""
    (frame,) = memory.fetch([handle])
    assert bytes(frame.parts["latent"]) == latents(handle.frame, 1)[0]
    return isinstance(frame.parts["latent"], memoryview)


def test_payloads_come_as_views_of_the_reel(server: ServerProcess) -> None:
    with MemoryClient(server.address, cache_bytes=0) as memory:
        epoch = filled(memory)
        assert all(is_mapped(memory, Handle(KEY, epoch, frame)) for frame in range(12))
    with MemoryClient(server.address, local=False) as memory:
        assert not is_mapped(memory, Handle(KEY, epoch, 3))


def test_a_server_that_was_killed_is_met_again(server: ServerProcess, data_dir: Path, address: str) -> None:
    with MemoryClient(address, cache_bytes=0, timeout_s=20) as memory:
        epoch = filled(memory)
        server.kill()
        with ServerProcess(data_dir, address, "--local-path"):
            assert not memory.append(KEY, block(12)).duplicate
            assert memory.get_video(KEY).state.length == 15
            assert is_mapped(memory, Handle(KEY, epoch, 14))
            memory.close()


def test_a_server_that_offers_it_no_more_is_served_by_messages(
    server: ServerProcess, data_dir: Path, address: str
) -> None:
    with MemoryClient(address, cache_bytes=0, timeout_s=20) as memory:
        epoch = filled(memory)
        assert is_mapped(memory, Handle(KEY, epoch, 1))
        server.kill()
        with ServerProcess(data_dir, address):
            advanced = memory.advance(KEY, block(12), Query(2, Span(0, 12)))
            assert len(advanced.frames) == 2
            assert not is_mapped(memory, Handle(KEY, epoch, 1))
            memory.close()


def test_damage_in_a_reel_is_data_loss(server: ServerProcess, data_dir: Path) -> None:
    with MemoryClient(server.address, cache_bytes=0) as memory:
        epoch = filled(memory)
        reel = data_dir / KEY.pool / f"{KEY.video}.reel"
        latent = latents(3, 1)[0]
        at = reel.read_bytes().index(latent)
        with reel.open("r+b") as file:
            file.seek(at + 5)
            file.write(bytes([latent[5] ^ 1]))
        with pytest.raises(DataLoss):
            memory.fetch([Handle(KEY, epoch, 3)])
        assert is_mapped(memory, Handle(KEY, epoch, 2))


def test_a_video_made_anew_never_shows_bytes_of_the_old_one(server: ServerProcess) -> None:
    with MemoryClient(server.address, cache_bytes=0) as memory:
        old = Handle(KEY, filled(memory), 1)
        (kept,) = memory.fetch([old])
        before = bytes(kept.parts["latent"])
        memory.drop_video(KEY)
        memory.create_video(KEY, SPEC)
        memory.append(KEY, Block(0, embeddings(50), {"latent": latents(50)}))
        with pytest.raises(NotFound):
            memory.fetch([old])
        assert bytes(kept.parts["latent"]) == before


def test_frames_of_forks_are_read_where_they_are(server: ServerProcess) -> None:
    fork = VideoKey(KEY.pool, "fork")
    with MemoryClient(server.address, cache_bytes=0) as memory:
        filled(memory)
        epoch = memory.fork_video(KEY, fork, length=6).state.epoch
        memory.drop_video(KEY)
        (frame,) = memory.fetch([Handle(fork, epoch, 3)])
        assert isinstance(frame.parts["latent"], memoryview)
        assert bytes(frame.parts["latent"]) == latents(3, 1)[0]


class TestLiar:
    """A client that keeps to the protocol's messages and to nothing else."""

    @pytest.fixture
    def stub(self, server: ServerProcess) -> Iterator[MemoryServiceStub]:
        with grpc.insecure_channel(server.address) as channel:
            made = MemoryServiceStub(channel)
            made.CreateVideo(
                pb.CreateVideoRequest(key=wire.key_to_proto(KEY), spec=wire.spec_to_proto(SPEC)),
                wait_for_ready=True,
            )
            yield made

    @staticmethod
    def request(session: str, places: list[tuple[int, int]]) -> pb.AppendRequest:
        made = pb.AppendRequest(key=wire.key_to_proto(KEY), local_session=session)
        bulk.put_staged_block(block(0), places, made.block)
        return made

    def refused(self, stub: MemoryServiceStub, request: pb.AppendRequest) -> str:
        with pytest.raises(grpc.RpcError) as caught:
            stub.Append(request)
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert stub.GetVideo(pb.GetVideoRequest(key=wire.key_to_proto(KEY))).video.state.length == 0
        return caught.value.details() or ""

    def test_a_file_that_shrinks_is_an_error_and_not_the_end(self, stub: MemoryServiceStub) -> None:
        opened = stub.OpenLocal(pb.OpenLocalRequest())
        size = SPEC.latent_bytes
        os.truncate(opened.staging_path, PROOF_BYTES + size + 3)
        places = [(PROOF_BYTES + i * size, size) for i in range(3)]
        assert "too short" in self.refused(stub, self.request(opened.session, places))

    def test_places_outside_of_the_file_are_refused(self, stub: MemoryServiceStub) -> None:
        opened = stub.OpenLocal(pb.OpenLocalRequest())
        for place in [(0, SPEC.latent_bytes), (opened.staging_bytes, SPEC.latent_bytes), (1 << 62, 1 << 62)]:
            assert "outside" in self.refused(stub, self.request(opened.session, [place] * 3))

    def test_a_session_that_nobody_opened_is_refused(self, stub: MemoryServiceStub) -> None:
        places = [(PROOF_BYTES, SPEC.latent_bytes)] * 3
        assert "session" in self.refused(stub, self.request("0" * 32, places))
        assert "session" in self.refused(stub, self.request("", places))

    def test_bytes_changed_after_the_answer_change_nothing(self, stub: MemoryServiceStub) -> None:
        opened = stub.OpenLocal(pb.OpenLocalRequest())
        size = SPEC.latent_bytes
        content = np.random.default_rng(5).bytes(3 * size)
        with Path(opened.staging_path).open("r+b") as file:
            file.seek(PROOF_BYTES)
            file.write(content)
        places = [(PROOF_BYTES + i * size, size) for i in range(3)]
        state = stub.Append(self.request(opened.session, places)).state
        with Path(opened.staging_path).open("r+b") as file:
            file.write(bytes(opened.staging_bytes))
        handles = [wire.handle_to_proto(Handle(KEY, state.epoch, frame)) for frame in range(3)]
        frames = [answer.frame for answer in stub.Fetch(pb.FetchRequest(handles=handles))]
        assert b"".join(frame.payloads[0].data for frame in frames) == content


CLIENT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from samples import KEY, block
from memory_service.client import MemoryClient
with MemoryClient(sys.argv[1]) as memory:
    for number in range(memory.get_video(KEY).state.length // 3, 1000):
        memory.append(KEY, block(3 * number))
        print(number, flush=True)
"""


def test_clients_that_are_killed_leave_whole_blocks_and_no_files(server: ServerProcess) -> None:
    with MemoryClient(server.address, local=False) as memory:
        memory.create_video(KEY, SPEC)
        acked = 0
        for _ in range(5):
            arguments = [sys.executable, "-c", CLIENT, server.address, str(Path(__file__).parents[1])]
            with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as client:
                assert client.stdout is not None
                for _ in range(7):
                    acked = int(client.stdout.readline()) + 1
                client.send_signal(signal.SIGKILL)
                acked = max([acked, *(int(line) + 1 for line in client.stdout.read().split())])
            length = memory.get_video(KEY).state.length
            assert length % 3 == 0
            assert length >= 3 * acked
        epoch = memory.get_video(KEY).state.epoch
        assert not any(is_mapped(memory, Handle(KEY, epoch, frame)) for frame in range(length))
