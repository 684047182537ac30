"""Transformers pipelines: what the installed transformers has, and how one is built."""
