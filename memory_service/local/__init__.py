"""The local path: on one host, payloads go through files and only handles through messages.

Writing: the client puts a block's payloads into a staging file of its own and names their place; the server
reads them from there into memory of its own before it checks or keeps a byte. A client that lies or dies in
the middle can spoil nothing but its own block, and the server maps no file that a client could shorten.

Reading: the server answers with places in its reels; the client maps those files read-only and verifies the
checksum of what it reads. Bytes before the end of a reel never change and are never cut off.

Advancing: such a client sends its advances to a UNIX socket of the server, framed by their lengths. They are
the same messages, for the same handler behind the same gate; only gRPC's part of a call is spared.

All of it needs the same host, the same user and the server's consent (`--local-path`): who can open the reels
can read every pool. A client that cannot open the files goes on with messages.
"""

PROOF_BYTES = 64
"""A staging file starts with so many random bytes; payloads come after them."""
