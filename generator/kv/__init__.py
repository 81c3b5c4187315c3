"""Keys and values of past frames in tiers: device, host, re-creation from latents; see docs/kv.md."""
