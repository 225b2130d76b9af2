"""The benchmark suites, as lm-eval defines them.

Read in this order: `tasks` (which tasks a suite has), `loading`, `leakage` (no validation instance
among them), `model` (what runs them), `scores`; `vllm` is another backend.
"""
