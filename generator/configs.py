"""What can be configured about a rollout: the latent's geometry, the attention window, the sampling steps."""

from __future__ import annotations

from dataclasses import dataclass

from generator.errors import ConfigError

MAX_POSITION = 1024
"""Length of Wan's frequency table: the model has never seen a position beyond it."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Shape of one latent frame and how it is cut into tokens. Defaults: Wan 2.1 at 480 x 832 pixels."""

    channels: int = 16
    height: int = 60
    width: int = 104

    patch: tuple[int, int, int] = (1, 2, 2)
    """Latent frames, rows and columns per token."""

    def __post_init__(self) -> None:
        if self.patch[0] != 1:
            raise ConfigError(f"patch must hold one frame, got {self.patch}")
        if self.height % self.patch[1] or self.width % self.patch[2]:
            raise ConfigError(
                f"latents of {self.height} x {self.width} cannot be cut into patches {self.patch}"
            )

    @property
    def rows(self) -> int:
        """Rows of tokens of a frame."""
        return self.height // self.patch[1]

    @property
    def columns(self) -> int:
        """Columns of tokens of a frame."""
        return self.width // self.patch[2]

    @property
    def tokens_per_frame(self) -> int:
        return self.rows * self.columns

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape of one latent frame, [C, H, W]."""
        return self.channels, self.height, self.width


@dataclass(frozen=True, kw_only=True)
class Window:
    """Budget of attention, in latent frames: W = S + K + local, where local includes the block itself."""

    window_frames: int = 12
    """W: frames attended at most; upstream calls it local_attn_size."""

    sink_frames: int = 1
    """S: first frames of the video, attended for ever."""

    top_k: int = 6
    """K: frames retrieved per block; only methods that retrieve give up local frames for them."""

    guard_frames: int = 5
    """R: newest evicted frames that are not eligible yet."""

    block_frames: int = 3
    """Frames denoised together."""

    def __post_init__(self) -> None:
        if self.block_frames < 1 or min(self.sink_frames, self.top_k, self.guard_frames) < 0:
            raise ConfigError(f"block_frames must be at least 1 and no other field negative, got {self}")
        needed = self.sink_frames + self.block_frames
        if needed > self.window_frames:
            raise ConfigError(
                f"sink_frames + block_frames = {needed} exceeds window_frames = {self.window_frames}: a "
                "block could not attend to itself"
            )


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Few-step sampling of one block."""

    steps: tuple[float, ...] = (1000, 750, 500, 250)
    """Noise levels of the passes, out of 1000, highest first; warped by the shift where `warped`."""

    shift: float = 5.0
    """How far the schedule leans towards high noise."""

    warped: bool = True
    """Whether `steps` index the shifted schedule (1000 - step) or are timesteps themselves."""

    context_timestep: float = 0.0
    """Timestep of the clean pass that writes keys and values; 0 for all known checkpoints."""

    def __post_init__(self) -> None:
        if not self.steps or list(self.steps) != sorted(self.steps, reverse=True):
            raise ConfigError(f"steps must fall from high to low noise, got {self.steps}")
        if not 0 < self.steps[-1] <= self.steps[0] <= 1000:
            raise ConfigError(f"steps must lie in (0, 1000], got {self.steps}")
