"""An OpenAI-compatible HTTP server over one decoder: see `docs/serve.md`."""
