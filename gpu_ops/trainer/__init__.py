"""The bundled trainer: small causal language models on an export, to show what a selection teaches."""
