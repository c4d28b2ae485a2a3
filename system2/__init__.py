"""system2: give a language model System 2 (LLM2 token verifiers, Meta-CoT search)."""

__version__ = "0.1.0"
