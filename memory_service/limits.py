"""How much one call may carry."""

from dataclasses import dataclass, fields

from memory_service.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds on requests; what exceeds one is refused before anything is changed."""

    max_message_bytes: int = 64 << 20
    """Largest block, and largest message of the wire, in bytes."""

    max_block_frames: int = 256
    """Most latent frames in one block."""

    max_parts: int = 16
    """Most named parts of a frame, the latent included."""

    max_embedding_dim: int = 65_536
    """Largest embedding dimension."""

    max_latent_axes: int = 8
    """Most axes of a latent's shape."""

    max_metadata_bytes: int = 64 << 10
    """Most bytes of UTF-8 in a video's metadata and encoder id together."""

    max_named: int = 16
    """Most named embeddings of a frame."""

    max_block_metadata_bytes: int = 16 << 10
    """Most bytes of UTF-8 in the metadata of a block, and of a filter."""

    max_k: int = 4096
    """Most hits of one query."""

    max_diverse_k: int = 512
    """Most hits of one query with `mmr_lambda`: each of them is compared with every candidate."""

    max_diverse_candidates: int = 16_384
    """Most candidates of several videos that `mmr_lambda` compares: their embeddings are copied for it."""

    max_pinned: int = 256
    """Most pinned frames of one query."""

    max_terms: int = 16
    """Most terms of one query's score beside the first."""

    max_filter_keys: int = 64
    """Most keys of metadata that one filter asks for."""

    max_scope_videos: int = 1024
    """Most videos that one search names."""

    max_queries: int = 256
    """Most queries of one search."""

    max_hits: int = 16_384
    """Most hits that one search may ask for: the sum of its queries' k."""

    max_keys: int = 16_384
    """Most videos that one heartbeat names."""

    max_handles: int = 4096
    """Most handles of one fetch."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise InvalidArgument(
                    "a limit must be positive", field=f"limits.{field.name}", expected=">= 1"
                )
